"""Training: the recipe, the loop, and the folder that a run lives in.

``python -m sact_core.train --preset fast --halting sact --tau 0.005``
"""

from sact_core.train.points import read_points
from sact_core.train.presets import PRESETS, preset
from sact_core.train.recipes import TrainingConfig
from sact_core.train.run_dir import RunDir, RunError, is_training, read_metrics

__all__ = [
    "PRESETS",
    "RunDir",
    "RunError",
    "TrainingConfig",
    "is_training",
    "preset",
    "read_metrics",
    "read_points",
]
