"""Import a TensorFlow checkpoint of the authors' code, without TensorFlow.

    python -m sact_core.import_tf model.ckpt-1000 --out pretrained/model.h5
    python -m sact_core.import_tf train_log_dir --out m.h5 --class-names names.txt
    python -m sact_core.import_tf model.ckpt --out m.h5 --weights raw

Family, units per block, width, kernel size, halting kind and number of classes
are found from the variables' names and shapes. Every number is taken over bit
for bit: moving averages of the weights where there are any, or with ``--weights raw``
what the last step left. Optimiser slots, counters and settings are left out and listed.
Partitioned variables are put together; what stands before all names is stripped.

Source: variable names of mfigurnov/sact (``resnet_residual`` for CIFAR,
``resnet_v2`` for ImageNet).
"""

from sact_core.import_tf.convert import config_from_tf, import_checkpoint, params_from_tf
from sact_core.import_tf.names import tf_name, to_tf_names

__all__ = ["config_from_tf", "import_checkpoint", "params_from_tf", "tf_name", "to_tf_names"]
