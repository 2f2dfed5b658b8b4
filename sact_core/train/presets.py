"""The named recipes, by what they change of the defaults of a training run.

- ``authors``: the published CIFAR recipe.
- ``fast``: as much as possible in few epochs from scratch.
- ``finetune``: from a vanilla network, halting branches new.
- ``photographs``: the ImageNet family on photographs of any size, from scratch.
- ``teach``: halting for a network that knows its classes, from its own answers at full
  depth: its weights hardly move, its moving statistics not at all, and it sees crops of
  many sizes, mixed in pairs.

Source of the ``authors`` recipe: arXiv:1612.02297, section 4.1, and the
authors' published CIFAR settings (SGD with momentum 0.9 at 0.1, divided by ten
after 60, 75 and 90 % of 100,000 steps of 128 images, L2 0.0002).
"""

from __future__ import annotations

from typing import Any

#: Named recipes: what they change of the defaults, which are the authors'.
PRESETS: dict[str, dict[str, Any]] = {
    "authors": {"max_steps": 100_000, "amp": "off"},
    "fast": {
        "epochs": 30.0,
        "schedule": "onecycle",
        "learning_rate": 0.2,
        "warmup": 0.2,
        "nesterov": True,
        "l2": 5e-4,
        "label_smoothing": 0.1,
        "crop_padding": 4,
        "amp": "auto",
    },
    "finetune": {
        "epochs": 10.0,
        "schedule": "onecycle",
        "learning_rate": 0.05,
        "warmup": 0.1,
        "nesterov": True,
        "l2": 5e-4,
        "label_smoothing": 0.1,
        "crop_padding": 4,
        "amp": "auto",
    },
    "photographs": {
        "epochs": 100.0,
        "batch_size": 64,
        "schedule": "cosine",
        "learning_rate": 0.1,
        "warmup": 0.05,
        "nesterov": True,
        "l2": 5e-4,
        "label_smoothing": 0.1,
        "amp": "auto",
    },
    "teach": {
        "epochs": 4.0,
        "batch_size": 16,
        "schedule": "cosine",
        "optimiser": "adamw",
        "learning_rate": 1e-3,
        "backbone_lr": 0.01,
        "freeze_bn": True,
        "warmup": 0.05,
        "l2": 0.0,
        "ema": 0.998,
        "min_area": 0.25,
        "size_low": 160,
        "size_high": 320,
        "mixup": 0.4,
        "teacher_size": 256,
        "match_maps": 0.5,
        "price": "computed",
        "distill_weight": 1.0,
        "distill_temperature": 1.0,
        "amp": "auto",
    },
}

#: What they change of a network's defaults.
PRESET_NETWORKS: dict[str, dict[str, Any]] = {"teach": {"halting_bias": -2.0}}

#: Families that presets are for, where it is not CIFAR's.
PRESET_FAMILIES = {"photographs": "imagenet"}


def preset(name: str) -> dict[str, Any]:
    """Give what a named recipe changes of the defaults.

    Raises
    ------
    ValueError
        If there is no such recipe; the message lists them.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}: choose one of {', '.join(PRESETS)}")
    return dict(PRESETS[name])
