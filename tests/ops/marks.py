"""Halting, and the lists and marks of positions that it leads to."""

from __future__ import annotations

import numpy as np
from numba import njit

from sact_core import halting
from sact_core.backends.masked.kernels import cpu, places
from tests import naive
from tests.flat import Flat
from tests.ops.operation import draw_active


def draw_proba(rng, shape=(5, 7), units=4, eps=0.01, kind="any"):
    proba = rng.random((*shape, units - 1), np.float32)
    if kind == "ties":  # multiples of 1/8 add up exactly
        proba = rng.integers(0, 9, proba.shape).astype(np.float32) / 8
    return {"proba": proba, "eps": eps}


def naive_halt(proba, eps):
    found = [
        naive.halt(each, eps) for each in proba.reshape(np.prod(proba.shape[:-1]), proba.shape[-1])
    ]
    parts = (np.array(part) for part in zip(*found, strict=True))
    return tuple(part.reshape(*proba.shape[:-1], *part.shape[1:]) for part in parts)


def by_rule(rule):
    def run(proba, eps):
        found = rule(proba, eps)
        return found.distribution, found.num_units, found.remainder

    return run


def by_steps(proba, eps):
    """As the NumPy backend goes from unit to unit."""
    state = halting.start(proba.shape[:-1], proba.shape[-1] + 1, eps)
    weights = []
    for u in range(proba.shape[-1] + 1):
        state, weight = halting.step(state, proba[..., u] if u < proba.shape[-1] else None)
        weights.append(weight)
    return np.stack(weights, -1), state.num_units, state.remainder


def draw_marks(rng, size=(5, 7), which="some"):
    return {"active": draw_active(rng, *size, which)}


def naive_marks(active):
    """The positions around active ones as map and list; all; those left of all."""
    grown = naive.grown(active)
    return grown, np.argwhere(grown), np.argwhere(active | True), np.argwhere(active)


@njit
def work_on_marks(vectors, marks, source, target, spare, every, around, kept, left, height, width):
    places.grow(vectors, marks, source, target, spare, height, width)
    num_around = places.list_marked(vectors, marks, target, around, left, height, width)
    num_all = places.list_all(every, left, height, width, 1, height, width)
    places.list_all(kept, left, height, width, 1, height, width)
    num_marked = places.num_marked(marks[source:], height, width)
    num_kept = places.keep_marked(kept, left, num_all, marks[source:])
    return num_around, num_all, num_kept, num_marked


def engine_marks(vectors: bool):
    def run(active):
        height, width = active.shape
        size, room = (height + 2) * (width + 2), cpu.MARKS_AT_ONCE
        marks = Flat(
            np.uint8, source=np.pad(active, 1).astype(np.uint8), source_room=room,
            target=np.zeros(size), target_room=room, spare=size, spare_room=room,
        )  # fmt: skip
        # Garbage behind a map must not count.
        lists = {
            name: Flat(np.int32, all=active.size + cpu.TILE_ROWS)
            for name in ("every", "around", "kept")
        }
        left = lists["every"].at("all")
        *counts, num_marked = work_on_marks(
            vectors, marks.all, marks.at("source"), marks.at("target"), marks.at("spare"),
            *(each.all for each in lists.values()), left, height, width,
        )  # fmt: skip
        assert num_marked == active.sum()
        marks.assert_untouched("target", "spare")
        for each in lists.values():
            each.assert_untouched("all")
        grown = marks["target"].reshape(height + 2, width + 2)
        assert not grown[[0, -1]].any()
        assert not grown[:, [0, -1]].any()
        found = [grown[1:-1, 1:-1].astype(bool)]
        for name, count in zip(("around", "every", "kept"), counts, strict=True):
            listed = lists[name]["all"]
            assert (listed[count : count + cpu.TILE_ROWS] == listed[max(count - 1, 0)]).all()
            row, column = np.divmod(listed[:count], width + 2)
            found.append(np.stack([row - 1, column - 1], -1))
        return tuple(found)

    return run


def draw_every_other(rng, size=(7, 8), stride=2):
    return {"size": size, "stride": stride}


def naive_every_other(size, stride):
    height, width = size
    out = [
        (y + 1) * (width + 2) + x + 1
        for y in range(0, height, stride)
        for x in range(0, width, stride)
    ]
    mark = [0 < y <= height and 0 < x <= width for y in range(height + 2) for x in range(width + 2)]
    return np.array(out), np.array(mark)


@njit
def list_and_mark(listed, at, marks, height, width, stride, out_height, out_width):
    places.mark_all(marks, height, width)
    return places.list_all(listed, at, height, width, stride, out_height, out_width)


def engine_every_other(size, stride):
    height, width = size
    out = -(-height // stride), -(-width // stride)
    lists = Flat(np.int32, all=out[0] * out[1] + cpu.TILE_ROWS)
    marks = Flat(np.uint8, all=(height + 2) * (width + 2))
    count = list_and_mark(lists.all, lists.at("all"), marks["all"], *size, stride, *out)
    lists.assert_untouched("all")
    marks.assert_untouched("all")
    assert (lists["all"][count:] == lists["all"][count - 1]).all()
    return lists["all"][:count], marks["all"].astype(bool)
