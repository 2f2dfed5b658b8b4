"""From a run to what pages show of it: plain functions, no Streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.records import Run
from app.viewer import Layer, Panel, Stage
from sact_core.config import NetworkConfig
from sact_core.maps.limits import PERCENTILES, unit_limits
from sact_core.network import Conv, Plan
from sact_core.result import BlockResult, Result

METRICS = {"ponder_cost": "Ponder cost", "num_units": "Units run"}
SCALES = {"fixed": "Fixed", "stretched": "Stretched"}
#: Plotly without its tool bar, for figures that are only read.
QUIET = {"displayModeBar": False}


@dataclass(frozen=True)
class Trace:
    """The halting of one position in one block.

    Attributes
    ----------
    halting_proba : np.ndarray [shape=(units - 1,)]
        NaN after the stop.
    num_units, remainder, ponder_cost : number
        As the rule gives them.
    """

    halting_proba: np.ndarray
    num_units: int
    remainder: float
    ponder_cost: float

    @property
    def sentence(self) -> str:
        """What happened, in words."""
        units = len(self.halting_proba) + 1
        if self.num_units == units and units > 1:
            how = f"ran all {units} units"
        else:
            how = f"stopped after {self.num_units} of {units} units"
        return f"{how}, ponder cost {self.ponder_cost:.2f}"


def block_name(name: str) -> str:
    """``block2`` as people read it."""
    return name.replace("block", "Block ")


def deciding(config: NetworkConfig) -> list[int]:
    """Indices of the blocks that decide anything: those of more than one unit.

    All of them where none has more, so that there is something to see.
    """
    units = config.units_per_block
    return [i for i, count in enumerate(units) if count > 1] or list(range(len(units)))


def static_layers(config: NetworkConfig) -> list[Layer]:
    """What a network without halting does: one value a block, all of its units everywhere."""
    return [
        Layer(f"block {i + 1}", np.full((1, 1), units, np.float32))
        for i, units in enumerate(config.units_per_block)
    ]


def layers(result: Result, metric: str = "ponder_cost") -> list[Layer]:
    """The blocks' maps of the first image; an ACT network's are one value each."""
    found = []
    for block in result.blocks:
        values = getattr(block, metric)[0]
        values = np.asarray(values, np.float32).reshape(np.shape(values) or (1, 1))
        found.append(Layer(block_name(block.name).lower(), values))
    return found


def panels(
    run: Run,
    name: str,
    title: str,
    layers: Sequence[Layer],
    map_alt: str,
    over_alt: str,
    opacity: float = 0.65,
) -> list[Panel]:
    """An image, its map, and the map over the image: what a viewer of one run shows.

    Parameters
    ----------
    run : Run
        Of a network with halting.
    name : str
        Of the image.
    title : str
        Over the map.
    layers : sequence of Layer
        The blocks' maps; the panels show their sum.
    map_alt, over_alt : str
        The map, and the map over the image, in words.
    opacity : float
        Of the map over the image, in [0, 1].
    """
    every = range(len(layers))
    height, width = run.seen.pixels.shape[:2]
    return [
        Panel(
            "What the network sees",
            picture=True,
            note=f"{width} × {height} pixels",
            alt=f"{name} as the network receives it",
        ),
        Panel(title, every, 0, detail=True, alt=map_alt),
        Panel("Over the image", every, 0, picture=True, opacity=opacity, silent=True, alt=over_alt),
    ]


def limits(
    config: NetworkConfig, result: Result, metric: str, scale: str = "fixed", block: int = -1
) -> tuple[float, float]:
    """Values of the first and last colour.

    Parameters
    ----------
    config : NetworkConfig
        The network.
    result : Result
        What it did.
    metric : str
        One of `METRICS`.
    scale : str
        ``"fixed"``: what the network can spend at all. ``"stretched"``: between
        the percentiles of this map that the authors drew.
    block : int
        Of this block's map alone; of the sum where left out.
    """
    units = config.units_per_block if block < 0 else config.units_per_block[block : block + 1]
    if scale == "fixed":
        return unit_limits(units, metric)
    values = result.map(metric)[0] if block < 0 else layers(result, metric)[block].values
    low, high = np.percentile(values, PERCENTILES)
    return readable(float(low), float(high))


def readable(low: float, high: float) -> tuple[float, float]:
    """Ends of a scale, rounded to what a command line states, and apart."""
    low, high = round(low, 4), round(high, 4)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def common_limits(configs: Sequence[NetworkConfig], metric: str) -> tuple[float, float]:
    """One scale for several networks: from the least to the most that any can spend."""
    ends = [unit_limits(config.units_per_block, metric) for config in configs]
    return min(low for low, _ in ends), max(high for _, high in ends)


def total_map(config: NetworkConfig, run: Run, metric: str) -> np.ndarray:
    """The sum of the blocks' maps [shape=(h, w)]; without halting all units, in one value."""
    if not config.halts:
        return np.full((1, 1), sum(config.units_per_block), np.float32)
    values: np.ndarray = run.result.map(metric)[0]
    return values


def largest_difference(first: np.ndarray, second: np.ndarray) -> float:
    """Largest difference of two maps [shape=(h, w)], in units; at least 1, for a scale around 0.

    Maps of different sizes are compared at the positions of the first, unless that has one
    value alone.
    """
    if first.size == 1:
        first, second = second, first
    rows = np.arange(first.shape[0]) * second.shape[0] // first.shape[0]
    columns = np.arange(first.shape[1]) * second.shape[1] // first.shape[1]
    return max(1.0, float(np.abs(second[rows][:, columns] - first).max()))


def summary(run: Run) -> str:
    """A map in words, for screen readers."""
    values = run.result.map("ponder_cost")[0]
    return f"from {values.min():.1f} to {values.max():.1f} units, {values.mean():.1f} on average"


def mean_units(result: Result) -> float | None:
    """Units that a position of the input ran on average, all blocks together."""
    means = [block.num_units[0].mean() for block in result.blocks if block.num_units is not None]
    return float(sum(means)) if means else None


def trace(block: BlockResult, position: tuple[int, int], input_size: tuple[int, int]) -> Trace:
    """Follow one position of the input through a block.

    Parameters
    ----------
    block : BlockResult
        Of a run with halting.
    position : tuple of int
        Row and column of the input; ignored where halting is per image.
    input_size : tuple of int
        Height and width of the input.
    """
    halting_proba, num_units, ponder_cost = block.halting_proba, block.num_units, block.ponder_cost
    assert halting_proba is not None and num_units is not None and ponder_cost is not None  # noqa: PT018
    where: tuple[int, ...] = (0,)
    if num_units.ndim == 3:
        height, width = num_units.shape[1:]
        where = (0, position[0] * height // input_size[0], position[1] * width // input_size[1])
    units, paid = int(num_units[where]), float(ponder_cost[where])
    return Trace(halting_proba[where], units, paid - units, paid)


def film(result: Result, blocks: Sequence[int]) -> tuple[list[Stage], np.ndarray]:
    """The film: one stage a unit, and the share of positions active in each.

    Parameters
    ----------
    result : Result
        Of a network with halting. Stages refer to the layers of ``num_units``.
    blocks : sequence of int
        Those that are shown, such as `deciding` gives.

    Returns
    -------
    stages : list of Stage
    active : np.ndarray [shape=(stages,)]
        In [0, 1].
    """
    stages, active = [], []
    for i in blocks:
        block = result.blocks[i]
        assert block.num_units is not None
        assert block.halting_distribution is not None
        units = block.halting_distribution.shape[-1]
        for unit in range(units):
            share = float((block.num_units[0] > unit).mean())
            name = block_name(block.name)
            stages.append(
                Stage(
                    i,
                    unit,
                    f"{name}, unit {unit + 1} of {units}: {share:.0%} of positions active",
                    f"{name.lower()}, unit {unit + 1}",
                )
            )
            active.append(share)
    return stages, np.array(active)


def cost(run: Run, plan: Plan) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Parts of the network with the FLOPs they took, and would take dense."""
    names, executed, dense = [], [], []
    executed_blocks, dense_blocks = run.executed.blocks, run.dense.blocks
    rest = run.executed.total[0] - sum(flops[0] for flops in executed_blocks.values())
    names.append("stem, logits" if plan.head is None else "stem, head, logits")
    executed.append(rest)
    dense.append(rest)
    for name, flops in executed_blocks.items():
        names.append(block_name(name))
        executed.append(flops[0])
        dense.append(dense_blocks[name][0])
    return names, np.array(executed), np.array(dense)


@dataclass(frozen=True)
class Node:
    """A part of the network in the tree of its costs."""

    name: str
    parent: str
    label: str
    dense: int
    executed: int


def tree(plan: Plan, run: Run) -> list[Node]:
    """The network as a tree of parts: root, blocks, units, layers.

    A part's cost is the sum of its children's.
    """
    total, dense = int(run.executed.total[0]), int(run.dense.total[0])
    nodes = [Node("network", "", "Network", dense, total)]
    for name in run.executed.blocks:
        costs = int(run.dense.blocks[name][0]), int(run.executed.blocks[name][0])
        nodes.append(Node(name, "network", block_name(name), *costs))
    for name in run.executed.units:
        block, unit = name.split("/")
        costs = int(run.dense.units[name][0]), int(run.executed.units[name][0])
        nodes.append(Node(name, block, unit.replace("unit", "Unit "), *costs))
    for conv in plan.convs:
        parts = conv.name.split("/")
        parent = "/".join(parts[:2]) if len(parts) > 1 else "network"
        label = "/".join(parts[2:]).replace("halting_proba/", "halting ") or conv.name
        costs = int(run.dense.layers[conv.name][0]), int(run.executed.layers[conv.name][0])
        nodes.append(Node(conv.name, parent, label, *costs))
    return nodes


def layer_rows(plan: Plan, run: Run, factor: int = 1) -> list[dict[str, object]]:
    """Every convolution as a row: cost over ``factor``, share and positions."""
    rows: list[dict[str, object]] = []
    for conv in plan.convs:
        dense = int(run.dense.layers[conv.name][0])
        executed = int(run.executed.layers[conv.name][0])
        positions = int(run.result.positions[conv.name][0])
        rows.append(
            {
                "layer": conv.name,
                "weight": " × ".join(map(str, conv.weight_shape)),
                "dense": dense // factor,
                "executed": executed // factor,
                "share": executed / dense,
                "positions": positions,
                "of": dense_places(conv, dense),
            }
        )
    return rows


def dense_places(conv: Conv, flops: int) -> int:
    """Output positions of a convolution that costs so many FLOPs."""
    height, width, num_in, num_out = conv.weight_shape
    return flops // (2 * height * width * num_in * num_out)
