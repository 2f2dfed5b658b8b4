"""Prepare a data set of its archive, as TFDS lays it out, without TensorFlow.

    python -m sact_core.prepare cifar10 --archive cifar-10-binary.tar.gz
    python -m sact_core.prepare cifar10 \\
        --archive https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz
    python -m sact_core.prepare caltech101 --archive caltech-101.zip --data-dir DIR
    python -m sact_core.prepare birds --archive birds.zip        # class folders

The result is what ``tensorflow_datasets.data_source`` and every command here read:
ArrayRecord files of examples, which TFDS itself cannot write without TensorFlow. An archive
is compared with the hash that TFDS knows of the published one. Nothing is unpacked: files are
read from the archive by their names. A data set is there whole or not at all.
"""
