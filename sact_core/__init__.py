"""Spatially adaptive computation time: halting, masked inference, FLOPs.

A ResNet that decides, for every position of an image, after how many residual
units to stop (Figurnov et al., CVPR 2017, arXiv:1612.02297), or decides it per
image (Graves 2016, arXiv:1603.08983)::

    import sact_core
    net = sact_core.load("cifar10-anytau", backend="masked")    # or the file of a checkpoint
    result = net.run(images)            # uint8 RGB [n, h, w, 3]
    result.map("ponder_cost")           # [n, H, W], in units
    result.flops                        # [n], two per multiply-add

Importing this package loads neither torch nor TensorFlow.
"""

from sact_core.backends import BACKENDS, PRECISIONS, Net, load, precisions
from sact_core.checkpoint import Checkpoint, CheckpointError, read, write
from sact_core.config import NetworkConfig, Preprocessing, parse_units
from sact_core.flops import FlopCount, count_flops, dense_flops
from sact_core.halting import Halting, HaltingState, halt, start, step
from sact_core.network import Plan
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.preprocess import Seen
from sact_core.result import BlockResult, Result
from sact_core.shipped import networks

__version__ = "0.2.0"

__all__ = [
    "BACKENDS",
    "PRECISIONS",
    "BlockResult",
    "Checkpoint",
    "CheckpointError",
    "FlopCount",
    "Halting",
    "HaltingState",
    "Net",
    "NetworkConfig",
    "Plan",
    "Preprocessing",
    "Result",
    "Seen",
    "__version__",
    "build_plan",
    "count_flops",
    "dense_flops",
    "halt",
    "init_params",
    "load",
    "networks",
    "parse_units",
    "precisions",
    "read",
    "start",
    "step",
    "write",
]
