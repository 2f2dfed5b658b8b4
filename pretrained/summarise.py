"""Write pretrained/README.md's tables and the accuracy/FLOPs plots from the files themselves.

    python pretrained/summarise.py

Accuracy, FLOPs and units are read from the provenance that a checkpoint carries, so
a table cannot say what a file does not; ``python -m sact_core.evaluate`` reproduces a
row. Three more sources, each named in the tables:

- Milliseconds come from ``benchmarks/family-*.json`` (``python -m sact_core.benchmark
  family``). A row counts only if it was measured on the very file, by its content hash.
- A network that takes any tau has a curve, ``NAME.curve.json`` beside ``NAME.h5``:
  ``python -m sact_core.evaluate --checkpoint NAME.h5 --taus 9 --json > NAME.curve.json``,
  and with ``--image-size 320`` for ``NAME.curve-320.json``.
- What a network reaches on smaller and larger images is ``NAME.sizes.json``, of
  ``python -m sact_core.evaluate --checkpoint NAME.h5 --sizes 160,192,224 --json``.
- A SACT file's static rival is the file without halting whose units are the rounded
  mean units of the SACT file.
"""

from __future__ import annotations

import itertools
import math
import re
import statistics
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from shipped import File, Point, Timing, read_files  # noqa: E402

from sact_core.files import write_bytes  # noqa: E402

BEGIN, END = "<!-- table: made by summarise.py -->", "<!-- end of table -->"

#: Titles of data sets; others stand under their own name.
TITLES = {
    "cifar10": "CIFAR-10",
    "cifar10 (JPEG copies)": "CIFAR-10, trained on JPEG copies",
    "caltech101": "Caltech-101 photographs",
    "imagenet2012": "ImageNet, a thousand classes",
}

#: Published figures that ours are compared with: name, MFLOPs, accuracy.
PUBLISHED = {
    "cifar10": (
        ("authors' SACT ResNet-32, tau 0.01", 82.393168, 0.9182),
        ("DynConv ResNet-32 (CVPR 2020)", 110.8, 0.9358),
    )
}

NONE = "–"


def sections(files: list[File]) -> str:
    """The Markdown of every data set, most files first."""
    names = [file.data_set for file in files]
    order = sorted(dict.fromkeys(names), key=lambda name: -names.count(name))
    return "\n\n".join(
        section(name, [file for file in files if file.data_set == name]) for name in order
    )


def section(data_set: str, files: list[File]) -> str:
    """The Markdown of one data set."""
    title = TITLES.get(data_set, data_set)
    parts = [f"## {title}", f"![Accuracy against FLOPs]({plot_name(data_set)})"]
    parts.append(family_table(files))
    notes = dict.fromkeys(_counted(file) for file in files)
    parts += [note for note in notes if note]
    columns = list(dict.fromkeys(timing for file in files for timing in file.ms))
    parts += [f"*{_ms_title(columns, timing)}*: {timing.text}." for timing in columns]
    rivals = worth_table(files)
    if rivals:
        parts += [
            "### What adaptivity is worth",
            "Beside each SACT network the static one whose units are its rounded mean units, "
            "started from the same network and trained with the same recipe; and what static "
            "networks reach at the FLOPs of the SACT network, on a straight line between two of "
            "them. The whole network is the one that all started from, without the further epochs. "
            + noise(files),
            rivals,
        ]
    seeds = seeds_table(files)
    if seeds:
        parts += [
            "### Several seeds",
            "The same command with further seeds; of those only the figures are kept "
            "(`NAME.seedN.json`). Mean ± standard deviation over the seeds; for the network for "
            "any tau, accuracy at its default.",
            seeds,
        ]
    level = level_table(files)
    if level:
        parts += [
            "### Any tau against static networks at equal FLOPs",
            "Each static network beside what the network for any tau reaches at its FLOPs, "
            "between two taus of its curve on a straight line; means over seeds where there are "
            "several, and then the difference ± its standard error. " + noise(files),
            level,
        ]
    by_image = act_table(files)
    if by_image:
        parts += [
            "### By position or by image",
            "Beside each ACT network what the SACT networks of the same recipe reach at its "
            "FLOPs, on a straight line between two of them. " + noise(files),
            by_image,
        ]
    published = published_table(data_set, files)
    if published:
        parts += [
            "### Beside published figures",
            "The best of ours, at any tau measured, that costs no more. The published networks "
            "had more training, on the images as they were released.",
            published,
        ]
    for file in files:
        if file.curve:
            parts += [
                f"### One file, every tau: `{file.name}`",
                curve_table(file.curve),
                file.rises,
            ]
            for side, curve in file.curves.items():
                parts += [f"The same at {side} pixels:", curve_table(curve)]
            specialists = specialists_table(file, files)
            if specialists:
                parts += [
                    "Beside the networks trained for one tau, at equal FLOPs (between two taus "
                    "of the curve, on a straight line):",
                    specialists,
                ]
    for file in files:
        if file.by_size:
            parts += [
                f"### The rival that costs nothing: `{file.name}` on other sizes",
                "Whoever wants fewer FLOPs can give the same network a smaller image.",
                sizes_table(file),
            ]
            rivals = resized_table(file, files)
            if rivals:
                parts += [
                    "A network for any tau beside it at equal FLOPs, between two sizes on a "
                    "straight line. " + noise(files),
                    rivals,
                ]
    parts += ["### How each was made", "\n".join(_made(file) for file in files)]
    return "\n\n".join(part for part in parts if part)


def family_table(files: list[File]) -> str:
    """A row for every file."""
    measured = list(dict.fromkeys(timing for file in files for timing in file.ms))
    columns: list[Timing | None] = [*measured] or [None]
    top5 = any(file.point.top5 is not None for file in files)
    head = ["file", "network", "tau", "accuracy", *(["top-5"] if top5 else [])]
    head += ["MFLOPs mean ± std", *(_ms_title(measured, timing) for timing in columns)]
    head += ["mean units by block", "epochs", "hours", "seed"]
    lines = []
    for file in files:
        point, record = file.point, file.header.provenance
        lines.append(
            [
                f"`{file.name}`",
                f"{file.header.config.name} ({file.blocks}){_average_of(file)}",
                _tau(point.tau),
                f"{point.accuracy:.2%} of {point.count:,}",
                *([NONE if point.top5 is None else f"{point.top5:.2%}"] if top5 else []),
                f"{point.mflops:.1f} ± {point.spread:.1f}",
                *(f"{file.ms[t]:.2f}" if t in file.ms else NONE for t in columns),
                " / ".join(f"{u:.2f}" for u in point.units) or "all",
                str(record.get("epochs", NONE)),
                f"{record['hours']:.2f}" if "hours" in record else NONE,
                str(record.get("seed", NONE)),
            ]
        )
    return _table(head, lines)


def worth_table(files: list[File]) -> str:
    """SACT networks beside the static ones of their rounded mean units; empty without any."""
    if not any(file.kind == "rival" for file in files):
        return ""
    head = ["SACT file", "tau", "accuracy", "MFLOPs", "static file", "accuracy", "MFLOPs"]
    head += ["SACT less static, points", "static at equal FLOPs", "SACT less that, points"]
    static = tuple(file.point for file in files if file.kind in ("rival", "none"))
    lines = []
    for file in (file for file in files if file.kind == "sact"):
        rival = rival_of(file, files)
        line = [f"`{file.name}`", _tau(file.point.tau), f"{file.point.accuracy:.2%}"]
        line.append(f"{file.point.mflops:.1f}")
        if rival is None:
            line += [f"none yet ({'_'.join(map(str, rounded_units(file)))})", *[NONE] * 3]
        else:
            line += [f"`{rival.name}` ({rival.blocks})", f"{rival.point.accuracy:.2%}"]
            line.append(f"{rival.point.mflops:.1f}")
            line.append(_points(file.point.accuracy - rival.point.accuracy))
        lines.append(line + _beside(file.point, static))
    return _table(head, lines)


def seeds_table(files: list[File]) -> str:
    """Mean and deviation of what was trained with several seeds; empty without any."""
    lines = []
    for file in (file for file in files if file.seeds):
        points = [seed.point for seed in file.all_seeds]
        seeds = ", ".join(str(seed.seed) for seed in file.all_seeds)
        accuracies = [100 * point.accuracy for point in points]
        mflops = [point.mflops for point in points]
        lines.append([f"`{file.name}`", seeds, _spread(accuracies, "%", 2), _spread(mflops, "", 1)])
    return _table(["file", "seeds", "accuracy", "MFLOPs"], lines) if lines else ""


def level_table(files: list[File]) -> str:
    """Static networks beside one for any tau at their FLOPs; empty without both."""
    lines = []
    for ours in (file for file in files if file.kind == "any" and file.curve):
        for file in (file for file in files if file.kind in ("rival", "none")):
            theirs = [seed.point.accuracy for seed in file.all_seeds]
            found = [at_flops(seed.curve, file.point.mflops) for seed in ours.all_seeds]
            reached = [accuracy for accuracy in found if accuracy is not None]
            line = [f"`{file.name}`", file.blocks, f"{file.point.mflops:.1f}"]
            line.append(f"{statistics.fmean(theirs):.2%}")
            if len(reached) < len(found):
                lines.append([*line, "out of range", NONE])
                continue
            error = _standard_error(reached, theirs)
            less = _points(statistics.fmean(reached) - statistics.fmean(theirs))
            line += [f"{statistics.fmean(reached):.2%}"]
            lines.append([*line, less if error is None else f"{less} ± {100 * error:.2f}"])
    if all(line[-1] == NONE for line in lines):
        return ""
    head = ["static file", "units", "MFLOPs", "accuracy", "any tau at equal FLOPs"]
    return _table([*head, "any tau less static, points"], lines)


def _standard_error(*samples: list[float]) -> float | None:
    """Of a difference of means; None where a sample has but one value."""
    if min(map(len, samples)) < 2:
        return None
    return math.sqrt(sum(statistics.variance(sample) / len(sample) for sample in samples))


def _spread(values: list[float], unit: str, digits: int) -> str:
    """Mean and standard deviation."""
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    return f"{mean:.{digits}f}{unit} ± {deviation:.{digits}f}"


def act_table(files: list[File]) -> str:
    """ACT networks beside the SACT networks at their FLOPs; empty without any."""
    sact = tuple(file.point for file in files if file.kind == "sact")
    lines = [
        [
            f"`{file.name}`",
            _tau(file.point.tau),
            f"{file.point.mflops:.1f} ± {file.point.spread:.1f}",
            f"{file.point.accuracy:.2%}",
            *_beside(file.point, sact, sign=-1),
        ]
        for file in files
        if file.kind == "act" and sact
    ]
    head = ["ACT file", "tau", "MFLOPs mean ± std", "accuracy", "SACT at equal FLOPs"]
    return _table([*head, "SACT less ACT, points"], lines) if lines else ""


def noise(files: list[File]) -> str:
    """How far chance moves an accuracy, in a sentence."""
    errors = [
        100 * (f.point.accuracy * (1 - f.point.accuracy) / f.point.count) ** 0.5 for f in files
    ]
    return f"Chance moves an accuracy by up to {max(errors):.2f} points (standard error)."


def published_table(data_set: str, files: list[File]) -> str:
    """Published figures beside the best of ours that costs no more; empty without any."""
    ours = [(file.name, point) for file in files for point in (file.point, *file.curve)]
    lines = []
    for name, mflops, accuracy in PUBLISHED.get(data_set, ()):
        line = [name, f"{mflops:.1f}", f"{accuracy:.2%}"]
        cheap = [each for each in ours if each[1].mflops <= mflops]
        if not cheap:
            lines.append([*line, "none that cheap", *[NONE] * 4])
            continue
        best, point = max(cheap, key=lambda each: each[1].accuracy)
        line += [f"`{best}`", _tau(point.tau), f"{point.mflops:.1f}", f"{point.accuracy:.2%}"]
        lines.append([*line, _points(point.accuracy - accuracy)])
    head = ["published", "MFLOPs", "accuracy", "ours", "tau", "MFLOPs", "accuracy"]
    return _table([*head, "ours less published, points"], lines) if lines else ""


def rounded_units(file: File) -> tuple[int, ...]:
    """Mean units by block as whole numbers, 1 at least."""
    return tuple(max(1, int(units + 0.5)) for units in file.point.units)


def rival_of(file: File, files: list[File]) -> File | None:
    """The static network of a SACT file's rounded mean units.

    A whole network, all of whose units a SACT network runs on average, is its own
    rival and was not fine-tuned from its first units.
    """
    config, wanted = file.header.config, rounded_units(file)
    whole = wanted == config.units_per_block
    for other in files:
        theirs = other.header.config
        if (
            other.kind == ("none" if whole else "rival")
            and theirs.units_per_block == wanted
            and (theirs.family, theirs.base_channels) == (config.family, config.base_channels)
        ):
            return other
    return None


def sizes_table(file: File) -> str:
    """A row for every size of the input."""
    return _table(
        ["pixels", "accuracy", "top-5", "MFLOPs"],
        [
            [
                str(side),
                f"{point.accuracy:.2%} of {point.count:,}",
                NONE if point.top5 is None else f"{point.top5:.2%}",
                f"{point.mflops:.1f}",
            ]
            for side, point in sorted(file.by_size.items())
        ],
    )


def resized_table(dense: File, files: list[File]) -> str:
    """Networks for any tau beside a dense one on smaller images; empty without any."""
    sizes = tuple(dense.by_size.values())
    lines = []
    for file in (file for file in files if file.curve):
        own = file.header.preprocessing.image_size
        for side, curve in sorted({own: file.curve, **file.curves}.items()):
            for point in curve:
                line = [f"`{file.name}`", str(side), _tau(point.tau), f"{point.mflops:.1f}"]
                lines.append([*line, f"{point.accuracy:.2%}", *_beside(point, sizes)])
    head = ["any tau", "pixels", "tau", "MFLOPs", "accuracy", "dense, smaller image"]
    return _table([*head, "any tau less that, points"], lines) if lines else ""


def _counted(file: File) -> str:
    """What the accuracy of a file was counted on, where that wants saying."""
    metrics = file.header.provenance.get("metrics", {})
    if not metrics.get("note"):
        return ""
    side = metrics.get("image_size", file.header.preprocessing.image_size)
    return (
        f"Accuracy on {metrics['count']:,} {metrics['split']} images, {metrics['note']}, at "
        f"{side} pixels: the network chooses among all that it knows, and the figure says nothing "
        "of the other classes."
    )


def curve_table(curve: tuple[Point, ...]) -> str:
    """A row for every tau of a file that takes any."""
    top5 = any(point.top5 is not None for point in curve)
    return _table(
        ["tau", "accuracy", *(["top-5"] if top5 else []), "MFLOPs mean ± std", "mean units"],
        [
            [
                _tau(point.tau),
                f"{point.accuracy:.2%} of {point.count:,}",
                *([NONE if point.top5 is None else f"{point.top5:.2%}"] if top5 else []),
                f"{point.mflops:.1f} ± {point.spread:.1f}",
                " / ".join(f"{u:.2f}" for u in point.units) or NONE,
            ]
            for point in curve
        ],
    )


def specialists_table(file: File, files: list[File]) -> str:
    """A file that takes any tau against those trained for one, at their FLOPs."""
    lines = []
    for other in (other for other in files if other.kind == file.header.config.halting):
        line = [f"`{other.name}`", _tau(other.point.tau), f"{other.point.mflops:.1f}"]
        line.append(f"{other.point.accuracy:.2%}")
        line += _beside(other.point, file.curve, sign=-1)
        lines.append(line)
    head = ["trained for one tau", "tau", "MFLOPs", "accuracy", "any tau", "difference, points"]
    return _table(head, lines) if lines else ""


def at_flops(curve: tuple[Point, ...], mflops: float) -> float | None:
    """Accuracy of a curve at so many MFLOPs, on straight lines; None outside of it."""
    points = sorted(curve, key=lambda point: point.mflops)
    for low, high in itertools.pairwise(points):
        if low.mflops <= mflops <= high.mflops:
            width = high.mflops - low.mflops
            share = (mflops - low.mflops) / width if width else 0.0
            return low.accuracy + share * (high.accuracy - low.accuracy)
    return None


def plot_name(data_set: str) -> str:
    """File of a data set's plot."""
    name = "_".join(re.findall(r"\w+", data_set.lower()))
    return "accuracy_flops.png" if data_set == "cifar10" else f"accuracy_flops_{name}.png"


def _error(file: File) -> float:
    """Standard deviation of the accuracy over seeds; 0 where there is one."""
    accuracies = [seed.point.accuracy for seed in file.all_seeds]
    return statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0


def plot(path: Path, data_set: str, files: list[File]) -> None:
    """Draw accuracy against FLOPs for the files of one data set."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    styles = {
        "sact": ("o-", "#0072B2", "SACT, ours"),
        "act": ("s-", "#E69F00", "ACT, ours"),
        "none": ("^", "#555555", "static, ours"),
        "rival": ("D--", "#009E73", "static, mean units of a SACT network"),
        "averaged": ("P", "#555555", "average of several, ours"),
    }
    figure, axes = plt.subplots(figsize=(8, 5), dpi=120)
    lines = [
        (
            *styles[kind],
            [
                (file.point, _label(file), _error(file))
                for file in files
                if file.kind == kind and not file.by_size  # drawn with its other sizes
            ],
        )
        for kind in styles
    ]
    lines += [
        ("v-", "#CC79A7", f"any tau: {file.name}", [(p, f"{p.tau:.2g}", 0.0) for p in file.curve])
        for file in files
        if file.curve
    ]
    lines += [
        (
            "x:",
            "#555555",
            f"{file.name} on other sizes",
            [(p, f"{side} px", 0.0) for side, p in file.by_size.items()],
        )
        for file in files
        if file.by_size
    ]
    for style, colour, label, points in lines:
        if not points:
            continue
        x = [point.mflops for point, *_ in points]
        y = [100 * point.accuracy for point, *_ in points]
        spread = [point.spread for point, *_ in points]
        errors = [100 * error for *_, error in points]
        upright = errors if any(errors) else None
        axes.errorbar(x, y, upright, spread, fmt=style, color=colour, capsize=2, lw=1, label=label)
        for at_x, at_y, (_, text, _) in zip(x, y, points, strict=True):
            axes.annotate(text, (at_x, at_y), (4, 5), textcoords="offset points", fontsize=8)
    for name, x_value, accuracy in PUBLISHED.get(data_set, ()):
        place = (x_value, 100 * accuracy)
        axes.plot(*place, "*", color="#D55E00", ms=10)
        axes.annotate(name, place, (6, -12), textcoords="offset points", fontsize=8)
    axes.set_xlabel(
        "MFLOPs per image (mean; 2 per multiply-add; bars: standard deviation over images, "
        "upright over seeds)"
    )
    axes.set_ylabel(f"accuracy on {TITLES.get(data_set, data_set)} test, %")
    axes.grid(alpha=0.3)
    axes.margins(x=0.08)
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def summarise(folder: Path, results: Path) -> list[File]:
    """Rewrite what stands between the marks of the README, and the plots.

    Parameters
    ----------
    folder : Path
        Holds the checkpoints and the README.
    results : Path
        Holds ``family-*.json``.

    Returns
    -------
    list of File
        What was summarised.

    Raises
    ------
    ValueError
        If a file cannot be read, or the README lacks its marks.
    """
    readme = folder / "README.md"
    text = readme.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{readme} lacks the lines {BEGIN!r} and {END!r}")
    files = read_files(folder, results)
    write_bytes(readme, f"{before}{BEGIN}\n{sections(files)}\n{END}{after}".encode())
    for data_set in dict.fromkeys(file.data_set for file in files):
        mine = [file for file in files if file.data_set == data_set]
        plot(folder / plot_name(data_set), data_set, mine)
    return files


def main() -> int:
    """Summarise this folder."""
    try:
        files = summarise(HERE, HERE.parent / "benchmarks")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote README.md and the plots from {len(files)} checkpoints")
    return 0


def _made(file: File) -> str:
    record = file.header.provenance
    packages = ", ".join(f"{k} {v}" for k, v in record.get("packages", {}).items())
    where, command = record.get("hardware", "unknown hardware"), record.get("command", "unknown")
    line = f"- `{file.name}`: `{command}` on {where}; {packages or 'packages unknown'}."
    if origin := record.get("origin"):
        line += f" {origin['source']}; {origin['licence']}; see [NOTICE](NOTICE)."
    return "\n".join([line, *(f"  - {_part(each)}" for each in file.averaged)])


def _average_of(file: File) -> str:
    return f", average of {len(file.averaged)}" if file.averaged else ""


def _part(made_of: dict[str, Any]) -> str:
    """One of the files of an average, in a line."""
    accuracy, command = made_of.get("accuracy"), made_of.get("command")
    said = f"`{made_of.get('file', 'unknown')}`"
    if isinstance(accuracy, float):
        said += f" ({accuracy:.2%})"
    return f"{said}: `{command}`." if command else f"{said}."


def _beside(point: Point, others: tuple[Point, ...], sign: int = 1) -> list[str]:
    """Accuracy of others at the FLOPs of a point, and how far the point is above it.

    With a sign of -1, how far it is below.
    """
    accuracy = at_flops(others, point.mflops)
    if accuracy is None:
        return ["out of range", NONE]
    return [f"{accuracy:.2%}", _points(sign * (point.accuracy - accuracy))]


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f}"


def _label(file: File) -> str:
    return file.blocks if file.point.tau is None else _tau(file.point.tau)


def _ms_title(columns: list[Timing], timing: Timing | None) -> str:
    return "ms" if timing is None or len(columns) == 1 else f"ms ({columns.index(timing) + 1})"


def _tau(tau: float | None) -> str:
    return NONE if tau is None else f"{tau:g}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    raise SystemExit(main())
