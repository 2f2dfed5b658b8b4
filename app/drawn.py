"""What pages show as figures for a paper; no Streamlit.

They are drawn by `sact_core.figure`, of the numbers and with the colours, limits and opacity
that are on the screen.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from app import exports, views
from app.exports import Shown
from app.families import title
from app.figures import Point
from app.records import Look, Model, Run
from app.tabled import network, said
from sact_core.figure import curve, maps, saving
from sact_core.figure.maps import Cell, Colours

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from app.loaders import Dial

PREVIEW_DPI = 110
_DRAWING = threading.Lock()  # matplotlib's settings are those of the process


@dataclass(frozen=True)
class Drawing:
    """A figure that a page offers.

    Attributes
    ----------
    label : str
        Told where there are several.
    draw : callable
        Takes the width in inches; refuses one without room with a ValueError.
    about : mapping
        What it shows and where it comes from, ``title`` included.
    command : tuple of str
        Words that give the same.
    """

    label: str
    draw: Callable[[float], Figure]
    about: Mapping[str, Any]
    command: tuple[str, ...]


def figure_file(
    drawing: Drawing,
    ending: str,
    width: float,
    font_size: float,
    file: str,
    dpi: float = saving.DPI,
) -> bytes:
    """Draw a figure as a file with this ending, see `sact_core.figure.saving.FIGURES`.

    Raises
    ------
    ValueError
        If the width has no room for what is in it.
    """
    words = list(drawing.command)
    if "sact_core.figure" in words:
        words += ["--width", f"{width:g}", "--font-size", f"{font_size:g}", "--out", file]
    with _DRAWING, saving.style(font_size):
        figure = drawing.draw(width)
        return saving.figure_bytes(ending, figure, said(drawing.about, words), dpi)


def preview(drawing: Drawing, width: float, font_size: float) -> bytes:
    """The figure as a PNG for the screen; errors as of `figure_file`."""
    return figure_file(drawing, ".png", width, font_size, "", PREVIEW_DPI)


def one(look: Look, run: Run, shown: Shown) -> Drawing:
    """A network over an image: the image, the map, and the map over the image."""
    cell = _cell(look, run, shown)
    titles, cells = maps.beside([views.METRICS[shown.metric].lower()], [[cell]], shown.opacity)
    words = [*_words([look], shown), "--overlay", f"{shown.opacity:g}"]
    return _drawing("Map", [look], [run], shown, titles, cells, words)


def side_by_side(
    looks: Sequence[Look],
    runs: Sequence[Run],
    names: Sequence[str],
    shown: Shown,
    *,
    which: Sequence[int],
    difference: bool = False,
    label: str = "Maps",
) -> Drawing:
    """Networks over one image, laid over it with the opacity that is shown.

    Parameters
    ----------
    looks, runs, names : sequence
        Networks, what came of them and what stands above their maps.
    shown : Shown
        How maps are shown.
    which : sequence of int
        Those that are drawn.
    difference : bool
        Whether the second of them minus the first stands beside the first two.
    label : str
        Of the figure.
    """
    which = which[:2] if difference else which
    looks, runs, names = ([each[i] for i in which] for each in (looks, runs, names))  # type: ignore[assignment]
    row = [_cell(*each, shown, shown.opacity) for each in zip(looks, runs, strict=True)]
    titles, cells = [*names], [row]
    words = [*_words(looks, shown), "--opacity", f"{shown.opacity:g}"]
    if difference:
        titles, cells = maps.with_difference(titles, cells)
        words.append("--difference")
    return _drawing(label, looks, runs, shown, titles, cells, words)


def every_tau(look: Look, run: Run, dial: Dial, shown: Shown, count: int = 5) -> Drawing:
    """Maps of a network that takes any tau: its own, and others over all of the range."""
    own = float(look.tau if look.tau is not None else look.model.tau or 0.0)
    others = np.linspace(0, len(dial.taus) - 1, count).round().astype(int)
    blocks = dial.ponder_cost if shown.metric == "ponder_cost" else dial.num_units
    size = run.result.input_size
    shape = max(block.shape[1:] for block in blocks)
    cells = {own: _cell(look, run, shown)}
    for i in others:
        if not np.isclose(dial.taus[i], own, rtol=1e-4):
            total = sum(_enlarged(block[i], size) for block in blocks)
            values = maps.smallest(np.asarray(total, np.float32), shape)
            note = maps.share_note(int(dial.flops[i]), dial.dense)
            cells[float(dial.taus[i])] = Cell(values, note)
    taus = sorted(cells)
    words = [*_words([look], shown, taus=[f"{tau:.6g}" for tau in taus])]
    titles = [f"τ = {tau:.4g}" for tau in taus]
    row = [cells[tau] for tau in taus]
    made = _drawing("Every τ", [look], [run], shown, titles, [row], words)
    networks = [network | {"tau": taus} for network in made.about["networks"]]
    return Drawing(made.label, made.draw, {**made.about, "networks": networks}, made.command)


def accuracy(points: Sequence[Point], models: Sequence[Model], name: str) -> Drawing:
    """Accuracy against FLOPs, as `app.figures.accuracy_against_flops` shows it.

    Parameters
    ----------
    points : sequence of Point
        What is shown.
    models : sequence of Model
        Networks that they are of.
    name : str
        What they are told as together.
    """
    groups = dict.fromkeys(point.group for point in points)
    lines = []
    for i, group in enumerate(groups):
        own = sorted((p for p in points if p.group == group), key=lambda p: p.flops)
        joined = own[0].line
        marks = [
            curve.Mark(p.flops, p.accuracy, p.std, _few(own, j) if i == 0 or not joined else "")
            for j, p in enumerate(own)
        ]
        lines.append(curve.Line(group, marks, joined))
    return accuracy_of(lines, models, f"accuracy against FLOPs: {name}")


def accuracy_of(lines: Sequence[curve.Line], models: Sequence[Model], name: str) -> Drawing:
    """Lines of accuracy against FLOPs."""
    about = {"title": name, "networks": [network(model, None, title(model)) for model in models]}
    words = ("python", "-m", "sact_core.figure", "curve", *map(exports.checkpoint_word, models))
    return Drawing("Accuracy", partial(curve_of, lines), about, words)


def curve_of(lines: Sequence[curve.Line], width: float) -> Figure:
    """Draw accuracy against FLOPs at a width in inches."""
    return curve.draw(lines, width, 0.62 * width)


def about_runs(
    looks: Sequence[Look], runs: Sequence[Run], name: str, shown: Shown | None = None
) -> dict[str, Any]:
    """What a file says of networks over one image.

    Parameters
    ----------
    looks, runs : sequence of Look and of Run
    name : str
        Title of the file.
    shown : Shown, optional
        How maps are shown, where there are any.
    """
    networks = []
    for look, run in zip(looks, runs, strict=True):
        own = look.preprocessing
        networks.append(
            {
                **network(look.model, look.tau, title(look.model)),
                "image_size": own.image_size,
                "fit": own.fit,
                "input_size": list(run.result.input_size),
                "backend": run.backend,
                "precision": run.result.precision,
            }
        )
    how = {} if shown is None else {**vars(shown), "limits": [float(end) for end in shown.limits]}
    return {"title": name, "image": looks[0].picture.name, "networks": networks, **how}


def ponder_words(looks: Sequence[Look]) -> tuple[str, ...]:
    """Words of the command that gives the numbers of networks over one image."""
    word = exports.image_word(looks[0].picture)
    nets = [_at(look) for look in looks]
    words = ["python", "-m", "sact_core.figure", "maps", word, "--checkpoint", *nets]
    return (*words, *exports.size_words(looks[0]))


def _words(looks: Sequence[Look], shown: Shown, taus: Sequence[str] = ()) -> list[str]:
    words = list(ponder_words(looks))
    if taus:
        at = words.index("--checkpoint") + 1
        words[at] = exports.checkpoint_word(looks[0].model)
        words += ["--taus", *taus]
    words += ["--metric", shown.metric, "--colour-map", shown.colour_map]
    return [*words, "--limits", *(f"{end:.9g}" for end in shown.limits)]


def _at(look: Look) -> str:
    word = exports.checkpoint_word(look.model)
    return word if look.tau is None else f"{word}@{look.tau:.12g}"


def _drawing(
    label: str,
    looks: Sequence[Look],
    runs: Sequence[Run],
    shown: Shown,
    titles: Sequence[str],
    cells: Sequence[Sequence[Cell]],
    words: Sequence[str],
) -> Drawing:
    colours = Colours(shown.limits, shown.colour_map, maps.LABELS[shown.metric])
    pixels = runs[0].seen.pixels
    name = f"{maps.LABELS[shown.metric]}: {looks[0].picture.name}"
    return Drawing(
        label,
        lambda width: maps.draw([pixels], titles, cells, colours, width),
        about_runs(looks, runs, name, shown),
        tuple(words),
    )


def _cell(look: Look, run: Run, shown: Shown, opacity: float = 1.0) -> Cell:
    values = maps.values_of(look.model.config, run.result, shown.metric)
    note = maps.share_note(int(run.executed.total[0]), int(run.dense.total[0]))
    return Cell(values, note, opacity)


def _enlarged(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A block's map at the input's resolution, as `Result.map` enlarges it."""
    (height, width), (h, w) = size, values.shape
    found: np.ndarray = values[np.arange(height) * h // height][:, np.arange(width) * w // width]
    return found


def _few(points: Sequence[Point], at: int) -> str:
    """Label of a point; every other one where there are many."""
    shown = len(points) <= 5 or at % 2 == 0
    return (points[at].short or points[at].label) if shown else ""
