"""What can be taken home from a run: pictures, arrays, numbers, the command line.

Plain functions that give bytes or text; no Streamlit.
"""

from __future__ import annotations

import csv
import io
import json
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from app.records import Look, Model, Picture, Row, Run
from app.texts import file_stem
from sact_core import __version__
from sact_core.maps import drawing
from sact_core.maps.writing import map_attributes, map_rows, write_maps
from sact_core.ponder import LABELS


@dataclass(frozen=True)
class Shown:
    """How a map is shown.

    Attributes
    ----------
    metric : str
        One of `app.views.METRICS`.
    colour_map : str
        As `drawing.colour` takes it.
    scale : str
        One of `app.views.SCALES`.
    limits : tuple of float
        Values of the first and last colour, as the screen has them.
    opacity : float
        Of the map over the image, in [0, 1].
    """

    metric: str
    colour_map: str
    scale: str
    limits: tuple[float, float]
    opacity: float


#: As commands show a map that nobody has changed.
_USUAL = Shown("ponder_cost", "viridis", "fixed", (0.0, 1.0), 0.65)


def stem(look: Look, run: Run) -> str:
    """Beginning of the files' names: image, network, tau and size."""
    height, width = run.result.input_size
    parts = [image_stem(look.picture), look.model.name]
    parts += [] if look.tau is None else [f"tau{look.tau:g}"]
    return file_stem(*parts, f"{width}x{height}")


def about(look: Look, run: Run, shown: Shown | None = None) -> dict[str, Any]:
    """What a file says of its origin, as plain JSON values."""
    model = look.model
    tau = model.tau if look.tau is None else look.tau
    said: dict[str, Any] = {
        "checkpoint": {"name": model.name, "content_hash": model.digest},
        "network": model.config.name,
        "image": look.picture.name,
        "backend": run.backend,
        "precision": run.result.precision,
        "input_size": list(run.result.input_size),
        "image_size": look.preprocessing.image_size,
        "fit": look.preprocessing.fit,
        **({} if tau is None else {"tau": tau}),
        "packages": {"sact_core": __version__, "numpy": np.__version__},
        "version": __version__,
        "command": command(look, shown or _USUAL, run.result.precision),
    }
    if shown is not None:
        said |= {**vars(shown), "limits": [float(end) for end in shown.limits]}
    return said


def map_png(look: Look, run: Run, shown: Shown) -> bytes:
    """The map in colours, as PNG."""
    return _png(drawing.enlarge(_colours(run, shown)), about(look, run, shown))


def overlay_png(look: Look, run: Run, shown: Shown) -> bytes:
    """The map over the grey image, as PNG."""
    laid = drawing.blend(run.seen.pixels, _colours(run, shown), shown.opacity)
    return _png(drawing.enlarge(laid), about(look, run, shown))


def colour_bar_png(look: Look, run: Run, shown: Shown) -> bytes:
    """The colour bar, as PNG."""
    bar = drawing.colour_bar(shown.limits, shown.colour_map, LABELS[shown.metric])
    return _png(bar, about(look, run, shown))


def image_png(picture: Picture, said: Mapping[str, Any] | None = None) -> bytes:
    """The image as it was handed in or stands in the data set, as PNG that says what it is for."""
    return _png(picture.pixels, {"image": picture.name, **(said or {})})


def hdf5(look: Look, run: Run, shown: Shown | None = None) -> bytes:
    """Input, maps, halting distributions and FLOPs in the authors' HDF5 layout."""
    model = look.model
    rows = map_rows(model.config, run.seen.x, run.result, [look.picture.name])
    said = map_attributes(model.config, model.header.class_names, about(look, run, shown))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "maps.h5"
        write_maps(path, rows, said)
        return path.read_bytes()


def npz(look: Look, run: Run, shown: Shown) -> bytes:
    """The map alone, as NPZ: ``map`` [shape=(H, W), float32], and ``about``, a text of JSON."""
    buffer = io.BytesIO()
    said = np.array(json.dumps(about(look, run, shown)))
    np.savez(buffer, allow_pickle=False, map=run.result.map(shown.metric)[0], about=said)
    return buffer.getvalue()


def table(look: Look, run: Run, shown: Shown | None = None) -> str:
    """What the run did, block by block and unit by unit, as CSV."""
    said, origin = _columns(look, run), _origin(look, run, shown)
    rows: list[dict[str, object]] = []

    def add(part: str, flops: int, dense: int, active: object = "", places: object = "") -> None:
        rows.append(
            {
                **said,
                "part": part,
                "flops": flops,
                "dense_flops": dense,
                "positions_active": active,
                "positions": places,
                **origin,
            }
        )

    add("network", run.executed.total[0], run.dense.total[0])
    executed, dense = run.executed.units, run.dense.units
    for block, planned in zip(run.result.blocks, look.model.plan.blocks, strict=True):
        add(block.name, block.flops[0], run.dense.blocks[block.name][0])
        places = block.size[0] * block.size[1]
        for i, unit in enumerate(planned.units):
            active = places
            if block.num_units is not None:
                active = int(np.broadcast_to(block.num_units[0] > i, block.size).sum())
            add(unit.name, executed[unit.name][0], dense[unit.name][0], active, places)
    return rows_csv(rows)


def layers(look: Look, run: Run, rows: list[dict[str, object]]) -> str:
    """Rows of the FLOPs page, one a layer, as CSV that says what they are of."""
    said = _columns(look, run)
    return rows_csv([{**said, **row, **_origin(look, run)} for row in rows])


def photographs(look: Look, pictures: Sequence[tuple[str, str]], rows: Sequence[Row]) -> str:
    """What a network did with many photographs, as CSV that says what it is of.

    ``pictures`` are names and origins, as `Picture` has them; that of ``look`` does not count.
    """
    model, seen = look.model, look.preprocessing
    tau = model.tau if look.tau is None else look.tau
    found: list[dict[str, object]] = []
    for (name, origin), row in zip(pictures, rows, strict=True):
        own = replace(look, picture=replace(look.picture, name=name, origin=origin, note=""))
        height, width = row.size
        found.append(
            {
                "photograph": name,
                "says": row.says,
                "sure": f"{row.sure:.6f}",
                "flops": row.flops,
                "dense_flops": row.dense,
                "share": f"{row.share:.6f}",
                "milliseconds": f"{1000 * row.seconds:.3f}",
                "height": height,
                "width": width,
                "image_size": seen.image_size,
                "fit": seen.fit,
                "tau": "" if tau is None else tau,
                "checkpoint": model.name,
                "content_hash": model.digest,
                "backend": row.backend,
                "precision": row.precision,
                "version": __version__,
                "command": command(own, _USUAL, row.precision),
            }
        )
    return rows_csv(found)


def rows_csv(rows: list[dict[str, object]]) -> str:
    """Rows of one kind as CSV, with their keys as the header."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def command(look: Look, shown: Shown, precision: str = "float32", to: str = "--out=maps") -> str:
    """The command line that gives the same: pictures and numbers, or ``--html=FILE``.

    Of a network without halting, which has no maps, the one that opens this program.
    """
    if not look.model.config.halts:
        return "python -m sact_core.app"
    image, checkpoint = image_word(look.picture), checkpoint_word(look.model)
    words = ["python", "-m", "sact_core.ponder", image, "--checkpoint", checkpoint]
    words += size_words(look)
    if look.tau is not None:
        words += ["--tau", f"{look.tau:.12g}"]
    if precision != "float32":
        words += ["--precision", precision]
    if shown.metric != "ponder_cost":
        words += ["--metric", shown.metric]
    if shown.colour_map != "viridis":
        words += ["--colour-map", shown.colour_map]
    words += ["--opacity", f"{shown.opacity:g}"]
    if shown.scale == "fixed":
        words += ["--scale", "units"]
    else:
        words += ["--limits", *(f"{end:.9g}" for end in shown.limits)]
    return shlex.join([*words, *to.split("=", 1)])


def image_word(picture: Picture) -> str:
    """An image on a command line."""
    if picture.origin == "example":
        return f"app/examples/{picture.name.lower()}.jpg"
    return image_file(picture)


def checkpoint_word(model: Model) -> str:
    """A network on a command line: its name where it is found by it, or its file."""
    shipped = "/" not in model.name and not isinstance(model.source, bytes)
    return model.name if shipped else f"{model.name.removeprefix('uploaded: ')}.h5"


def size_words(look: Look) -> list[str]:
    """Size and fit on a command line, where they are not the checkpoint's own."""
    words = [] if look.image_size is None else ["--image-size", str(look.image_size)]
    if look.fit is not None or look.image_size is not None:
        words += ["--fit", look.fit or look.model.header.preprocessing.fit]
    return words


def image_file(picture: Picture) -> str:
    """The file that holds an image at hand: one's own, or the one that can be downloaded."""
    if picture.origin == "upload" and not picture.note:
        return picture.name
    return f"{image_stem(picture)}.png"


def image_stem(picture: Picture) -> str:
    """Beginning of the names of what is made of an image."""
    return file_stem(picture.name.rsplit(".", 1)[0])


def _columns(look: Look, run: Run) -> dict[str, object]:
    """First columns of a table: what it is of."""
    said = about(look, run)
    height, width = run.result.input_size
    return {
        "checkpoint": look.model.name,
        "image": look.picture.name,
        "tau": said.get("tau", ""),
        "height": height,
        "width": width,
    }


def _origin(look: Look, run: Run, shown: Shown | None = None) -> dict[str, object]:
    """Last columns of a table: where it comes from."""
    said = about(look, run, shown)
    names = ("image_size", "fit", "backend", "precision", "version", "command")
    return {"content_hash": look.model.digest, **{name: said[name] for name in names}}


def _colours(run: Run, shown: Shown) -> np.ndarray:
    return drawing.colour(run.result.map(shown.metric)[0], shown.limits, shown.colour_map)


def _png(picture: np.ndarray, said: dict[str, Any]) -> bytes:
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_itxt("Comment", json.dumps(said))
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()
