"""The same network at growing input sizes: accuracy against FLOPs.

A fully convolutional network takes images of any size. What a larger image costs
and what it brings was an experiment of Figurnov et al. 2017, arXiv:1612.02297.
A size is the side of the square input where photographs are cropped, and the
longer side where their aspect is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sact_core.checkpoint import read_header
from sact_core.data.records import Unreadable
from sact_core.extras import need
from sact_core.files import write_bytes
from sact_core.measures.metrics import Metrics, rights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sact_core.evaluate.run import Job
    from sact_core.processes import Processes

PLOT_SUFFIXES = (".png", ".svg", ".pdf")


@dataclass
class Curve:
    """One network's metrics by size.

    Attributes
    ----------
    file : str
        The checkpoint.
    job : Job
        The network and the data.
    metrics : dict of int to Metrics
        By size, as they were asked for.
    """

    file: str
    job: Job
    metrics: dict[int, Metrics] = field(default_factory=dict)

    @property
    def found(self) -> list[tuple[str, Job, Metrics]]:
        """File, how it was run and metrics, by size."""
        return [(self.file, self.job.at_size(size), each) for size, each in self.metrics.items()]

    @property
    def size_means(self) -> str:
        """What a size is the size of."""
        crop = self.job.net.preprocessing.fit != "keep"
        return "side of the square" if crop else "longer side"

    def as_json(self) -> dict[str, Any]:
        """All numbers, as plain JSON values."""
        source = self.job.source
        return {
            "checkpoint": self.file,
            "content_hash": read_header(self.file).content_hash,
            "network": self.job.net.config.name,
            "precision": self.job.net.precision,
            "dataset": source.name,
            "split": source.split,
            "fit": self.job.net.preprocessing.fit,
            "sizes": [
                {"image_size": size, "num_examples": metrics.count}
                | ({"tau": metrics.tau} if self.job.net.config.halts else {})
                | metrics.summary()
                | {
                    "Dense Flops/mean": metrics.dense.mean,
                    "skipped": Unreadable(metrics.left_out).record(),
                }
                for size, metrics in self.metrics.items()
            ],
        }


def parse_sizes(given: str | Sequence[str]) -> list[int]:
    """Read sizes such as ``128,160,224``, in one word or several; give each once, rising.

    Raises
    ------
    ValueError
        If there is none, or one is no whole number above 0.
    """
    text = given if isinstance(given, str) else " ".join(given)
    words = text.replace(",", " ").split() or [text]
    if not all(word.isascii() and word.isdigit() and int(word) for word in words):
        raise ValueError(f"--sizes takes sizes in pixels such as 128,160,224, got {text!r}")
    return sorted({int(word) for word in words})


def check_plot(path: str) -> None:
    """Refuse a plot that could not be written.

    Raises
    ------
    ValueError
        If its name says no format that can be drawn, or Matplotlib is not installed.
    OSError
        If its folder does not exist, or it is a folder.
    """
    if Path(path).suffix.lower() not in PLOT_SUFFIXES:
        raise ValueError(f"--plot must end in {', '.join(PLOT_SUFFIXES)}; got {path}")
    if Path(path).is_dir():
        raise IsADirectoryError(f"--plot must be a file, but {path} is a folder")
    if not Path(path).absolute().parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: its folder does not exist")
    need("plots", "--plot", "matplotlib")


def measure(curves: Sequence[Curve], sizes: Sequence[int], processes: Processes) -> None:
    """Evaluate every network at every size, together with the other processes."""
    for curve in curves:
        for size in sizes:
            curve.metrics[size] = curve.job.at_size(size).run(processes)


def sizes_table(curve: Curve) -> str:
    """Lay out one network's metrics for people."""
    found = {size: metrics.summary() for size, metrics in curve.metrics.items()}
    first = next(iter(found.values()))
    told = rights(first)
    blocks = [key for key in first if key.endswith("num_units_mean")]
    head = f"{'size':>5}" + "".join(f"{name:>10}" for name in told)
    head += f"{'MFLOPs':>11}{'std':>9}{'of dense':>10}" + ("  mean units" if blocks else "")
    lines = [head]
    for size, row in found.items():
        line = f"{size:>5}" + "".join(f"{row[key]:>10.2%}" for key in told.values())
        mean, std = row["Total Flops/mean"], row["Total Flops/std"]
        line += f"{mean / 1e6:>11,.1f}{std / 1e6:>9,.1f}"
        line += f"{mean / curve.metrics[size].dense.mean:>10.1%}"
        line += "  " + " / ".join(f"{row[key]:.2f}" for key in blocks)
        lines.append(line.rstrip())
    return "\n".join(lines)


def plot_sizes(
    path: str | Path, curves: Sequence[Curve], about: Mapping[str, Any] | None = None
) -> None:
    """Draw accuracy against FLOPs, a line for each network and a point for each size.

    Parameters
    ----------
    path : str or Path
        Ends in one of `PLOT_SUFFIXES`; a file that is there is replaced.
    curves : sequence of Curve
        What `measure` has filled.
    about : mapping, optional
        What the file says of its origin, as of `sact_core.evaluate.results.about_found`.

    Raises
    ------
    OSError
        As `sact_core.files.written_beside`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for curve in curves:
        found = {size: metrics.summary() for size, metrics in curve.metrics.items()}
        x = [row["Total Flops/mean"] / 1e6 for row in found.values()]
        told, key = next(iter(rights(next(iter(found.values()))).items()))
        y = [row[key] * 100 for row in found.values()]
        spread = [row["Total Flops/std"] / 1e6 for row in found.values()]
        name = f"{curve.job.net.config.name} ({Path(curve.file).name})"
        axes.errorbar(x, y, xerr=spread, fmt="o-", capsize=2, lw=1, label=name)
        for size, at_x, at_y in zip(found, x, y, strict=True):
            axes.annotate(str(size), (at_x, at_y), (4, 5), textcoords="offset points", fontsize=8)
    source, count = curves[0].job.source, next(iter(curves[0].metrics.values())).count
    axes.set_xlabel(
        "MFLOPs per image (mean; bars: standard deviation over images; 2 per multiply-add)"
    )
    axes.set_ylabel(f"{told} on {count:,} images of {source.name} {source.split}, %")
    axes.set_title(f"Input size in pixels ({curves[0].size_means}) beside each point", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=8)
    figure.tight_layout()
    save_plot(path, figure, about or {})


def save_plot(path: str | Path, figure: Figure, about: Mapping[str, Any]) -> None:
    """Write a plot, with where it comes from inside.

    Raises
    ------
    OSError
        As `sact_core.files.write_bytes`.
    """
    from sact_core import __version__
    from sact_core.figure.saving import figure_bytes

    told = {"title": "accuracy against FLOPs", "version": __version__, **about}
    write_bytes(path, figure_bytes(Path(path).suffix.lower(), figure, told, figure.dpi))
