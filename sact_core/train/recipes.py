"""What a training run is, as frozen data.

Every field is a flag of ``python -m sact_core.train`` and says itself what it is; a
preset (`sact_core.train.presets`) fills them and flags override it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from sact_core.config import NetworkConfig, from_dict, to_dict
from sact_core.flops import PRICES
from sact_core.settings import check_settings, described, setting

#: Larger than any sensible number, and finite.
MOST = 1e9

SCHEDULES = ("step", "onecycle", "cosine")
AMP = ("off", "bf16")
BORDERS = ("black", "reflect")
CROPS = ("padded", "resized")
LABELS = ("given", "none")
OPTIMISERS = ("sgd", "adamw")

#: Sides of images of mixed sizes are multiples of it, in pixels.
SIZE_STEP = 32

#: What ``--amp`` takes: ``auto`` becomes one of `AMP` before a run starts.
AMP_CHOICES = ("auto", *AMP)


@described
@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides what a run computes.

    Parameters
    ----------
    network : NetworkConfig
        What is trained.
    {settings}

    Raises
    ------
    ValueError
        If a value is out of range; the message names it.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    dataset: str = setting(
        "cifar10",
        "TFDS name, or a folder of class folders; without labels any folder, and several",
    )
    labels: str = setting(
        "given",
        "what is learnt from: given (the data set's classes) or none (the teacher's answers "
        "alone, on photographs in any folders; evaluated is how often both answer alike)",
        choices=LABELS,
        group="data",
    )
    train_split: str = setting("train", "to learn from, as TFDS writes it", group="data")
    eval_split: str = setting("test", "to be tested on, as TFDS writes it", group="data")
    num_train_examples: int | None = setting(
        None, "the first so many only, for trials", low=1, high=1 << 40, group="data"
    )
    image_size: int | None = setting(
        None,
        "side of the network's input, in pixels; needed where images differ in size",
        low=1,
        high=1 << 40,
        group="data",
    )
    size_low: int | None = setting(
        None,
        "images have one of several sizes at each step: the smallest, in pixels",
        low=SIZE_STEP,
        high=1 << 16,
    )
    size_high: int | None = setting(
        None, "the largest, in steps of 32", low=SIZE_STEP, high=1 << 16
    )
    tau: float = setting(
        0.01,
        "price of a unit: weight of the mean ponder cost, summed over blocks; of a network for a "
        "range of tau, the price that it is evaluated at",
        low=0,
        high=MOST,
        group="recipe",
    )
    price: str = setting(
        "units",
        "what a unit costs: units (all the same), flops (in proportion to the FLOPs of a unit "
        "of its block, the network's mean unit as much as with units) or computed (flops, and "
        "what of a unit is computed around the positions that go on is paid there)",
        choices=PRICES,
        group="recipe",
    )
    epochs: float = setting(
        256.0, "passes over the training images", low=0, high=MOST, group="recipe"
    )
    max_steps: int | None = setting(
        None, "steps to take, in place of epochs", low=1, high=1 << 40, group="recipe"
    )
    batch_size: int = setting(
        128, "images of a step, over all processes", low=2, high=1 << 20, group="recipe"
    )
    schedule: str = setting(
        "step",
        "of the learning rate: step (the authors'), onecycle (linear up, linear down to 0) or "
        "cosine (half a cosine down to 0)",
        choices=SCHEDULES,
        group="recipe",
    )
    learning_rate: float = setting(
        0.1, "the highest of the schedule", low=0, high=MOST, group="recipe"
    )
    warmup: float = setting(
        0.0,
        "share of the steps that onecycle and cosine spend going up",
        low=0,
        high=1,
        group="recipe",
    )
    optimiser: str = setting(
        "sgd",
        "sgd or adamw, whose steps are as large as the learning rate whatever the gradient",
        choices=OPTIMISERS,
        group="recipe",
    )
    momentum: float = setting(0.9, "of SGD", low=0, high=1, group="recipe")
    nesterov: bool = setting(False, "look ahead by the momentum", group="recipe")
    l2: float = setting(
        2e-4,
        "weight of half the squares of all convolution weights (not of normalisations); with "
        "adamw they decay by it, in proportion to the learning rate",
        low=0,
        high=MOST,
        group="recipe",
    )
    ema: float = setting(
        0.0,
        "decay of a moving average of the weights, which is evaluated and written in their "
        "place, such as 0.999; 0 for none",
        low=0,
        high=1,
        group="recipe",
    )
    halting_lr: float = setting(
        1.0, "factor on the learning rate of the halting branches", low=0, high=MOST, group="recipe"
    )
    backbone_lr: float = setting(
        1.0,
        "factor on the learning rate of all but the halting branches; 0 leaves it as it is",
        low=0,
        high=MOST,
        group="recipe",
    )
    freeze_bn: bool = setting(
        False,
        "normalise by the moving statistics that the network came with, which stay; those of "
        "halting branches are learnt",
        group="recipe",
    )
    anchor: float = setting(
        0.0,
        "weight of half the squared distance of all but the halting branches to what they "
        "started from",
        low=0,
        high=MOST,
        group="recipe",
    )
    label_smoothing: float = setting(
        0.0, "share of the target spread over all classes", low=0, high=1, group="recipe"
    )
    crop: str = setting(
        "padded",
        "how images are cut: padded (random crops of an image's own size, from memory, as CIFAR's; "
        "other sizes are cut and resized once) or resized (random parts of photographs, resized "
        "and decoded for every step, evaluated on their central 87.5 %)",
        choices=CROPS,
        group="data",
    )
    crop_padding: int = setting(
        2, "border put around an image for padded crops, in pixels", low=0, high=1 << 10,
        group="data",
    )  # fmt: skip
    crop_border: str = setting(
        "black",
        "what that border is filled with: black (the authors') moves the mean and the deviation "
        "that an image is then standardised with, reflect leaves them alone",
        choices=BORDERS,
        group="data",
    )
    first_size: int | None = setting(
        None,
        "side of smaller random crops, in pixels, that the first steps learn from, which is "
        "cheaper; evaluation has whole images",
        low=1,
        high=1 << 40,
        group="data",
    )
    first_share: float = setting(
        0.5, "share of the steps with --first-size", low=0, high=1, group="data"
    )
    min_area: float = setting(
        0.08, "least share of a photograph in a resized crop", low=1e-3, high=1, group="data"
    )
    colour: float = setting(
        0.0,
        "strength of the changes of brightness, contrast, saturation and hue of resized crops: "
        "0 for none, 1 for TensorFlow-Slim's",
        low=0,
        high=1,
        group="data",
    )
    flip: bool = setting(True, "mirror half of the images", group="data")
    cutout: int = setting(
        0,
        "side of the square that is blanked in every image; 0 for none",
        low=0,
        high=1 << 10,
        group="data",
    )
    mixup: float = setting(
        0.0,
        "mix images in pairs, with shares from a symmetric beta distribution of this parameter; "
        "0 for none",
        low=0,
        high=100,
        group="data",
    )
    distill_from: str = setting(
        "", "checkpoint of a teacher, whose soft labels are learnt too", group="recipe"
    )
    distill_also: str = setting(
        "",
        "checkpoint of a second teacher, for training with labels: the mean of both logits is "
        "learnt, which two networks of different shape know better than either",
        group="recipe",
    )
    distill_weight: float = setting(
        0.5, "share of the teacher in the loss", low=0, high=1, group="recipe"
    )
    distill_temperature: float = setting(
        2.0, "both softmaxes are softened by it", low=1e-3, high=1e3, group="recipe"
    )
    distill_views: int = setting(
        0,
        "cut every image in so many ways, an epoch each in turn, the same for all runs, and keep "
        "the teacher's answers to them beside the run folders: runs that share a teacher ask it "
        "once; 0 for cuts of a run's own",
        low=0,
        high=1 << 12,
        group="recipe",
    )
    teacher_size: int | None = setting(
        None,
        "side of the images that the teacher answers to, in pixels: the same crops",
        low=1,
        high=1 << 16,
        group="recipe",
    )
    match_maps: float = setting(
        0.0,
        "weight of how far blocks' outputs are from the teacher's of the same images: mean "
        "squared difference, in variances of the channel",
        low=0,
        high=MOST,
        group="recipe",
    )
    difficulty: float = setting(
        0.0,
        "how strongly units are cheaper for images that the teacher finds hard: an image's price "
        "is in proportion to the teacher's probability of its class to this power, tau on "
        "average; 0 for one price",
        low=0,
        high=100,
        group="recipe",
    )
    finetune_from: str = setting(
        "", "checkpoint to start from; all but its halting branches is taken", group="recipe"
    )
    finetune_halting: bool = setting(False, "take its halting branches too", group="recipe")
    finetune_first_units: bool = setting(
        False, "it may have more units: the first of each block are taken", group="recipe"
    )
    grow_from: str = setting(
        "",
        "checkpoint of a network with fewer units, to start from: its units become the first of "
        "each block, and those behind them change nothing at first; its halting branches are "
        "taken with --finetune-halting",
        group="recipe",
    )
    eval_every: int = setting(
        1,
        "evaluate after every so many epochs and after the last; 0 for never, which leaves it to "
        "python -m sact_core.evaluate --watch",
        low=0,
        high=1 << 40,
        group="run",
    )
    amp: str = setting(
        "off",
        "number format of convolutions: bf16 is bfloat16; --amp auto takes it where it is faster",
        choices=AMP,
        group="run",
    )
    compile: bool = setting(False, "with torch.compile, for GPUs", group="run")
    seed: int = setting(
        0, "of weights, order, augmentation and taus", low=0, high=1 << 62, group="recipe"
    )

    def __post_init__(self) -> None:
        if self.network.tau_default is not None:
            object.__setattr__(self, "tau", self.network.tau_default)
        check_settings(self)
        if self.crop == "resized" and self.image_size is None:
            raise ValueError("resized crops need an image_size")
        if self.crop == "padded" and self.colour:
            raise ValueError("changes of colour need resized crops: give --crop resized")
        if self.ema == 1:
            raise ValueError("ema must be below 1: an average of decay 1 never moves")
        self._check_first_size()
        self._check_teaching()
        self._check_sizes()
        if self.price != "units" and not self.network.halts:
            raise ValueError(
                f"a vanilla network never halts, so its units have no price: leave --price "
                f"{self.price} out, or give --halting act or sact"
            )
        if self.difficulty and not (self.distill_from and self.network.halts):
            raise ValueError(
                "difficulty is what a teacher finds hard, and changes what units cost: give "
                "--distill-from and --halting act or sact too, or leave it out"
            )
        if self.distill_views:
            self._check_views()
        if self.grow_from and (self.finetune_from or self.finetune_first_units):
            raise ValueError(
                "a network starts from one checkpoint: give --grow-from, or --finetune-from "
                "with or without --finetune-first-units"
            )

    def _check_views(self) -> None:
        if not self.distill_from:
            raise ValueError("distill_views are what a teacher is asked about: give --distill-from")
        others = {"--crop resized": self.crop != "padded", "--cutout": bool(self.cutout)}
        others |= {"--first-size": self.first_size is not None}
        others |= {"--match-maps": bool(self.match_maps)}
        for flag in (flag for flag, given in others.items() if given):
            raise ValueError(f"distill_views are whole padded crops: leave {flag} out")

    def _check_first_size(self) -> None:
        first, divisor = self.first_size, self.network.facts.divisor
        if first is None:
            if self.first_share != type(self).first_share:
                raise ValueError("first_share is the share of smaller crops: give --first-size too")
            return
        if self.crop != "padded":
            raise ValueError("smaller crops at first need padded crops: leave --first-size out")
        if first % divisor:
            raise ValueError(f"first_size must be a multiple of {divisor}, got {first}")

    def _check_sizes(self) -> None:
        low, high = self.size_low, self.size_high
        if self.crop != "resized":
            needing = {"teacher_size": self.teacher_size, "mixup": self.mixup, "size_low": low}
            for name in (name for name, given in needing.items() if given):
                raise ValueError(f"{name} has to do with resized crops: give --crop resized")
        if low is None and high is None:
            return
        if low is None or high is None or low > high or low % SIZE_STEP or high % SIZE_STEP:
            raise ValueError(
                f"sizes must be two multiples of {SIZE_STEP}, the smaller one first, "
                f"got {low} and {high}"
            )

    def _check_teaching(self) -> None:
        started = bool(self.finetune_from or self.grow_from)
        if self.freeze_bn and not started:
            raise ValueError(
                "the moving statistics of fresh weights say nothing yet: give --finetune-from, "
                "or leave --freeze-bn out"
            )
        if self.anchor and not started:
            raise ValueError(
                "the weights are held to what they started from: give --finetune-from, or leave "
                "--anchor out"
            )
        if self.optimiser == "adamw" and self.nesterov:
            raise ValueError("nesterov is of SGD: leave it out with --optimiser adamw")
        if not self.backbone_lr and not self.network.halts:
            raise ValueError(
                "with --backbone-lr 0 only halting branches learn: give --halting act or sact"
            )
        if self.labels == "none":
            if not self.distill_from:
                raise ValueError(
                    "without labels a teacher says what is to be answered: give --distill-from"
                )
            if self.distill_weight != 1 or self.label_smoothing:
                raise ValueError(
                    "without labels the teacher is the whole loss: give --distill-weight 1, and "
                    "no --label-smoothing"
                )
        for name in ("teacher_size", "match_maps", "distill_also"):
            if getattr(self, name) and not self.distill_from:
                raise ValueError(f"{name} has to do with a teacher: give --distill-from")
        if self.distill_also and (self.labels == "none" or self.match_maps):
            flag = "--labels none" if self.labels == "none" else "--match-maps"
            raise ValueError(f"with {flag} there is one teacher: leave --distill-also out")


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
