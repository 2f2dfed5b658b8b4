"""Trained networks on real images: do milliseconds fall as FLOPs do?"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from sact_core.backends.masked import Engine
from sact_core.benchmark.cases import Case
from sact_core.benchmark.process import Process
from sact_core.checkpoint import read, read_header
from sact_core.config import Preprocessing
from sact_core.data.source import Source
from sact_core.flops import dense_flops
from sact_core.plans import build_plan
from sact_core.preprocess import prepare
from sact_core.taus import check_taus

#: The masked engine, and the same network in PyTorch.
SIDES = ("masked", "sact")


def measure_family(
    paths: Sequence[Path],
    source: Source,
    num_images: int,
    threads: int = 1,
    rounds: int = 7,
    seconds: float = 0.3,
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Time every checkpoint on the same images, all in turn.

    Parameters
    ----------
    paths : sequence of Path
        Checkpoints.
    source : Source
        The images, prepared as each checkpoint says.
    num_images : int
        Run as one batch: the first so many.
    threads : int
        Threads of every side.
    rounds, seconds : int, float
        Turns of every side, and the length of one.
    say : callable
        Told what is going on.

    Returns
    -------
    list of dict
        A row for each checkpoint: MFLOPs of an image (mean and dense),
        milliseconds for an image by side, and the file's content hash, by which a
        reader sees whether it is still the file that was measured.

    Raises
    ------
    CheckpointError, OSError
        If a checkpoint cannot be read.
    ValueError
        If a checkpoint keeps the sizes of images, and they differ.
    SideError
        If a process fails.
    """
    rows: list[dict[str, Any]] = []
    first = range(min(num_images, len(source)))
    sides: dict[tuple[int, str], Process] = {}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for i, path in enumerate(paths):
            checkpoint = read(path)
            plan = build_plan(checkpoint.config)
            images = (image for image, *_ in source.each(first))
            x = prepared(images, checkpoint.preprocessing, plan.divisor)
            np.save(f"{folder}/{i}.npy", x)
            taus = check_taus(checkpoint.config, None, len(x))
            flops = Engine(plan, checkpoint.params, precision="float32").forward(x, taus=taus).flops
            dense = dense_flops(plan, (x.shape[1], x.shape[2])).total
            rows.append(
                {
                    "file": path.name,
                    "content_hash": read_header(path).content_hash,
                    "network": checkpoint.config.name,
                    "tau": checkpoint.provenance.get("tau"),
                    "images": len(x),
                    "threads": threads,
                    "mflops": float(flops.mean()) / 1e6,
                    "dense_mflops": float(dense[0]) / 1e6,
                }
            )
            case = Case(
                path.stem,
                checkpoint.config.family,
                checkpoint.config.units_per_block,
                batch=len(x),
                side=x.shape[1],
                checkpoint=str(path.resolve()),
                images=f"{folder}/{i}.npy",
            )
            for name in SIDES:
                sides[i, name] = Process(name, case, threads)
                stack.callback(sides[i, name].end)
                sides[i, name].wait()
        turns: dict[tuple[int, str], list[float]] = {key: [] for key in sides}
        for _ in range(rounds):
            for key, side in sides.items():
                turns[key].append(1e3 * statistics.median(side.measure(seconds)["seconds"]))
    for i, row in enumerate(rows):
        row["ms"] = {name: statistics.median(turns[i, name]) / row["images"] for name in SIDES}
        say(
            f"{row['file']}: {row['mflops']:.1f} MFLOPs, masked {row['ms']['masked']:.3f} ms, "
            f"PyTorch {row['ms']['sact']:.3f} ms an image"
        )
    return rows


def prepared(
    images: Iterable[np.ndarray], preprocessing: Preprocessing, divisor: int
) -> np.ndarray:
    """Images as one batch [shape=(n, H, W, 3), float32].

    Raises
    ------
    ValueError
        If they keep sizes that differ.
    """
    inputs = [prepare(image, preprocessing, divisor) for image in images]
    if len({x.shape for x in inputs}) > 1:
        raise ValueError(
            "the images have different sizes once prepared, and are timed as one batch: "
            "take --num-images 1"
        )
    return np.stack(inputs)


def merge(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put new rows in the place of old ones of the same file, data and threads."""
    keyed = {(row["file"], row["data"], row["threads"]): row for row in [*old, *new]}
    return list(keyed.values())
