"""What is measured: networks, sizes, shares of the dense FLOPs, and what is asked of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from sact_core.config import NetworkConfig
from sact_core.families import FAMILIES

#: A network in which nothing halts may take a tenth longer than dense PyTorch.
FULL_DEPTH_BAR = 1 / 1.1


@dataclass(frozen=True)
class Case:
    """One network at one size.

    Parameters
    ----------
    key : str
        Name on the command line.
    family : str
        One of `sact_core.families.FAMILIES`.
    units_per_block : tuple of int
        Its depth.
    batch : int
        Images at once.
    side : int
        Height and width of the input in pixels.
    bar : float, optional
        Least speed-up over dense PyTorch, as a share of the FLOP ratio.
    checkpoint, images : str, optional
        Files of a trained network and of its input (``.npy``), instead of random
        weights and made-up images.
    calibration : str, optional
        File of the images (``.npy``) that sides in int8 find scales on.
    halting : str
        What halts in it: ``"sact"`` or ``"act"``.
    base_channels, num_classes, sact_kernel_size : int, optional
        As in `NetworkConfig`; usual ones where left out.
    """

    key: str
    family: str
    units_per_block: tuple[int, ...]
    batch: int
    side: int
    bar: float | None = None
    checkpoint: str | None = None
    images: str | None = None
    calibration: str | None = None
    halting: str = "sact"
    base_channels: int | None = None
    num_classes: int | None = None
    sact_kernel_size: int = 3

    def config(self, halting: str | None = None) -> NetworkConfig:
        """The network's config, with its own kind of halting or another."""
        usual = FAMILIES[self.family]
        return NetworkConfig(
            self.family,
            self.units_per_block,
            self.base_channels or usual.usual_channels,
            self.num_classes or usual.usual_classes,
            halting or self.halting,
            self.sact_kernel_size,
        )

    @property
    def title(self) -> str:
        """Name for people."""
        kind = " ACT" if self.config().by_image else ""
        return f"{self.config('none').name}{kind}, {self.side} px, batch {self.batch}"

    def bar_at(self, ratio: float) -> float | None:
        """What is asked at a share of the dense FLOPs; 1 is full depth."""
        if self.bar is None or ratio < 1:
            return self.bar
        return FULL_DEPTH_BAR

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return dataclasses.asdict(self)


_101 = FAMILIES["imagenet"].units(101)

CASES = (
    Case("resnet101-448", "imagenet", _101, 1, 448, 0.9),
    Case("resnet101-224", "imagenet", _101, 1, 224, 0.8),
    Case("resnet101-896", "imagenet", _101, 1, 896),
    Case("resnet32-batch1", "cifar", (5, 5, 5), 1, 32, 1.0),
    Case("resnet32-batch128", "cifar", (5, 5, 5), 128, 32, 1.0),
    Case("resnet110-batch1", "cifar", (18, 18, 18), 1, 32, 1.0),
    Case("resnet110-batch128", "cifar", (18, 18, 18), 128, 32, 1.0),
    Case("resnet110-act-batch1", "cifar", (18, 18, 18), 1, 32, halting="act"),
)

#: Shares of the dense FLOPs; 1 stands for a network in which nothing halts.
RATIOS = (1.0, 0.6, 0.4, 0.25)
