"""Data sets that `sact_core.prepare` makes of their published archives, as TFDS lays them out.

Versions, archives and their hashes are those of TensorFlow Datasets 4.9.10.
"""

from __future__ import annotations

from dataclasses import dataclass

_TFDS = "tensorflow_datasets"


@dataclass(frozen=True)
class Published:
    """A data set and its archive.

    Attributes
    ----------
    name : str
        TFDS's, with the config behind a slash where there is one.
    version, module, homepage, description : str
        What TFDS notes of it.
    url, sha256 : str
        Of the archive.
    num_bytes : int
        Of the archive.
    """

    name: str
    version: str
    module: str
    homepage: str
    description: str
    url: str
    num_bytes: int
    sha256: str


def _cifar(name: str, num_classes: int, num_bytes: int, sha256: str) -> Published:
    return Published(
        name,
        "3.0.2",
        f"{_TFDS}.image_classification.cifar",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        f"60,000 colour images of 32 x 32 pixels in {num_classes} classes, of which 10,000 are "
        f"for testing.",
        f"https://www.cs.toronto.edu/~kriz/cifar-{num_classes}-binary.tar.gz",
        num_bytes,
        sha256,
    )


def _imagenette(config: str, file: str, num_bytes: int, sha256: str) -> Published:
    return Published(
        f"imagenette/{config}",
        "1.0.0",
        f"{_TFDS}.datasets.imagenette.imagenette_dataset_builder",
        "https://github.com/fastai/imagenette",
        "Ten easily classified classes of ImageNet.",
        f"https://s3.amazonaws.com/fast-ai-imageclas/{file}",
        num_bytes,
        sha256,
    )


PUBLISHED = {
    each.name: each
    for each in (
        _cifar(
            "cifar10",
            10,
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
        _cifar(
            "cifar100",
            100,
            168_513_733,
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
        Published(
            "caltech101",
            "3.0.2",
            f"{_TFDS}.datasets.caltech101.caltech101_dataset_builder",
            "https://doi.org/10.22002/D1.20086",
            "Photographs of objects of 101 classes, and one of background clutter; 30 of every "
            "class are for training.",
            "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip?download=1",
            137_414_764,
            "331234750fc7f77520e50d9565e8b6907b03565e30320da1401130db08c61f91",
        ),
        _imagenette(
            "full-size-v2",
            "imagenette2.tgz",
            1_557_161_267,
            "6cbfac238434d89fe99e651496f0812ebc7a10fa62bd42d6874042bf01de4efd",
        ),
        _imagenette(
            "320px-v2",
            "imagenette2-320.tgz",
            341_663_724,
            "569b4497c98db6dd29f335d1f109cf315fe127053cedf69010d047f0188e158c",
        ),
        _imagenette(
            "160px-v2",
            "imagenette2-160.tgz",
            99_003_388,
            "64d0c4859f35a461889e0147755a999a48b49bf38a7e0f9bd27003f10db02fe5",
        ),
    )
}


def published(name: str) -> Published | None:
    """Find a data set by what TFDS calls it, with or without a version; None for others."""
    name = name.split(":")[0]
    return PUBLISHED.get("imagenette/full-size-v2" if name == "imagenette" else name)
