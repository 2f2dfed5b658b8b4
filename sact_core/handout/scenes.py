"""Thoughts about one image as plain JSON, for the explorer of `sact_core.viewer`.

Units run are whole numbers, as they are. Halting scores are quantised to 16 bits, in
steps of 1/65535: a ponder cost of ten units is then off by less than 0.0001, and what is
shown has four digits of a score and two of a cost. Only scores that were read are kept.
The image is a PNG of what the network saw, pixel by pixel; FLOPs are exact.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sact_core.flops import count_flops, dense_flops
from sact_core.handout.thought import Thought
from sact_core.maps.limits import unit_limits
from sact_core.texts import cut, shown
from sact_core.viewer import image_url

METRICS = ("ponder_cost", "num_units")
TOP = 5  # classes that are told
MAX_NAME = 120  # characters of a stranger's name
FULL = 65535  # a halting score of 1


def scene(
    name: str,
    pixels: np.ndarray,
    thoughts: Sequence[Thought],
    *,
    limits: Mapping[str, tuple[float, float]] | None = None,
    position: tuple[int, int] | None = None,
    about: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Pack what networks did with one image.

    Parameters
    ----------
    name : str
        Of the image; a stranger's.
    pixels : np.ndarray [shape=(H, W, 3), uint8]
        What the first network saw.
    thoughts : sequence of Thought
        One per network, at least one.
    limits : mapping, optional
        Values of the first and last colour by metric; from the least to the most that any
        of the networks can spend, where one is left out.
    position : tuple of int, optional
        Row and column that are looked at first; the middle where left out.
    about : sequence of (str, str)
        What else is said of the image: names and values.
    """
    ends: dict[str, tuple[float, float]] = {}
    for metric in METRICS:
        all_ends = [unit_limits(each.config.units_per_block, metric) for each in thoughts]
        ends[metric] = min(low for low, _ in all_ends), max(high for _, high in all_ends)
    ends |= limits or {}
    return {
        "name": _name(name),
        "size": list(pixels.shape[:2]),
        "image": image_url(pixels),
        "position": None if position is None else list(position),
        "limits": {metric: [float(end) for end in pair] for metric, pair in ends.items()},
        "sides": [_side(thought) for thought in thoughts],
        "about": [[_name(key), _name(value, 400)] for key, value in about],
    }


def about_rows(said: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a file says of its origin, in words for people.

    Parameters
    ----------
    said : mapping
        Such as the provenance of a file of maps; what is not known of it is left out.
    """
    checkpoint = said.get("checkpoint", {})
    size = said.get("input_size")
    packages = said.get("packages", {})
    found = {
        "Network": said.get("network"),
        "Checkpoint": checkpoint.get("name"),
        "Content hash": checkpoint.get("content_hash"),
        "τ, price of a unit": said.get("tau"),
        "Input": None if size is None else f"{size[1]} × {size[0]} pixels",
        "Fit": said.get("fit"),
        "Computed by": said.get("backend") and f"{said['backend']} backend, {said['precision']}",
        "Versions": ", ".join(f"{name} {version}" for name, version in packages.items()),
    }
    return [(key, _number(value)) for key, value in found.items() if value not in (None, "")]


def _side(thought: Thought) -> dict[str, Any]:
    results, config = thought.results, thought.config
    counts = [count_flops(thought.plan, result.positions) for result in results]
    dense = dense_flops(thought.plan, results[0].input_size)
    names = [block.name for block in results[0].blocks]

    def parts(total: int, blocks: Mapping[str, np.ndarray]) -> list[int]:
        inside = [int(blocks[name][0]) for name in names]
        return [int(total) - sum(inside), *inside]

    tops, classes = _classes(thought)
    return {
        "name": _name(thought.name),
        "halts": config.halts,
        "by_position": config.by_position,
        "eps": config.eps,
        "taus": [None if tau is None else float(tau) for tau in thought.taus],
        "at": thought.at,
        "blocks": [
            _block(name, [result.blocks[i] for result in results], units)
            for i, (name, units) in enumerate(zip(names, config.units_per_block, strict=True))
        ],
        "parts": ["Stem and logits", *(name.replace("block", "Block ") for name in names)],
        "flops": [parts(count.total[0], count.blocks) for count in counts],
        "dense": parts(dense.total[0], dense.blocks),
        "says": tops,
        "classes": classes,
        "about": [[_name(key), _name(value, 400)] for key, value in thought.about],
    }


def _block(name: str, frames: Sequence[Any], units: int) -> dict[str, Any]:
    """One block at every price: units run, and the scores that were read, one after another."""
    first = frames[0].num_units
    scores: str | None = None
    starts = [0]
    if first is None:
        run = np.full((len(frames), 1, 1), units)
    else:
        run = np.stack([np.atleast_2d(frame.num_units[0]) for frame in frames])
        read: list[np.ndarray] = []
        for frame, ran in zip(frames, run, strict=True):
            proba = np.asarray(frame.halting_proba[0]).reshape(ran.size, units - 1)
            was_read = np.arange(units - 1) < ran.reshape(-1, 1)
            read.append(np.rint(proba[was_read].astype(np.float64) * FULL).astype("<u2"))
            starts.append(starts[-1] + read[-1].size)
        scores = _base64(np.concatenate(read))
    return {
        "name": name.replace("block", "block "),
        "h": run.shape[1],
        "w": run.shape[2],
        "units": units,
        "num_units": _base64(run.astype("u1" if units <= 255 else "<u2")),
        "scores": scores,
        "starts": starts[:-1],
    }


def _classes(thought: Thought) -> tuple[list[list[list[float]]], dict[str, str]]:
    """The most likely classes at every price, and the names of those that occur."""
    tops = []
    for result in thought.results:
        shares = result.probabilities[0]
        best = np.argsort(-shares, kind="stable")[:TOP]
        tops.append([[int(i), round(float(shares[i]), 6)] for i in best])
    found = sorted({int(index) for top in tops for index, _ in top})
    names = thought.class_names
    said = {i: _name(names[i].replace("_", " ").split(",")[0].strip()) for i in found if names}
    return tops, {str(i): said.get(i) or f"class {i}" for i in found}


def _name(text: str, most: int = MAX_NAME) -> str:
    return cut(shown(text), most)


def _number(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
