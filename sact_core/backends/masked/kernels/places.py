"""Lists of places: all of a map, those still active, and those around them."""

from __future__ import annotations

import numpy as np

from sact_core.backends.masked.kernels import plain, vector
from sact_core.backends.masked.kernels.cpu import ONE, TILE_ROWS, at_once, kernel


@kernel
def list_all(places, at, height, width, stride, out_height, out_width):
    """List the places of every ``stride``-th row and column of a padded map."""
    row = width + 2
    count = 0
    for y in range(out_height):
        first = (stride * y + 1) * row + 1
        for x in range(out_width):
            places[at_once(at + count)] = first + stride * x
            count += 1
    return fill_tile(places, at, count)


@kernel
def mark_all(marks, height, width):
    """Mark the inside of a padded map, and clear its border."""
    row = width + 2
    for i in range((height + 2) * row):
        marks[at_once(i)] = 0
    for y in range(1, height + 1):
        for x in range(1, width + 1):
            marks[at_once(y * row + x)] = 1


@kernel
def num_marked(marks, height, width):
    """Count the marked places of a padded map."""
    total = 0
    for i in range((height + 2) * (width + 2)):
        total += int(marks[at_once(i)])  # a byte would overflow in plain Python
    return total


@kernel
def keep_marked(places, at, count, marks):
    """Drop the places that are no longer marked; give how many are left."""
    kept = 0
    for i in range(count):
        place = np.int64(places[at_once(at + i)])
        places[at_once(at + kept)] = place
        kept += int(marks[at_once(place)])
    return fill_tile(places, at, kept)


@kernel
def grow(vectors, marks, source, target, spare, height, width):
    """Mark in ``target`` every place inside the map that touches one of ``source``.

    ``spare`` is room for another map. Whole maps are done at once, border and a
    little more (see `MARKS_AT_ONCE`); the border is cleared in the end.
    """
    row = width + 2
    inside = height * row
    if vectors:
        vector.either_mark(inside, marks, source, row, spare + row)
        vector.either_mark(inside, marks, spare + row - 1, ONE, target + row)
    else:
        plain.either_mark(inside, marks, source, row, spare + row)
        plain.either_mark(inside, marks, spare + row - 1, ONE, target + row)
    for y in range(1, height + 2):
        marks[target + y * row - 1] = 0
        marks[target + y * row] = 0
    for x in range(row):
        marks[target + (height + 1) * row + x] = 0


@kernel
def list_marked(vectors, marks, source, places, at, height, width):
    """List the marked places of a padded map without marks in its side borders."""
    row = width + 2
    if vectors:
        count = vector.list_marks(height * row, marks, source + row, row, places, at)
    else:
        count = plain.list_marks(height * row, marks, source + row, row, places, at)
    return fill_tile(places, at, count)


@kernel
def fill_tile(places, at, count):
    """Pad a list to whole tiles with a place that exists; give its length."""
    last = places[at + count - 1] if count else places[at]
    for i in range(count, count + TILE_ROWS):
        places[at_once(at + i)] = last
    return count
