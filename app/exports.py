"""What can be taken home from a run: pictures, arrays, numbers, the command line.

Plain functions that give bytes or text; no Streamlit.
"""

from __future__ import annotations

import csv
import io
import shlex
import tempfile
from pathlib import Path

import numpy as np

from app.records import Look, Run
from sact_core.maps import drawing
from sact_core.maps.writing import map_attributes, map_rows, write_maps


def map_png(run: Run, metric: str, limits: tuple[float, float], colour_map: str) -> bytes:
    """The map in colours, as PNG."""
    return _png(drawing.enlarge(_colours(run, metric, limits, colour_map)))


def overlay_png(
    run: Run, metric: str, limits: tuple[float, float], colour_map: str, opacity: float
) -> bytes:
    """The map over the grey image, as PNG."""
    colours = _colours(run, metric, limits, colour_map)
    return _png(drawing.enlarge(drawing.blend(run.seen.pixels, colours, opacity)))


def colour_bar_png(limits: tuple[float, float], colour_map: str, label: str) -> bytes:
    """The colour bar, as PNG."""
    return _png(drawing.colour_bar(limits, colour_map, label))


def hdf5(look: Look, run: Run) -> bytes:
    """Input, maps, halting distributions and FLOPs in the authors' HDF5 layout."""
    model = look.model
    rows = map_rows(model.config, run.seen.x, run.result, [look.picture.name])
    about = map_attributes(
        model.config, model.header.class_names, {"checkpoint": model.name, "hash": model.digest}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "maps.h5"
        write_maps(path, rows, about)
        return path.read_bytes()


def npy(run: Run, metric: str) -> bytes:
    """The map alone, as NPY [shape=(H, W), float32]."""
    buffer = io.BytesIO()
    np.save(buffer, run.result.map(metric)[0], allow_pickle=False)
    return buffer.getvalue()


def table(look: Look, run: Run) -> str:
    """What the run did, block by block and unit by unit, as CSV."""
    model, picture = look.model, look.picture
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["checkpoint", "image", "part", "flops", "dense_flops", "positions_active", "positions"]
    )
    about = [model.name, picture.name]
    writer.writerow(
        [*about, "network", run.executed.total[0], run.dense.total[0], "", ""],
    )
    executed, dense = run.executed.units, run.dense.units
    for block, planned in zip(run.result.blocks, model.plan.blocks, strict=True):
        writer.writerow(
            [*about, block.name, block.flops[0], run.dense.blocks[block.name][0], "", ""]
        )
        places = block.size[0] * block.size[1]
        for i, unit in enumerate(planned.units):
            active = places
            if block.num_units is not None:
                active = int(np.broadcast_to(block.num_units[0] > i, block.size).sum())
            writer.writerow(
                [*about, unit.name, executed[unit.name][0], dense[unit.name][0], active, places]
            )
    return out.getvalue()


def rows_csv(rows: list[dict[str, object]]) -> str:
    """Rows of one kind as CSV, with their keys as the header."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def command(look: Look, colour_map: str, scale: str) -> str:
    """The command line that gives the same pictures and numbers."""
    model, picture = look.model, look.picture
    source = f"{picture.name.lower()}.jpg"
    image = f"app/examples/{source}" if picture.origin == "example" else picture.name
    if picture.origin == "test":
        image = f"{picture.name.lower().replace(' ', '_')}.png"
    checkpoint = f"{model.name.removeprefix('uploaded: ')}.h5"
    folder = "" if "/" in checkpoint or isinstance(model.source, bytes) else "pretrained/"
    words = ["python", "-m", "sact_core.ponder", image, "--checkpoint", folder + checkpoint]
    own = model.header.preprocessing
    if look.image_size is not None:
        words += ["--image-size", str(look.image_size)]
    if look.fit is not None or look.image_size is not None:
        words += ["--fit", look.fit or own.fit]
    if colour_map != "viridis":
        words += ["--colour-map", colour_map]
    if look.tau is not None:
        words += ["--tau", f"{look.tau:g}"]
    words += ["--scale", "units" if scale == "fixed" else "percentile", "--out", "maps"]
    return shlex.join(words)


def _colours(run: Run, metric: str, limits: tuple[float, float], colour_map: str) -> np.ndarray:
    return drawing.colour(run.result.map(metric)[0], limits, colour_map)


def _png(picture: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "PNG")
    return buffer.getvalue()
