"""PyTorch backend: training, and dense inference on CPU or CUDA.

Every unit runs at every position of every image; what had halted is masked
away, as in the authors' TensorFlow code. So this backend saves nothing and is
what the masked engine is measured against; it is also the differentiable
network that training needs.

Activations are NCHW inside (stored channels last); inputs and results are NHWC
as everywhere else.
"""

from torch.nn import functional as F

from sact_core.backends.dense.engine import Engine, count_positions, infer
from sact_core.backends.dense.halting import HaltingTensors, halt, halt_tensors
from sact_core.backends.dense.loss import Loss, loss
from sact_core.backends.dense.network import BlockTrace, Network

__all__ = [
    "BlockTrace",
    "Engine",
    "F",
    "HaltingTensors",
    "Loss",
    "Network",
    "count_positions",
    "halt",
    "halt_tensors",
    "infer",
    "loss",
]
