"""How a run goes: its steps, and what changes from the first to the last."""

from __future__ import annotations

import math

from sact_core.train.recipes import TrainingConfig


def count_steps(config: TrainingConfig, num_train: int) -> tuple[int, int]:
    """Count the steps of an epoch and of the run, for so many training images."""
    per_epoch = max(num_train // config.batch_size, 1)
    return per_epoch, config.max_steps or max(round(config.epochs * per_epoch), 1)


def small_steps(config: TrainingConfig, num_steps: int) -> int:
    """Count the steps, the first of the run, that learn from smaller crops."""
    return 0 if config.first_size is None else round(config.first_share * num_steps)


def learning_rate_factor(config: TrainingConfig, step: int, num_steps: int) -> float:
    """Give the share of the peak learning rate at a step, counted from 0."""
    done = step / max(num_steps, 1)
    if config.schedule == "step":
        return 0.1 ** sum(done >= boundary for boundary in (0.6, 0.75, 0.9))
    if done < config.warmup:
        return (step + 1) / max(config.warmup * num_steps, 1)
    left = (1 - done) / (1 - config.warmup) if config.warmup < 1 else 0.0
    return left if config.schedule == "onecycle" else (1 - math.cos(math.pi * left)) / 2
