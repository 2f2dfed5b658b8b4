"""Where halting pays: the speed-up over the fastest rival, by density and batch size.

Density is the share of the dense FLOPs that is needed. What is held against each other
is the fastest side that is ours and the fastest rival of all that were measured, in
one number format or in whatever is fastest; see `sact_core.benchmark.rivals`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sact_core.benchmark import infer
from sact_core.benchmark.cases import Case
from sact_core.benchmark.formats import FASTEST, lacking
from sact_core.benchmark.rivals import fastest, over
from sact_core.benchmark.sides import SIDES
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.network import check_input_size
from sact_core.plans import build_plan

#: Densities and batch sizes that are measured where none are asked for.
RATIOS = (1.0, 0.8, 0.6, 0.4, 0.25)
BATCHES = (1, 8, 64)

Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One density at one batch size.

    Attributes
    ----------
    batch : int
        Images at once.
    ratio, density : float
        FLOPs needed over dense FLOPs: as they were asked for, and as they were.
    speedup : float
        Time of the fastest rival over ours, median over rounds; below 1 it loses.
    own, rival : str
        The sides, for people.
    own_ms, rival_ms : float
        Milliseconds for the whole batch.
    own_joules, rival_joules : float, optional
        Energy of the processor for an image; None where the machine does not tell.
    """

    batch: int
    ratio: float
    density: float
    speedup: float
    own: str
    rival: str
    own_ms: float
    rival_ms: float
    own_joules: float | None
    rival_joules: float | None


def case_of(config: NetworkConfig, side: int, batch: int) -> Case:
    """Give the case of a network's architecture; a vanilla one is measured as if SACT were in it.

    Parameters
    ----------
    config : NetworkConfig
        Its family, units, widths, classes and kind of halting count.
    side : int
        Height and width of the input in pixels.
    batch : int
        Images at once.
    """
    return Case(
        f"{config.name}-{side}-batch{batch}",
        config.family,
        config.units_per_block,
        batch,
        side,
        halting="act" if config.by_image else "sact",
        base_channels=config.base_channels,
        num_classes=config.num_classes,
        sact_kernel_size=config.sact_kernel_size,
    )


def network_of(path: str | None, image_size: int | None) -> tuple[NetworkConfig, int]:
    """Give the config of a checkpoint's network, and the side of its input in pixels.

    Parameters
    ----------
    path : str, optional
        The checkpoint; ResNet-32 where left out.
    image_size : int, optional
        The side; the checkpoint's own where left out.

    Raises
    ------
    CheckpointError
        If the file is no usable checkpoint.
    ValueError
        If the network cannot take images of that size.
    OSError
        If the file cannot be opened.
    """
    config, preprocessing = NetworkConfig(halting="sact"), Preprocessing()
    if path is not None:
        from sact_core.checkpoint import read_header

        header = read_header(path)
        config, preprocessing = header.config, header.preprocessing
    side = preprocessing.image_size if image_size is None else image_size
    check_input_size(build_plan(config), (side, side))
    return config, side


def measure_map(
    config: NetworkConfig,
    side: int,
    batches: Iterable[int],
    threads: int,
    sides: Sequence[str],
    ratios: Sequence[float] = RATIOS,
    rounds: int = 7,
    seconds: float = 0.3,
    say: Callable[[str], None] = print,
    step: Callable[[str], None] = lambda what: None,
) -> list[Row]:
    """Measure a network at every density and batch size.

    Parameters
    ----------
    config : NetworkConfig
        As `case_of`; weights are random, for what they are does not matter.
    side : int
        Height and width of the input in pixels.
    batches : iterable of int
        Images at once.
    threads, sides, ratios, rounds, seconds, say, step
        As `infer.measure_case`.

    Returns
    -------
    list of dict
        Rows of `infer.measure_case`, with the ``network`` they are of.

    Raises
    ------
    SideError, ValueError
        As `infer.measure_case`.
    """
    rows = []
    for batch in batches:
        case = case_of(config, side, batch)
        found = infer.measure_case(case, threads, ratios, sides, rounds, seconds, say, step)
        name = case.config("none").name + (" ACT" if case.config().by_image else "")
        rows += [{**row, "network": name} for row in found]
    return rows


def num_steps(batches: int, sides: int, ratios: int, rounds: int) -> int:
    """How often `measure_map` says a step."""
    return batches * (sides + ratios * rounds)


def cells(rows: Iterable[Row], own: str = FASTEST, rival: str = FASTEST) -> list[Cell]:
    """Give what rows tell, by batch size, the densest first.

    Parameters
    ----------
    rows : iterable of dict
        From `measure_map`.
    own, rival : str
        Number formats of what is held against each other, of `formats.CHOICES`. Rows
        without a side in them are left out.
    """
    found = []
    for row in rows:
        ours, theirs = fastest(row, True, own), fastest(row, False, rival)
        if ours is None or theirs is None:
            continue
        joules = row.get("joules", {})
        found.append(
            Cell(
                row["batch"],
                row["ratio"],
                row["flops"] / row["dense_flops"],
                over(row, theirs, ours),
                SIDES[ours].title,
                SIDES[theirs].title,
                row["ms"][ours],
                row["ms"][theirs],
                joules[ours] / row["batch"] if ours in joules else None,
                joules[theirs] / row["batch"] if theirs in joules else None,
            )
        )
    return sorted(found, key=lambda cell: (cell.batch, -cell.density))


def pays_below(line: Sequence[Cell]) -> float:
    """The density below which all of one batch size pays, between cells by a straight line.

    Parameters
    ----------
    line : sequence of Cell
        Of one batch size.

    Returns
    -------
    float
        Infinite where every cell pays, 0 where the sparsest does not.
    """
    won: Cell | None = None
    for cell in sorted(line, key=lambda cell: cell.density):
        if cell.speedup < 1:
            if won is None:
                return 0.0
            along = (won.speedup - 1) / (won.speedup - cell.speedup)
            return won.density + along * (cell.density - won.density)
        won = cell
    return float("inf")


def sentence(found: Sequence[Cell]) -> str:
    """Say in one sentence below which density it pays."""
    lines: dict[int, list[Cell]] = {}
    for cell in found:
        lines.setdefault(cell.batch, []).append(cell)
    below = {batch: pays_below(line) for batch, line in lines.items()}
    said = [
        f"{_at(threshold, lines[batch])} at batch {batch}" for batch, threshold in below.items()
    ]
    least = min(below.values())
    if least == float("inf"):
        return "It pays at every density and batch size that was measured."
    if max(below.values()) == 0:
        return "It pays at no density and batch size that was measured."
    if len(below) == 1 or least == 0:
        return f"It pays {', '.join(said)}."
    return (
        f"Below {least:.0%} of the dense FLOPs it pays at every batch size that was measured: "
        f"{', '.join(said)}."
    )


def verdict(rows: Sequence[Row], own: str = FASTEST, rival: str = FASTEST) -> str:
    """Say in one sentence where it pays in these number formats, or why that is not known.

    Parameters
    ----------
    rows : sequence of dict
        Of one map.
    own, rival : str
        Of `formats.CHOICES`.
    """
    names = {name for row in rows for name in row["ms"]}
    absent = {name: why for row in rows for name, why in row.get("absent", {}).items()}
    for ours, number_format in ((True, own), (False, rival)):
        gap = lacking(ours, number_format, names, absent)
        if gap:
            return gap
    said = sentence(cells(rows, own, rival))
    if own == rival == FASTEST:
        return said
    both = ("ours", own), ("rivals", rival)
    told = ", ".join(
        f"the fastest of {who}" if each == FASTEST else f"{who} in {each}" for who, each in both
    )
    return f"{told[0].upper()}{told[1:]}: {said[0].lower()}{said[1:]}"


def merge(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Put new maps in the place of old ones of the same network, size and threads."""

    def key(row: Row) -> tuple[str, int, int]:
        return row["network"], row["side"], row["threads"]

    replaced = {key(row) for row in new}
    return [row for row in old if key(row) not in replaced] + list(new)


def _at(threshold: float, line: Sequence[Cell]) -> str:
    if threshold == 0:
        return f"not even at {min(cell.density for cell in line):.0%}"
    if threshold == float("inf"):
        return "everywhere"
    return f"below {threshold:.0%}"
