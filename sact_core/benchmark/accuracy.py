"""Accuracy against milliseconds: trained networks by every side that can run them.

What is right is counted from each side's own answers over a whole split; quantised rivals
find their scales on the training images that ours found them on. Times are of one batch of
the same images, all networks, prices of a unit and sides in turns.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sact_core.benchmark import known
from sact_core.benchmark.cases import Case
from sact_core.benchmark.family import prepared
from sact_core.benchmark.process import Process, SideError
from sact_core.benchmark.sides import SIDES, Kind
from sact_core.calibrate.images import NUM_EXAMPLES, draw
from sact_core.checkpoint import Header, read_header
from sact_core.checkpoint.records import trained_at
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.data.source import Source
from sact_core.flops import dense_flops
from sact_core.plans import build_plan
from sact_core.quantisation import COMMAND

Row = dict[str, Any]


@dataclass(frozen=True)
class Network:
    """A trained network and its images.

    Attributes
    ----------
    path : Path
        The checkpoint.
    header : Header
        What it says of itself.
    taus : tuple of (float or None)
        Prices of a unit to run at; None alone where it takes no choice.
    test : Source
        What accuracy is counted on.
    training : Source, optional
        What scales are found on; None where it is not here.
    """

    path: Path
    header: Header
    taus: tuple[float | None, ...]
    test: Source
    training: Source | None

    @property
    def divisor(self) -> int:
        """What sizes of images are multiples of."""
        return build_plan(self.header.config).divisor

    def lacks(self, side: str) -> str:
        """Say why a side in int8 has no scales of it; nothing where it has some or needs none."""
        if SIDES[side].number_format != "int8" or self.training is not None:
            return ""
        if side == "masked-int8" and self.header.scales_hash:
            return ""
        return f"there are no training images here to find scales on; {COMMAND} finds some"

    def runs_by(self, side: str) -> bool:
        """Whether a side computes it: dense sides know no halting."""
        kind, config = SIDES[side].kind, self.header.config
        if kind is Kind.OWN:
            return True
        if not config.halts:
            return kind is Kind.DENSE
        return kind.halts and kind.runs(config.halting) and not config.tau_conditioned


def batches(
    source: Source, indices: Sequence[int], size: int, fit: Preprocessing, divisor: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images [shape=(size, H, W, 3)], the last batch filled up, and labels of those that count."""
    for begin in range(0, len(indices), size):
        read = source.read(indices[begin : begin + size])
        x = prepared((image for image, *_ in read), fit, divisor)
        fill = np.repeat(x[-1:], size - len(x), axis=0)
        yield np.concatenate([x, fill]), np.array([label for _, label, _ in read])


def count_right(
    process: Process, given: Iterator[tuple[np.ndarray, np.ndarray]]
) -> tuple[int, int, float | None]:
    """Images that a side's own answers get right, all of them, and their mean FLOPs."""
    right = total = 0
    flops: list[float] = []
    for x, labels in given:
        logits, of_each = process.answers(x)
        right += int((logits[: len(labels)].argmax(axis=1) == labels).sum())
        total += len(labels)
        flops += (of_each or [])[: len(labels)]
    return right, total, float(np.mean(flops)) if flops else None


def measure_accuracy(
    networks: Sequence[Network],
    sides: Sequence[str],
    cache: Path,
    threads: int = 1,
    batch: int = 128,
    num_examples: int | None = None,
    rounds: int = 5,
    seconds: float = 0.15,
    anew: bool = False,
    say: Callable[[str], None] = print,
) -> list[Row]:
    """Count what every side gets right, where that is not known yet, and time it.

    Parameters
    ----------
    networks : sequence of Network
        At least one.
    sides : sequence of str
        Of `SIDES`; those that cannot run a network, or be built, are left out.
    cache : Path
        File of accuracies, see `known`; each is kept as soon as it is computed.
    threads : int
        Of every side.
    batch : int
        Images at once.
    num_examples : int, optional
        Only the first so many; the whole split where left out.
    rounds, seconds : int, float
        Turns of every side, and the length of one; no rounds: accuracies only.
    anew : bool
        Compute accuracies that are known, too.
    say : callable
        Told what goes on.

    Returns
    -------
    list of dict
        A row for every network, price of a unit and side: ``accuracy``, ``mflops`` and, with
        rounds, ``ms`` for an image.

    Raises
    ------
    CheckpointError, OSError
        If a file cannot be read.
    ValueError
        If images of one network have different sizes once prepared.
    SideError
        If a side fails that was ready.
    """
    rows: list[Row] = []
    ready: list[tuple[Row, Process, float | None]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for i, network in enumerate(networks):
            case = _case(network, folder / str(i), batch)
            for name in (name for name in sides if network.runs_by(name)):
                wanted = [_wanted(network, name, tau, num_examples) for tau in network.taus]
                found = [None if anew else _known(cache, each) for each in wanted]
                if rounds == 0 and all(found):
                    rows += [{**entry, "threads": threads} for entry in found if entry]
                    continue
                if lack := network.lacks(name):
                    say(f"{network.path.name}: {SIDES[name].title} is left out: {lack}")
                    continue
                process = Process(name, case, threads)
                stack.callback(process.end)
                try:
                    process.wait()
                except SideError as error:
                    say(f"{network.path.name}: {SIDES[name].title} is left out: {error.reason}")
                    continue
                for tau, each, entry in zip(network.taus, wanted, found, strict=True):
                    if entry is None:
                        entry = _compute(network, process, tau, each, batch)
                        known.store(cache, entry)
                    say(_said(entry))
                    rows.append(
                        {**entry, "threads": threads, "batch": batch, "side_px": case.side,
                         "number_format": process.facts["number_format"]}
                    )  # fmt: skip
                    chosen = tau if network.header.config.tau_conditioned else None
                    ready.append((rows[-1], process, chosen))
                if rounds == 0:
                    process.end()
        _take_turns(ready, rounds, seconds, batch)
    return rows


def _take_turns(
    ready: Sequence[tuple[Row, Process, float | None]], rounds: int, seconds: float, batch: int
) -> None:
    """Give rows their milliseconds for an image."""
    for _ in range(rounds):
        for row, process, tau in ready:
            if tau is not None:
                process.set_tau(tau)
            took = 1e3 * statistics.median(process.measure(seconds)["seconds"])
            row.setdefault("turns", []).append(took / batch)
    for row, *_ in ready:
        if rounds:
            row["ms"] = statistics.median(row["turns"])


def _case(network: Network, folder: Path, batch: int) -> Case:
    """The case of a trained network, whose images are written to a new folder."""
    folder.mkdir()
    fit, config = network.header.preprocessing, network.header.config
    first = range(min(batch, len(network.test)))
    ((x, _),) = batches(network.test.spread(), first, batch, fit, network.divisor)
    np.save(folder / "x.npy", x)
    calibration = None
    if network.training is not None:
        images = (image for image, *_ in network.training.each(draw(len(network.training))))
        calibration = str(folder / "calibration.npy")
        np.save(calibration, prepared(images, fit, network.divisor))
    return Case(
        network.path.stem,
        config.family,
        config.units_per_block,
        batch,
        x.shape[1],
        checkpoint=str(network.path.resolve()),
        images=str(folder / "x.npy"),
        calibration=calibration,
    )


def _wanted(network: Network, side: str, tau: float | None, num_examples: int | None) -> Row:
    """What is asked for, without the answer."""
    header, test = network.header, network.test
    count = len(test) if num_examples is None else min(num_examples, len(test))
    scales = ""
    if side == "masked-int8" and header.scales_hash:
        scales = header.scales_hash
    elif SIDES[side].number_format == "int8" and network.training is not None:
        scales = (
            f"{NUM_EXAMPLES} images of {network.training.name} {network.training.split}, seed 0"
        )
    return {
        "content_hash": header.content_hash,
        "scales": scales,
        "tau": tau,
        "side": side,
        "data": f"{test.name} {test.split}",
        "count": count,
        "versions": known.software_of(side),
    }


def _known(cache: Path, wanted: Row) -> Row | None:
    for path in dict.fromkeys((cache, known.shipped())):
        if entry := known.find(known.load(path), wanted):
            return entry
    return None


def _compute(network: Network, process: Process, tau: float | None, wanted: Row, batch: int) -> Row:
    """Count over the split; an entry for `known`."""
    header = network.header
    config = header.config
    if config.tau_conditioned and tau is not None:
        process.set_tau(tau)
    given = batches(
        network.test, range(wanted["count"]), batch, header.preprocessing, network.divisor
    )
    right, total, flops = count_right(process, given)
    twin = NetworkConfig(
        config.family, config.units_per_block, config.base_channels, config.num_classes
    )
    size = header.preprocessing.image_size
    dense = int(dense_flops(build_plan(twin), (size, size)).total[0])
    return {
        **wanted,
        "tau": tau,
        "file": network.path.name,
        "network": config.title,
        "twin": twin.title,
        "halts": config.halts,
        "accuracy": right / total,
        "mflops": (dense if flops is None else flops) / 1e6,
        "dense_mflops": dense / 1e6,
    }


def taus_of(path: Path, asked: Sequence[float] | None) -> tuple[float | None, ...]:
    """Prices of a unit of a file: those that are asked for, where it takes a choice.

    Raises
    ------
    CheckpointError, OSError
        If it cannot be read.
    ValueError
        If one is out of the network's range.
    """
    from sact_core.taus import check_taus, tau_range

    header = read_header(path)
    if not header.config.tau_conditioned:
        return (trained_at(header),)
    low, high = tau_range(header.config)
    taus = asked or np.geomspace(low, high, 6)[1:-1].round(6).tolist()
    check_taus(header.config, list(taus), len(taus))
    return tuple(taus)


def merge(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Put new rows in the place of old ones of the same network, side, threads and batch."""
    keys = ("file", "tau", "side", "data", "threads", "batch")
    keyed = {tuple(row.get(key) for key in keys): row for row in [*old, *new]}
    return list(keyed.values())


def _said(entry: Row) -> str:
    tau = "" if entry["tau"] is None else f", tau {entry['tau']:g}"
    return (
        f"{entry['file']}{tau}: {SIDES[entry['side']].title}: {entry['accuracy']:.2%} of "
        f"{entry['count']:,} images, {entry['mflops']:.1f} MFLOPs"
    )
