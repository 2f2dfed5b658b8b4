"""What a training run is, as frozen data, and the named recipes.

Every field is a flag of ``python -m sact_core.train``; a preset fills them and
flags override it.

- ``authors``: the published CIFAR recipe.
- ``fast``: as much as possible in few epochs from scratch.
- ``finetune``: from a vanilla network, halting branches new.
- ``photographs``: the ImageNet family on photographs of any size, from scratch.

Source of the ``authors`` recipe: arXiv:1612.02297, section 4.1, and the
authors' published CIFAR settings (SGD with momentum 0.9 at 0.1, divided by ten
after 60, 75 and 90 % of 100,000 steps of 128 images, L2 0.0002).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from sact_core.config import NetworkConfig, from_dict, to_dict

#: Larger than any sensible number, and finite.
MOST = 1e9

SCHEDULES = ("step", "onecycle", "cosine")
AMP = ("off", "bf16")
BORDERS = ("black", "reflect")
CROPS = ("padded", "resized")

#: What ``--amp`` takes: ``auto`` becomes one of `AMP` before a run starts.
AMP_CHOICES = ("auto", *AMP)


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides what a run computes.

    Parameters
    ----------
    network : NetworkConfig
        What is trained.
    dataset, train_split, eval_split : str
        TFDS name or a folder of class folders, and its splits.
    num_train_examples : int, optional
        Only the first so many, for trials.
    image_size : int, optional
        Side of the network's input; needed where images differ in size.
    tau : float
        Price of a unit: weight of the mean ponder cost, summed over blocks. Of a
        network conditioned on tau, which is trained at prices from all of its
        range, the price that it is evaluated at: the network's own default.
    epochs : float
        Passes over the training images.
    max_steps : int, optional
        Stop the schedule at so many steps instead.
    batch_size : int
        Images of a step, over all processes.
    schedule : str
        ``"step"`` (the authors'), ``"onecycle"`` (linear up, linear down to 0)
        or ``"cosine"`` (half a cosine down to 0).
    learning_rate : float
        Its peak.
    warmup : float
        Share of the steps that ``"onecycle"`` and ``"cosine"`` spend going up.
    momentum : float
        Of SGD.
    nesterov : bool
        Nesterov's form of it.
    l2 : float
        Weight of half the squares of all convolution weights.
    halting_lr : float
        Factor on the learning rate of the halting branches.
    label_smoothing : float
        Share of the target spread over all classes.
    crop : str
        ``"padded"``: random crops of an image's own size, from memory (CIFAR).
        Images of another size than ``image_size`` are cut and resized once.
        ``"resized"``: random parts of photographs, resized to ``image_size`` and
        decoded for every step. They are evaluated on their central 87.5 %.
    crop_padding : int
        Pixels put around an image before a padded crop.
    crop_border : str
        ``"black"`` pixels (the authors') or ``"reflect"``: black ones move the mean
        and the deviation that an image is then standardised with.
    min_area : float
        Least share of a photograph in a resized crop.
    colour : float
        Strength of the changes of brightness, contrast, saturation and hue of
        resized crops; 0 for none, 1 for TensorFlow-Slim's.
    flip : bool
        Mirror half of the images.
    cutout : int
        Side of the square that is blanked in every image; 0 for none.
    distill_from : str
        Checkpoint of a teacher whose soft labels are mixed in; empty for none.
    distill_weight, distill_temperature : float
        Share of the teacher in the loss, and the temperature of both softmaxes.
    finetune_from : str
        Checkpoint to start from; all but its halting branches are taken.
    finetune_halting : bool
        Take its halting branches too.
    finetune_first_units : bool
        It may have more units: the first of each block are taken.
    eval_every : int
        Evaluate after every so many epochs and after the last; 0 for never, which
        leaves it to ``python -m sact_core.evaluate --watch``.
    amp : str
        ``"bf16"`` computes convolutions in bfloat16.
    compile : bool
        Use ``torch.compile``.
    seed : int
        Of initialisation, order and augmentation.

    Raises
    ------
    ValueError
        If a value is out of range; the message names it.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    dataset: str = "cifar10"
    train_split: str = "train"
    eval_split: str = "test"
    num_train_examples: int | None = None
    image_size: int | None = None
    tau: float = 0.01
    epochs: float = 256.0
    max_steps: int | None = None
    batch_size: int = 128
    schedule: str = "step"
    learning_rate: float = 0.1
    warmup: float = 0.0
    momentum: float = 0.9
    nesterov: bool = False
    l2: float = 2e-4
    halting_lr: float = 1.0
    label_smoothing: float = 0.0
    crop: str = "padded"
    crop_padding: int = 2
    crop_border: str = "black"
    min_area: float = 0.08
    colour: float = 0.0
    flip: bool = True
    cutout: int = 0
    distill_from: str = ""
    distill_weight: float = 0.5
    distill_temperature: float = 2.0
    finetune_from: str = ""
    finetune_halting: bool = False
    finetune_first_units: bool = False
    eval_every: int = 1
    amp: str = "off"
    compile: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}")
        if self.crop_border not in BORDERS:
            raise ValueError(f"crop_border must be black or reflect, got {self.crop_border!r}")
        if self.crop not in CROPS:
            raise ValueError(f"crop must be padded or resized, got {self.crop!r}")
        if self.crop == "resized" and self.image_size is None:
            raise ValueError("resized crops need an image_size")
        if self.crop == "padded" and self.colour:
            raise ValueError("changes of colour need resized crops: give --crop resized")
        if self.amp not in AMP:
            raise ValueError(f"amp must be one of {', '.join(AMP)}, got {self.amp!r}")
        if self.network.tau_default is not None:
            object.__setattr__(self, "tau", self.network.tau_default)
        _within("tau", self.tau, 0, MOST)
        _within("epochs", self.epochs, 0, MOST)
        _within("batch_size", self.batch_size, 2, 1 << 20)
        _within("learning_rate", self.learning_rate, 0, MOST)
        _within("warmup", self.warmup, 0, 1)
        _within("momentum", self.momentum, 0, 1)
        _within("l2", self.l2, 0, MOST)
        _within("halting_lr", self.halting_lr, 0, MOST)
        _within("label_smoothing", self.label_smoothing, 0, 1)
        _within("crop_padding", self.crop_padding, 0, 1 << 10)
        _within("min_area", self.min_area, 1e-3, 1)
        _within("colour", self.colour, 0, 1)
        _within("cutout", self.cutout, 0, 1 << 10)
        _within("distill_weight", self.distill_weight, 0, 1)
        _within("distill_temperature", self.distill_temperature, 1e-3, 1e3)
        _within("eval_every", self.eval_every, 0, MOST)
        for name in ("max_steps", "num_train_examples", "image_size"):
            if getattr(self, name) is not None:
                _within(name, getattr(self, name), 1, 1 << 40)


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
}

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


def learning_rate_factor(config: TrainingConfig, step: int, num_steps: int) -> float:
    """Give the share of the peak learning rate at a step, counted from 0."""
    done = step / max(num_steps, 1)
    if config.schedule == "step":
        return 0.1 ** sum(done >= boundary for boundary in (0.6, 0.75, 0.9))
    if done < config.warmup:
        return (step + 1) / max(config.warmup * num_steps, 1)
    left = (1 - done) / (1 - config.warmup) if config.warmup < 1 else 0.0
    return left if config.schedule == "onecycle" else (1 - math.cos(math.pi * left)) / 2


def config_to_dict(config: TrainingConfig) -> dict[str, Any]:
    """Turn a config into plain JSON values."""
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    return values | {"network": to_dict(config.network)}


def config_from_dict(values: dict[str, Any]) -> TrainingConfig:
    """Make a config from plain JSON values.

    Raises
    ------
    ValueError
        If a key is unknown or a value out of range.
    """
    network = from_dict(NetworkConfig, values.get("network", {}))
    return from_dict(TrainingConfig, {**values, "network": network})


def _within(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be from {low:g} to {high:g}, got {value!r}")
