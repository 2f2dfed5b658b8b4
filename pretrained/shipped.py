"""The checkpoints of a folder, and all that is known of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sact_core.benchmark.machine import read_results
from sact_core.checkpoint import Header, read_header


@dataclass(frozen=True)
class Point:
    """What one network reaches at one tau.

    Attributes
    ----------
    accuracy, top5 : float, float or None
        Shares of images, in [0, 1].
    mflops, spread : float
        Mean and standard deviation over images.
    units : tuple of float
        Mean units by block; empty where nothing halts.
    count : int
        Images.
    tau : float, optional
        Price of a unit.
    """

    accuracy: float
    top5: float | None
    mflops: float
    spread: float
    units: tuple[float, ...]
    count: int
    tau: float | None

    @classmethod
    def of(cls, metrics: dict[str, Any], tau: float | None) -> Point:
        """Read the authors' names."""
        return cls(
            metrics["eval/Accuracy"],
            metrics.get("eval/Recall@5"),
            metrics["Total Flops/mean"] / 1e6,
            metrics.get("Total Flops/std", 0.0) / 1e6,
            tuple(v for k, v in sorted(metrics.items()) if k.endswith("/num_units_mean")),
            metrics["count"] if "count" in metrics else metrics["num_examples"],
            tau,
        )


@dataclass(frozen=True)
class Timing:
    """Where and on what milliseconds were measured: one column of a table."""

    machine: str
    threads: int
    data: str
    images: int
    source: str

    @property
    def text(self) -> str:
        """Said in a sentence."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return (
            f"masked engine, {threads}, {self.machine}: an image of {self.data}, "
            f"{self.images} of them as one batch (`{self.source}`)"
        )


@dataclass(frozen=True)
class Seed:
    """The figures of one training run among several that differ in nothing but the seed."""

    seed: int
    point: Point
    curve: tuple[Point, ...] = ()


@dataclass(frozen=True)
class File:
    """A checkpoint and all that is known of it."""

    name: str
    header: Header
    point: Point
    curve: tuple[Point, ...] = ()
    rises: str = ""  # for how many images of the curve more tau meant more work
    ms: dict[Timing, float] = field(default_factory=dict)
    seeds: tuple[Seed, ...] = ()
    by_size: Mapping[int, Point] = field(default_factory=dict)  # by side of the input in pixels
    curves: Mapping[int, tuple[Point, ...]] = field(default_factory=dict)  # at further sizes

    @property
    def all_seeds(self) -> tuple[Seed, ...]:
        """Its own figures and those of further seeds."""
        own = Seed(int(self.header.provenance.get("seed", 0)), self.point, self.curve)
        return (own, *self.seeds)

    @property
    def data_set(self) -> str:
        """Name of the data set that it was trained on, with a note where there is one."""
        record = self.header.provenance.get("data_set", {})
        name: str = record.get("name", "unknown")
        return f"{name} ({record['note']})" if record.get("note") else name

    @property
    def averaged(self) -> list[dict[str, Any]]:
        """The files whose average it is, as `sact_core.average` records them; else empty."""
        made_of: list[dict[str, Any]] = self.header.provenance.get("averaged", [])
        return made_of

    @property
    def kind(self) -> str:
        """How it is drawn: ``sact``, ``act``, ``none``, ``rival``, ``any`` (tau), ``averaged``.

        An average had more training than what it would be compared with.
        """
        config, recipe = self.header.config, self.header.provenance.get("recipe", {})
        if self.curve or getattr(config, "tau_conditioned", False):
            return "any"
        if self.averaged:
            return "averaged"
        if not config.halts and recipe.get("finetune_first_units"):
            return "rival"
        return config.halting

    @property
    def blocks(self) -> str:
        """Its units by block, as on the command line."""
        return "_".join(map(str, self.header.config.units_per_block))


def read_files(folder: Path, results: Path) -> list[File]:
    """Read every checkpoint that was evaluated, cheapest first.

    Parameters
    ----------
    folder : Path
        Holds the checkpoints.
    results : Path
        Holds ``family-*.json``.

    Raises
    ------
    CheckpointError, ValueError
        If a file cannot be read.
    """
    timings = _timings(results)
    found = []
    for path in sorted(folder.glob("*.h5")):
        header = read_header(path)
        metrics = header.provenance.get("metrics", {})
        if "Total Flops/mean" not in metrics:
            continue
        tau = header.provenance.get("tau")
        if tau is None:
            tau = getattr(header.config, "tau_default", None)
        ms = {
            timing: value
            for timing, name, content_hash, value in timings
            if (name, content_hash) == (path.name, header.content_hash)
        }
        point, (curve, rises) = Point.of(metrics, tau), _curve(path, header)
        seeds = tuple(_seed(each, tau) for each in sorted(folder.glob(f"{path.stem}.seed*.json")))
        others = _curves(path, header)
        sizes = _sizes(path, header)
        found.append(File(path.name, header, point, curve, rises, ms, seeds, sizes, others))
    return sorted(found, key=lambda file: file.point.mflops)


def _timings(results: Path) -> list[tuple[Timing, str, str, float]]:
    """Every measured file: column, name, content hash and milliseconds."""
    found = []
    for path in sorted(results.glob("family-*.json")):
        values = read_results(path)
        where = values["machine"]
        vectors = f" ({where['vectors']})" if where.get("vectors") else ""
        for row in values["rows"]:
            timing = Timing(
                f"{where['hardware']}{vectors}",
                row["threads"],
                row["data"],
                row["images"],
                f"benchmarks/{path.name}",
            )
            found.append((timing, row["file"], row["content_hash"], row["ms"]["masked"]))
    return found


def _seed(path: Path, tau: float | None) -> Seed:
    """A further seed's figures, as ``train_family.py`` keeps them."""
    try:
        values = json.loads(path.read_text())
        rows = values.get("curve", {}).get("rows", [])
        curve = sorted((Point.of(row, row["tau"]) for row in rows), key=lambda p: p.tau or 0.0)
        return Seed(int(values["seed"]), Point.of(values["metrics"], tau), tuple(curve))
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path.name} holds no figures of a seed: {error!r}") from None


def _sizes(path: Path, header: Header) -> dict[int, Point]:
    """What a network reaches at other sizes of its input, where that was measured."""
    beside = path.with_suffix(".sizes.json")
    if not beside.exists():
        return {}
    try:
        [values] = json.loads(beside.read_text())["networks"]
        content_hash, rows = values["content_hash"], values["sizes"]
        points = {int(row["image_size"]): Point.of(row, None) for row in rows}
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{beside.name} holds no sizes of one network: {error!r}") from None
    if content_hash != header.content_hash:
        raise ValueError(f"{beside.name} belongs to another {path.name}: measure the sizes again")
    return points


def _curves(path: Path, header: Header) -> dict[int, tuple[Point, ...]]:
    """Curves at further sizes of the input, ``NAME.curve-320.json`` and so on."""
    sides = [int(each.stem.rpartition("-")[2]) for each in path.parent.glob(
        f"{path.stem}.curve-[0-9]*.json")]  # fmt: skip
    return {side: _curve(path, header, f".curve-{side}.json")[0] for side in sorted(sides)}


def _curve(
    path: Path, header: Header, suffix: str = ".curve.json"
) -> tuple[tuple[Point, ...], str]:
    """The curve beside a checkpoint, if there is one, and whether work falls along it."""
    beside = path.with_suffix(suffix)
    if not beside.exists():
        return (), ""
    try:
        values = json.loads(beside.read_text())
        content_hash, rows = values["content_hash"], values["rows"]
        points = [Point.of(row, row["tau"]) for row in rows]
        rises = values.get("more_work_for_more_tau")
        said = ""
        if rises is not None:
            said = (
                f"More tau meant more work somewhere along the curve for {rises['images']:,} of "
                f"{points[0].count:,} images, by {rises['largest_share_of_dense']:.3%} of dense "
                "at most."
            )
    except (json.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"{beside.name} is no curve: {error!r}") from None
    if content_hash != header.content_hash:
        raise ValueError(f"{beside.name} belongs to another {path.name}: measure the curve again")
    return tuple(sorted(points, key=lambda point: point.tau or 0.0)), said
