"""Cost of a plan, given how many positions each convolution computed.

One formula, for convolutions only (stem, shortcuts, halting branches and
logits included)::

    FLOPs = 2 * positions * kernel height * kernel width * channels in / groups * channels out

A multiply-add counts as two, as the authors count; divide by two for
multiply-adds. Biases, batch normalisations, activations and poolings are free.
What a position costs depends on the mask only through ``positions``: each
backend reports the output positions that each convolution had to compute.

- Vanilla: all of them.
- ACT: those of a unit, its halting branch included, while ``num_units`` of the
  image is above the unit's index.
- SACT: from the second unit of a block on, the active positions, grown for every
  convolution by as many pixels as those that follow it in the unit read around a
  position (`sact_core.network.Unit.halos`): by one before a 3x3, by two before a
  5x5; the local halting convolution those that were active in its own unit. The
  global halting convolution always counts as one position an image.
- What tau adds to halting logits is no convolution but a sum, like a bias, of one
  number for each image and unit, and free as biases are: a network conditioned on
  tau costs as much as the same network without.

Source: Figurnov et al. 2017, arXiv:1612.02297, and the authors' published code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sact_core.network import Conv, Plan, check_input_size

#: What the price of a unit can go by, see `unit_prices`.
PRICES = ("units", "flops", "computed")


@dataclass(frozen=True)
class UnitPrices:
    """What units cost in the loss, in units of tau; see `unit_prices`.

    Attributes
    ----------
    blocks : tuple of float
        Of a unit of each block.
    halos : tuple of tuple of (int, float), optional
        Of each block, what share of a unit is paid at every position that has one that goes
        on within so many pixels: ``((1, 0.5), (0, 0.5))`` for two 3x3 convolutions. None
        where a unit is paid where it is active, as in the paper.
    """

    blocks: tuple[float, ...]
    halos: tuple[tuple[tuple[int, float], ...], ...] | None = None

    @classmethod
    def even(cls, plan: Plan) -> UnitPrices:
        """The paper's: tau for every unit."""
        return cls((1.0,) * len(plan.blocks))


@dataclass(frozen=True, eq=False)
class FlopCount:
    """FLOPs of every convolution, and their sums.

    Attributes
    ----------
    layers : dict of str to np.ndarray [shape=(n,), int64]
        FLOPs that each image needed, by the name of the convolution, in the
        order of execution.
    """

    layers: dict[str, np.ndarray]

    @property
    def total(self) -> np.ndarray:
        """FLOPs of the whole network [shape=(n,), int64]."""
        return _sum(self.layers.values())

    @property
    def blocks(self) -> dict[str, np.ndarray]:
        """FLOPs by block name, such as ``block1`` [shape=(n,), int64]."""
        return self._grouped(1)

    @property
    def units(self) -> dict[str, np.ndarray]:
        """FLOPs by unit name, such as ``block1/unit2`` [shape=(n,), int64]."""
        return self._grouped(2)

    @property
    def halting(self) -> np.ndarray:
        """FLOPs of all halting branches together [shape=(n,), int64]."""
        branches = [flops for name, flops in self.layers.items() if "/halting_proba/" in name]
        return _sum(branches) if branches else np.zeros_like(self.total)

    def block(self, name: str) -> np.ndarray:
        """FLOPs of one block [shape=(n,), int64].

        Raises
        ------
        KeyError
            If no block has that name.
        """
        return self.blocks[name]

    def unit(self, name: str) -> np.ndarray:
        """FLOPs of one unit, shortcut and halting branch included [shape=(n,), int64].

        Raises
        ------
        KeyError
            If no unit has that name.
        """
        return self.units[name]

    def _grouped(self, depth: int) -> dict[str, np.ndarray]:
        # Names are paths: block2/unit3/conv1. Stem and logits belong to no block.
        groups: dict[str, list[np.ndarray]] = {}
        for name, flops in self.layers.items():
            if "/" in name:
                groups.setdefault("/".join(name.split("/")[:depth]), []).append(flops)
        return {name: _sum(group) for name, group in groups.items()}


def conv_flops(weight_shape: tuple[int, int, int, int], positions: np.ndarray) -> np.ndarray:
    """Two per multiply-add; biases and normalisation are free.

    Parameters
    ----------
    weight_shape : tuple of int
        Height, width, channels in of one group, channels out.
    positions : np.ndarray [shape=(n,), int64]
        Output positions computed for each image.
    """
    return _price(weight_shape) * np.asarray(positions, np.int64)


def count_flops(plan: Plan, positions: Mapping[str, np.ndarray]) -> FlopCount:
    """Count the FLOPs of a run from the positions it computed.

    Parameters
    ----------
    plan : Plan
        The network.
    positions : mapping of str to np.ndarray [shape=(n,), int64]
        Output positions computed by each convolution of ``plan.convs``, per
        image.

    Returns
    -------
    FlopCount
        Per layer, unit, block and in total.

    Raises
    ------
    ValueError
        If the names are not those of the plan, or an entry is negative, is no
        whole number or has another length. All names that do not fit are listed.
    """
    names = [conv.name for conv in plan.convs]
    missing = [name for name in names if name not in positions]
    unexpected = sorted(set(positions) - set(names))
    if missing or unexpected:
        raise ValueError(
            "positions must hold the plan's convolutions; "
            f"missing: {', '.join(missing) or 'none'}; "
            f"unexpected: {', '.join(unexpected) or 'none'}"
        )
    counts = {name: np.asarray(positions[name]) for name in names}
    shape = counts[names[0]].shape
    for name, count in counts.items():
        if count.dtype.kind not in "iu" or count.ndim != 1 or count.shape != shape:
            raise ValueError(
                f"positions of {name} must be whole numbers of shape {shape}, one per image, "
                f"got {count.dtype} of shape {count.shape}"
            )
    table = np.array(list(counts.values()), np.int64)  # [convolutions, n]
    if table.size and table.min() < 0:
        name = next(name for name, count in counts.items() if count.min() < 0)
        raise ValueError(f"positions of {name} must not be negative, got {counts[name].min()}")
    prices = np.array([_price(conv.weight_shape) for conv in plan.convs])
    return FlopCount(dict(zip(names, prices[:, None] * table, strict=True)))


class Tariff:
    """Prices of a plan's convolutions, for whoever counts run after run.

    Gives what `count_flops` gives, of positions that nobody need check.

    Parameters
    ----------
    plan : Plan
        The network.

    Attributes
    ----------
    names : tuple of str
        The convolutions, in the order of execution.
    """

    def __init__(self, plan: Plan) -> None:
        self.names = tuple(conv.name for conv in plan.convs)
        self._prices = np.array([_price(conv.weight_shape) for conv in plan.convs])
        blocks = [name.split("/")[0] for name in self.names]
        self._blocks = [
            slice(begin, begin + blocks.count(block.name))
            for block in plan.blocks
            for begin in [blocks.index(block.name)]
        ]

    def count(self, positions: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """FLOPs of a run.

        Parameters
        ----------
        positions : np.ndarray [shape=(convolutions, n), int64]
            As in `count_flops`, in the order of ``names``.

        Returns
        -------
        total : np.ndarray [shape=(n,), int64]
        blocks : list of np.ndarray [shape=(n,), int64]
            Of every block.
        """
        flops = self._prices[:, None] * positions
        return flops.sum(axis=0), [flops[rows].sum(axis=0) for rows in self._blocks]


def dense_flops(plan: Plan, size: tuple[int, int]) -> FlopCount:
    """Count the FLOPs of one image of which every position runs every unit.

    Parameters
    ----------
    plan : Plan
        The network.
    size : tuple of int
        Height and width of the input in pixels.

    Returns
    -------
    FlopCount
        With ``n = 1``.

    Raises
    ------
    ValueError
        If the network cannot take an input of this size.
    """
    return count_flops(
        plan,
        {name: np.array([count], np.int64) for name, count in dense_positions(plan, size).items()},
    )


def unit_prices(plan: Plan, size: tuple[int, int], price: str) -> UnitPrices:
    """Give what a unit of each block costs in the loss, in units of tau.

    Parameters
    ----------
    plan : Plan
        The network.
    size : tuple of int
        Height and width of the input in pixels.
    price : str
        ``"units"``: all cost the same. ``"flops"``: as a block's units do on average where
        every position runs, halting branches and shortcuts included; over all units of the
        network the mean is 1. ``"computed"``: so, and in SACT the share of a unit that is
        computed around the active positions too, for the convolution that reads them, is
        paid there (`sact_core.network.Unit.halos`).

    Raises
    ------
    ValueError
        If there is no such price, or the network cannot take an input of this size.
    """
    if price not in PRICES:
        raise ValueError(f"price must be one of {', '.join(PRICES)}; got {price!r}")
    if price == "units":
        return UnitPrices.even(plan)
    blocks = dense_flops(plan, size).blocks
    mean = sum(int(flops[0]) for flops in blocks.values()) / len(plan.units)
    each = tuple(int(blocks[b.name][0]) / len(b.units) / mean for b in plan.blocks)
    by_position = price == "computed" and plan.config.by_position
    return UnitPrices(each, _halos(plan) if by_position else None)


def _halos(plan: Plan) -> tuple[tuple[tuple[int, float], ...], ...]:
    found = []
    for block in plan.blocks:
        unit = block.units[-1]  # the first one runs everywhere
        costs = [math.prod(conv.weight_shape) for conv in unit.convs]
        by_halo: dict[int, float] = {}
        for halo, cost in zip(unit.halos, costs, strict=True):
            by_halo[halo] = by_halo.get(halo, 0.0) + cost / sum(costs)
        found.append(tuple(by_halo.items()))
    return tuple(found)


def dense_positions(plan: Plan, size: tuple[int, int]) -> dict[str, int]:
    """Count the output positions of every convolution where nothing halts.

    Parameters
    ----------
    plan : Plan
        The network.
    size : tuple of int
        Height and width of the input in pixels.

    Returns
    -------
    dict of str to int
        By the name of the convolution, per image.

    Raises
    ------
    ValueError
        If the network cannot take an input of this size.
    """
    check_input_size(plan, size)
    positions: dict[str, int] = {}

    def visit(conv: Conv, size: tuple[int, int]) -> tuple[int, int]:
        height, width = conv.output_size(size)
        positions[conv.name] = height * width
        return height, width

    size = visit(plan.stem, size)
    if plan.pool:
        size = (-(-size[0] // 2), -(-size[1] // 2))
    for unit in plan.units:
        if isinstance(unit.shortcut, Conv):
            visit(unit.shortcut, size)
        for conv in unit.convs:
            size = visit(conv, size)
        if unit.halting is not None:
            if unit.halting.local_conv is not None:
                visit(unit.halting.local_conv, size)
            visit(unit.halting.global_conv, (1, 1))
    if plan.head is not None:
        visit(plan.head, size)
    visit(plan.logits, (1, 1))
    return positions


@lru_cache(maxsize=4096)
def _price(weight_shape: tuple[int, int, int, int]) -> int:
    """FLOPs of one position."""
    height, width, num_in, num_out = weight_shape
    return 2 * height * width * num_in * num_out


def _sum(counts: Iterable[np.ndarray]) -> np.ndarray:
    total: np.ndarray = np.array(list(counts)).sum(axis=0)
    return total
