"""Every fact of every network family, in one table of plain data.

Whoever needs to know what distinguishes one family from another asks `FAMILIES`;
nothing else compares the name of a family. A new family is one more row, and a
fact that it does not give is an error, never the fact of another family.

Source: the authors' published networks (CIFAR pre-activation ResNets and ResNet
v2 bottlenecks) and settings, arXiv:1612.02297, section 4; He et al. 2016,
arXiv:1603.05027; Tan and Le 2019, arXiv:1905.11946, and EfficientNet-Lite in
TensorFlow's ``models/official/efficientnet/lite``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Activation:
    """``min(y if y > 0 else slope * y, cap)``; a slope of 1 and no cap do nothing."""

    slope: float
    cap: float = math.inf


LINEAR = Activation(1.0)
RELU = Activation(0.0)
RELU6 = Activation(0.0, 6.0)
LEAKY_RELU = Activation(0.1)


@dataclass(frozen=True)
class Layer:
    """A convolution that every unit has.

    Attributes
    ----------
    name : str
        Last part of its path, such as ``conv1``.
    width : str
        Channels out: ``"inner"`` or ``"outer"``, those of the `Stage`.
    norm : Activation, optional
        What follows its batch normalisation; None for a bias instead of one.
    kernel : int, optional
        Side of the kernel; that of the `Stage` where left out.
    strided : bool
        Whether it has the stride of its unit.
    depthwise : bool
        Whether every channel is convolved by itself.
    widens : bool
        Whether it is there to widen, and left out where it would not.
    padding : str
        As in `sact_core.network.Conv`.
    """

    name: str
    width: str
    norm: Activation | None
    kernel: int | None = None
    strided: bool = False
    depthwise: bool = False
    widens: bool = False
    padding: str = "same"


@dataclass(frozen=True)
class Stage:
    """What a block's units are like.

    Attributes
    ----------
    outer : int
        Channels out, in multiples of the config's ``base_channels``.
    inner : int
        Channels between, in multiples of it; 0 where ``expansion`` says.
    expansion : int
        Channels between, in multiples of the unit's input.
    stride : int
        Of the first unit.
    kernel : int
        Of layers that do not say.
    """

    outer: int
    inner: int = 0
    expansion: int = 0
    stride: int = 1
    kernel: int = 3


@dataclass(frozen=True)
class End:
    """The convolution before the first block, or after the last.

    Attributes
    ----------
    kernel, stride : int
        Its side and stride.
    channels : int, optional
        Channels out; the config's ``base_channels`` where left out.
    norm : Activation, optional
        As in `Layer`.
    padding : str
        As in `sact_core.network.Conv`.
    """

    kernel: int
    stride: int = 1
    channels: int | None = None
    norm: Activation | None = None
    padding: str = "same"


@dataclass(frozen=True)
class Family:
    """Networks of one kind.

    Attributes
    ----------
    title : str
        Name of a network of ``{layers}`` layers, or of the ``{depth}`` that has a number,
        else a space and the units of its blocks.
    about : str
        What it is for, in a few words.
    photographs : bool
        Whether it is for photographs of any size, rather than for small images.
    stem : End
        First convolution.
    pool : bool
        Whether a 3x3 max pooling of stride 2 follows it.
    stages : tuple of Stage
        One for each block.
    layers : tuple of Layer
        Convolutions of a unit, in order.
    preact : Activation, optional
        What follows the batch normalisation before a unit; None where there is none.
    first_shortcut : str
        Shortcut of the very first unit where that changes neither size nor width;
        as `sact_core.network.Unit`.
    changing_shortcut : str, optional
        Shortcut of units that change size or width: ``"pool"``, ``"conv"`` or None.
    halting_norm : Activation
        What follows the batch normalisations of halting branches.
    head : End, optional
        Convolution after the last block.
    postnorm : Activation, optional
        What follows the last batch normalisation; None where there is none.
    head_first : str
        ``"mean"`` or ``"bn"``, as in `sact_core.network.Plan`.
    bn_eps, bn_decay : float
        Of every batch normalisation: what is added to the variance, and the decay of
        the moving statistics in training.
    divisor : int
        What the sides of the input must be a multiple of.
    depths : mapping of int to tuple of int
        Units of each block by the number that names a depth; without any, a number
        is the count of every block.
    usual_depth, usual_channels, usual_classes : int
        Depth, ``base_channels`` and classes of the authors' networks.
    kind, image_size, crop_fraction : str, int, float
        Usual `sact_core.config.Preprocessing`.
    block_scope : str
        Name of block ``{number}`` in the authors' files and metrics.
    l2 : float
        Weight of L2 where a checkpoint does not say.
    training : mapping
        What it changes of the defaults of a recipe of training.
    sizes : tuple of int
        Sizes of an image worth trying, in pixels.
    photograph_size : int
        The one at which a photograph's map has something to see.
    """

    title: str
    about: str
    photographs: bool
    stem: End
    pool: bool
    stages: tuple[Stage, ...]
    layers: tuple[Layer, ...]
    preact: Activation | None
    first_shortcut: str
    changing_shortcut: str | None
    halting_norm: Activation
    head: End | None
    postnorm: Activation | None
    head_first: str
    bn_eps: float
    bn_decay: float
    divisor: int
    depths: Mapping[int, tuple[int, ...]] = field(hash=False)
    usual_depth: int
    usual_channels: int
    usual_classes: int
    kind: str
    image_size: int
    crop_fraction: float
    block_scope: str
    l2: float
    training: Mapping[str, Any] = field(hash=False)
    sizes: tuple[int, ...]
    photograph_size: int

    @property
    def images(self) -> str:
        """What it is for: ``"photographs"`` or ``"small"`` images."""
        return "photographs" if self.photographs else "small"

    @property
    def widens_by_zeros(self) -> bool:
        """Whether shortcuts add half of the new channels on either side."""
        return self.changing_shortcut == "pool"

    def units(self, depth: int) -> tuple[int, ...]:
        """Units of each block of a depth.

        Raises
        ------
        KeyError
            If the family has no such depth.
        """
        return self.depths[depth] if self.depths else (depth,) * len(self.stages)

    def name_of(self, units_per_block: tuple[int, ...]) -> str:
        """Name a network after its layers (its units', the stem, the logits) or its depth."""
        depth = " " + "_".join(map(str, units_per_block))
        for number, units in self.depths.items():
            depth = str(number) if units == units_per_block else depth
        layers = 2 + sum(units_per_block) * len(self.layers)
        return self.title.format(layers=layers, depth=depth)

    def scope_of(self, number: int) -> str:
        """Name block ``number``, from 1, as the authors' files and metrics do."""
        return self.block_scope.format(number=number)


CIFAR = Family(
    title="ResNet-{layers}",
    about="small images",
    photographs=False,
    stem=End(3),
    pool=False,
    stages=(Stage(1), Stage(2, stride=2), Stage(4, stride=2)),
    layers=(
        # The authors apply the leaky ReLU twice after conv1: 0.1 * 0.1.
        Layer("conv1", "outer", Activation(LEAKY_RELU.slope**2), 3, strided=True),
        Layer("conv2", "outer", None, 3),
    ),
    preact=LEAKY_RELU,
    first_shortcut="preact",
    changing_shortcut="pool",
    halting_norm=LEAKY_RELU,
    head=None,
    postnorm=LEAKY_RELU,
    head_first="mean",
    bn_eps=1e-3,
    bn_decay=0.9,
    divisor=4,
    depths={},
    usual_depth=5,
    usual_channels=16,
    usual_classes=10,
    kind="cifar",
    image_size=32,
    crop_fraction=1.0,
    block_scope="block_{number}",
    l2=2e-4,
    training={},
    sizes=(32, 64, 96, 128, 192, 256),
    photograph_size=128,
)

IMAGENET = Family(
    title="ResNet-{layers}",
    about="bottlenecks, photographs",
    photographs=True,
    stem=End(7, 2, channels=64, padding="explicit"),  # whatever base_channels
    pool=True,
    stages=(Stage(4, 1), Stage(8, 2, stride=2), Stage(16, 4, stride=2), Stage(32, 8, stride=2)),
    layers=(
        Layer("conv1", "inner", RELU, 1),
        Layer("conv2", "inner", RELU, 3, strided=True, padding="explicit"),
        Layer("conv3", "outer", None, 1),
    ),
    preact=RELU,
    first_shortcut="identity",
    changing_shortcut="conv",
    halting_norm=LINEAR,
    head=None,
    postnorm=RELU,
    head_first="bn",
    bn_eps=1e-5,
    bn_decay=0.997,
    divisor=1,
    depths={50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)},
    usual_depth=50,
    usual_channels=64,
    usual_classes=1001,
    kind="imagenet",
    image_size=224,
    crop_fraction=0.875,
    block_scope="block{number}",
    l2=1e-4,
    training={"crop": "resized", "image_size": 224, "colour": 0.5},
    sizes=(128, 160, 192, 224, 256, 320, 384, 448, 512, 640),
    photograph_size=192,
)

MOBILE = Family(
    title="EfficientNet-Lite{depth}",
    about="inverted bottlenecks, photographs",
    photographs=True,
    stem=End(3, 2, channels=32, norm=RELU6),  # whatever base_channels, as the head
    pool=False,
    stages=(
        Stage(2, expansion=1),
        Stage(3, expansion=6, stride=2),
        Stage(5, expansion=6, stride=2, kernel=5),
        Stage(10, expansion=6, stride=2),
        Stage(14, expansion=6, kernel=5),
        Stage(24, expansion=6, stride=2, kernel=5),
        Stage(40, expansion=6),
    ),
    layers=(
        Layer("expand", "inner", RELU6, 1, widens=True),
        Layer("depthwise", "inner", RELU6, strided=True, depthwise=True),
        Layer("project", "outer", LINEAR, 1),
    ),
    preact=None,
    first_shortcut="identity",
    changing_shortcut=None,
    halting_norm=LINEAR,
    head=End(1, channels=1280, norm=RELU6),
    postnorm=None,
    head_first="mean",
    bn_eps=1e-3,
    bn_decay=0.99,
    divisor=1,
    depths={0: (1, 2, 2, 3, 3, 4, 1), 1: (1, 3, 3, 4, 4, 5, 1)},
    usual_depth=0,
    usual_channels=8,
    usual_classes=1000,
    kind="mobile",
    image_size=224,
    crop_fraction=0.875,
    block_scope="block{number}",
    l2=1e-5,
    training={"crop": "resized", "image_size": 224, "colour": 0.5},
    sizes=(128, 160, 192, 224, 256, 288, 320, 384, 448, 512, 640),
    photograph_size=320,
)

#: Every family by the name that configs give.
FAMILIES: dict[str, Family] = {"cifar": CIFAR, "imagenet": IMAGENET, "mobile": MOBILE}
