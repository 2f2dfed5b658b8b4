"""What a network is and how its images are prepared, as frozen data.

Every checkpoint carries these records, so that a file is enough to rebuild the
network that wrote it. Nothing here computes; a value that makes no sense is
refused when the record is made.

Source: Figurnov et al. 2017, arXiv:1612.02297, sections 3 and 4, and the
authors' published settings.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, TypeVar

from sact_core.families import FAMILIES, Family
from sact_core.settings import check_settings, described, setting

HALTING_KINDS = ("none", "act", "sact")
KERNEL_SIZES = (1, 3)
BLOCK_OUTPUTS = ("mean", "last")
FITS = ("crop", "square", "keep")

MAX_UNITS = 512
MAX_CHANNELS = 8192
MAX_CLASSES = 100_000
MAX_IMAGE_SIZE = 8192

#: Least ratio of the ends of a range of tau; and how small and large they may be, so that
#: they and their ratio are numbers in single precision.
MIN_TAU_RATIO, MAX_TAU = 1.01, 1e15

Record = TypeVar("Record")


@described
@dataclass(frozen=True)
class NetworkConfig:
    """What the network is; stored in every checkpoint.

    Parameters
    ----------
    units_per_block : tuple of int
        Residual units of each block, at least one each.
    {settings}

    Raises
    ------
    ValueError
        If a value is out of range; the message names it.
    """

    family: str = setting(
        "cifar",
        "family of the network, whose facts `sact_core.families` has",
        choices=FAMILIES,
    )
    units_per_block: tuple[int, ...] = (5, 5, 5)
    base_channels: int = setting(
        16,
        "channels in which widths are counted: every block has a family's multiple of them",
        low=1,
        high=MAX_CHANNELS,
        group="network",
    )
    num_classes: int = setting(10, "length of the logits", low=1, high=MAX_CLASSES)
    halting: str = setting(
        "none",
        "what halts: none (nothing, vanilla), act (an image) or sact (every position by itself)",
        choices=HALTING_KINDS,
        group="network",
    )
    sact_kernel_size: int = setting(
        3,
        "side of the local halting convolutions, of SACT only",
        choices=KERNEL_SIZES,
        group="network",
    )
    halting_bias: float = setting(
        -3.0,
        "initial bias of the halting logits, used when parameters are made",
        low=-1e9,
        high=1e9,
        group="network",
    )
    eps: float = setting(
        0.01,
        "halting slack that lets a position stop after one unit",
        low=0,
        high=1,
        group="network",
    )
    block_output: str = setting(
        "mean",
        "what a block hands on: mean (of its units' outputs, weighted by the halting "
        "distribution, as the authors have it) or last (the output of the unit after which a "
        "position, or an image, stopped)",
        choices=BLOCK_OUTPUTS,
        group="network",
    )
    tau_conditioned: bool = setting(
        False,
        "whether the halting scores are told tau, the price of a unit, so that one network serves "
        "a whole range of prices",
    )
    tau_low: float | None = setting(
        None, "low end of the range, in loss per unit; given if and only if tau_conditioned"
    )
    tau_high: float | None = setting(None, "high end of the range")
    tau_default: float | None = setting(
        None,
        "the tau to run with where none is asked for; the geometric middle of the range where "
        "left out",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        self._check_taus()
        if self.block_output != "mean" and not self.halts:
            raise ValueError(
                "a vanilla network never halts, so a block's output is its last unit's: "
                "block_output belongs to act or sact"
            )
        try:
            units = tuple(self.units_per_block)
        except TypeError:
            raise ValueError(
                f"units_per_block must be a list of whole numbers, got {self.units_per_block!r}"
            ) from None
        object.__setattr__(self, "units_per_block", units)
        family = self.facts
        if len(units) != len(family.stages):
            raise ValueError(
                f"units_per_block must have {len(family.stages)} numbers in the "
                f"{self.family} family, got {len(units)}: {units}"
            )
        for count in units:
            _whole("units_per_block", count, 1, MAX_UNITS)
        if family.widens_by_zeros and self.base_channels % 2:
            raise ValueError(
                f"base_channels must be even in the {self.family} family, where a shortcut adds "
                f"half of its channels on either side, got {self.base_channels}"
            )

    def _check_taus(self) -> None:
        low, high = self.tau_low, self.tau_high
        if not self.tau_conditioned:
            if (low, high, self.tau_default) != (None, None, None):
                raise ValueError("a range of tau belongs to a network with tau_conditioned: true")
            return
        if not self.halts:
            raise ValueError("a vanilla network never halts: a range of tau needs act or sact")
        if low is None or high is None:
            raise ValueError("a network with tau_conditioned: true needs tau_low and tau_high")
        if low <= 0 or high < MIN_TAU_RATIO * low:
            raise ValueError(
                f"a range of tau must go from a number above 0 to one at least {MIN_TAU_RATIO:g} "
                f"times as large, got {low!r} to {high!r}"
            )
        if low < 1 / MAX_TAU or high > MAX_TAU:
            raise ValueError(
                f"a range of tau must lie between {1 / MAX_TAU:g} and {MAX_TAU:g}, got {low!r} to "
                f"{high!r}"
            )
        if self.tau_default is None:
            object.__setattr__(self, "tau_default", math.sqrt(low) * math.sqrt(high))
        assert self.tau_default is not None
        if not low <= self.tau_default <= high:
            raise ValueError(
                f"tau_default must be in the range from {low:g} to {high:g}, "
                f"got {self.tau_default!r}"
            )

    @property
    def facts(self) -> Family:
        """The facts of its family."""
        return FAMILIES[self.family]

    @property
    def halts(self) -> bool:
        """Whether anything may stop before its block's last unit: ACT or SACT."""
        return self.by_position or self.by_image

    @property
    def by_position(self) -> bool:
        """Whether every position of an image stops by itself: SACT."""
        return self.halting == "sact"

    @property
    def by_image(self) -> bool:
        """Whether an image stops as a whole: ACT."""
        return self.halting == "act"

    @property
    def unconditioned(self) -> NetworkConfig:
        """The same network, told no tau."""
        return replace(self, tau_conditioned=False, tau_low=None, tau_high=None, tau_default=None)

    @property
    def vanilla(self) -> NetworkConfig:
        """The same network without halting: every position runs every unit."""
        return replace(self.unconditioned, halting="none", block_output="mean")

    @property
    def name(self) -> str:
        """Short name, such as ``ResNet-32 SACT`` or ``ResNet-101``."""
        name = self.facts.name_of(self.units_per_block)
        kind = " " + self.halting.upper() if self.halts else ""
        return f"{name}{kind}" + (" any tau" if self.tau_conditioned else "")

    @property
    def title(self) -> str:
        """The name, with the width where it is not the authors': ``ResNet-50, 1/4 width``."""
        width = Fraction(self.base_channels, self.facts.usual_channels)
        return self.name if width == 1 else f"{self.name}, {width} width"


@dataclass(frozen=True)
class Kind:
    """How the values of pixels become a network's input.

    Attributes
    ----------
    scale : tuple of float, optional
        ``(offset, factor)`` where a value from 0 to 1 becomes ``(value - offset) *
        factor``; None where every image is standardised by itself.
    stretches : bool
        Whether a crop is stretched to a square, bilinearly as in TensorFlow 1, rather
        than cut to its central square and resized with antialiasing.
    """

    scale: tuple[float, float] | None
    stretches: bool


#: Every kind of preprocessing by its name.
KINDS = {
    "cifar": Kind(None, False),
    "imagenet": Kind((0.5, 2.0), True),
    "mobile": Kind((127 / 255, 255 / 128), False),
}


@described
@dataclass(frozen=True)
class Preprocessing:
    """How a uint8 image becomes the network's input.

    Parameters
    ----------
    {settings}

    Raises
    ------
    ValueError
        If a value is out of range; the message names it.
    """

    kind: str = setting(
        "cifar",
        "how the values of pixels are scaled: cifar (every image is standardised by itself, "
        "(x - mean) / max(std, 1 / sqrt(number of values))), imagenet (to [-1, 1]) or mobile "
        "((x - 127) / 128 of values from 0 to 255)",
        choices=KINDS,
    )
    image_size: int = setting(32, "side of the square input in pixels", low=1, high=MAX_IMAGE_SIZE)
    crop_fraction: float = setting(
        1.0,
        "share of each side that the central crop keeps before resizing",
        low=0,
        high=1,
        open_low=True,
    )
    fit: str = setting(
        "crop",
        "how the size is reached: crop (central crop, resized to a square of image_size), square "
        "(as crop, of the central square alone, so that nothing is stretched) or keep (the aspect "
        "ratio is kept and image_size is the longer side)",
        choices=FITS,
    )

    def __post_init__(self) -> None:
        check_settings(self)


def default_preprocessing(family: str) -> Preprocessing:
    """Give the authors' evaluation preprocessing of a family.

    Raises
    ------
    ValueError
        If the family is unknown.
    """
    _choice("family", family, FAMILIES)
    facts = FAMILIES[family]
    return Preprocessing(facts.kind, facts.image_size, facts.crop_fraction)


def parse_units(text: str, family: str = "cifar") -> tuple[int, ...]:
    """Read units per block as the authors' flag writes them.

    Parameters
    ----------
    text : str
        ``"1_2_3"`` for one count per block; or one number: a usual depth where the
        family has such, as ``"101"`` in ``imagenet``, else the count of every block.
    family : str
        One of `FAMILIES`.

    Raises
    ------
    ValueError
        If the text does not parse; the message gives examples.
    """
    _choice("family", family, FAMILIES)
    parts = str(text).strip().split("_")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(
            f"units must look like 5, 1_2_3 or, in the imagenet family, 101 or 3_4_6_3; "
            f"got {text!r}"
        )
    units = tuple(int(part) for part in parts)
    if len(units) == 1:
        facts = FAMILIES[family]
        if facts.depths and units[0] not in facts.depths:
            known = ", ".join(map(str, facts.depths))
            like = "_".join(map(str, facts.units(facts.usual_depth)))
            raise ValueError(f"units must be one of {known} or a list like {like}, got {text!r}")
        units = facts.units(units[0])
    NetworkConfig(family=family, units_per_block=units)  # refuses the rest
    return units


def to_dict(record: Any) -> dict[str, Any]:
    """Turn a record into plain JSON values.

    What says that a network is not conditioned on tau, or that its blocks hand on the
    authors' mean, is left out: its record reads as it did before there were others.
    """
    values = dataclasses.asdict(record)
    if isinstance(record, NetworkConfig) and not record.tau_conditioned:
        values = {key: value for key, value in values.items() if not key.startswith("tau_")}
    if values.get("block_output") == "mean":
        del values["block_output"]
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
    }


def from_dict(kind: type[Record], values: Any) -> Record:
    """Make a record from plain JSON values.

    Raises
    ------
    ValueError
        If ``values`` is no mapping, has unknown keys or a bad value. Every
        unknown key is listed.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{kind.__name__} must be a JSON object, got {type(values).__name__}")
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(map(str, values)) - known)
    if unknown:
        raise ValueError(f"{kind.__name__} has unknown keys: {', '.join(unknown)}")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _choice(name: str, value: object, choices: Collection[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


def _whole(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, got {value!r}")
