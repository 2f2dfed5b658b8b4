"""The halting rule, one position after another, in float32."""

from __future__ import annotations

import numpy as np

from sact_core.backends.masked.kernels import layout as at
from sact_core.backends.masked.kernels import plain, vector
from sact_core.backends.masked.kernels.cpu import (
    MARK,
    NO_MARK,
    NOTHING,
    ZERO,
    at_once,
    entry,
    kernel,
)
from sact_core.halting import MAX_LOGIT

LARGEST, NO_NUMBER = np.float32(MAX_LOGIT), np.float32(np.nan)


@entry
def halt_positions(proba, threshold, first, last, distribution, num_units, remainder):
    """Run the rule on positions ``first`` to ``last - 1``.

    Parameters
    ----------
    proba : np.ndarray [shape=(positions, units - 1), float32]
        Chance of stopping after each unit.
    threshold : np.float32
        ``float32(1 - eps)``.
    first, last : int
        The positions to do.
    distribution : np.ndarray [shape=(positions, units), float32]
        Written, zeros included.
    num_units : np.ndarray [shape=(positions,), int32]
        Written.
    remainder : np.ndarray [shape=(positions,), float32]
        Written.

    Returns
    -------
    int
        How many probabilities are NaN or outside [0, 1].
    """
    num_probas = proba.shape[1]
    num_bad = 0
    for p in range(first, last):
        cumsum, left, u = np.float32(0), np.float32(1), 0
        while u < num_probas:
            h = proba[p, u]
            num_bad += not 0 <= h <= 1
            cumsum += h
            if cumsum >= threshold:
                break
            distribution[p, u] = h
            left -= h
            u += 1
        distribution[p, u] = left
        num_units[p] = u + 1
        remainder[p] = left
        for v in range(u, num_probas):
            num_bad += not 0 <= proba[p, v] <= 1
            distribution[p, v + 1] = 0
    return num_bad


@kernel
def halt_listed(work, u, image, first, rows):
    """Read the halting probability of listed positions and decide who goes on (SACT).

    The last unit of a block has none: everybody stops.
    """
    # Everything that the loop needs is read here: the compiler could not know
    # that the numbers written in it leave the tables alone.
    unit, block, net = work.units[u], work.blocks[work.units[u, at.U_BLOCK]], work.net
    floats, places, marks, results = work.floats, work.places, work.marks, work.results
    width, units, index = block[at.B_WIDTH], block[at.B_UNITS], unit[at.U_INDEX]
    row, before = width + 2, image * block[at.B_HEIGHT] * width
    inverse = (1 << 40) // row + 1  # place // row is a product and a shift
    list_at = net[at.ACTIVE_LIST] + first
    left_at, cumsum_at = net[at.LEFT_AT], net[at.CUMSUM_AT]
    distribution_at = block[at.B_DISTRIBUTION] + index
    proba_at, remainder_at = block[at.B_PROBA] + index, block[at.B_REMAINDER]
    num_units, num_units_at = work.num_units, block[at.B_NUM_UNITS]
    threshold = work.weights[net[at.THRESHOLD_AT]]
    halts, scratch = unit[at.U_HALTS], work.scratch
    if halts:
        read_logits(work, u, first, rows)
        for i in range(rows):
            scratch[i] = scratch[i] if abs(scratch[i]) <= LARGEST else NO_NUMBER
        if work.vectors:
            vector.sigmoid_rows(rows, scratch, ZERO)
        else:
            plain.sigmoid_rows(rows, scratch, ZERO)
    for i in range(rows):
        place = np.int64(places[at_once(list_at + i)])
        y = (place * inverse) >> 40
        position = before + (y - 1) * width + place - y * row - 1
        left = floats[at_once(left_at + place)]
        weight, goes_on = left, NO_MARK
        if halts:
            proba = scratch[at_once(i)]
            total = floats[at_once(cumsum_at + place)] + proba
            floats[at_once(cumsum_at + place)] = total
            results[at_once(proba_at + position * (units - 1))] = proba
            # Chosen, not branched to: who goes on is hard to foretell.
            on = not total >= threshold  # a sum with NaN reaches no threshold and goes on
            goes_on = MARK if on else NO_MARK
            weight = proba if on else left
            left -= proba if on else NOTHING
            floats[at_once(left_at + place)] = left
        results[at_once(distribution_at + position * units)] = weight
        num_units[at_once(num_units_at + position)] = index + 1
        results[at_once(remainder_at + position)] = left
        marks[at_once(place)] = goes_on


@kernel
def read_logits(work, u, first, rows):
    """Sum up the halting logits of listed positions, into the thread's scratch."""
    net, floats, places, scratch = work.net, work.floats, work.places, work.scratch
    row = work.blocks[work.units[u, at.U_BLOCK], at.B_WIDTH] + 2
    list_at, local_at = net[at.ACTIVE_LIST] + first, net[at.LOCAL_AT]
    everywhere = floats[net[at.GLOBAL_AT]]
    above, below = -16 * row, 16 * row
    if work.units[u, at.U_LOCAL_TAPS] == 1:
        for i in range(rows):
            z = local_at + 16 * np.int64(places[at_once(list_at + i)])
            scratch[at_once(i)] = floats[at_once(z)] + everywhere
        return
    for i in range(rows):
        z = local_at + 16 * np.int64(places[at_once(list_at + i)])
        logit = floats[at_once(z + above - 16)] + floats[at_once(z + above + 1)]
        logit += floats[at_once(z + above + 18)]
        beside = floats[at_once(z - 13)] + floats[at_once(z + 4)]
        logit += beside + floats[at_once(z + 21)]
        beneath = floats[at_once(z + below - 10)] + floats[at_once(z + below + 7)]
        logit += beneath + floats[at_once(z + below + 24)]
        scratch[at_once(i)] = logit + everywhere


@kernel
def halt_image(work, u, image):
    """Decide whether the whole image goes on (ACT)."""
    unit, block, net = work.units[u], work.blocks[work.units[u, at.U_BLOCK]], work.net
    floats, units, index = work.floats, block[at.B_UNITS], unit[at.U_INDEX]
    left = floats[net[at.LEFT_AT]]
    weight, goes_on = left, 0
    if unit[at.U_HALTS]:
        logit = floats[net[at.GLOBAL_AT]]
        proba = plain.sigmoid(logit) if abs(logit) <= LARGEST else NO_NUMBER
        floats[net[at.CUMSUM_AT]] += proba
        work.results[block[at.B_PROBA] + image * (units - 1) + index] = proba
        if not floats[net[at.CUMSUM_AT]] >= work.weights[net[at.THRESHOLD_AT]]:
            weight, goes_on = proba, 1
            left -= proba
            for place in range((block[at.B_HEIGHT] + 2) * (block[at.B_WIDTH] + 2)):
                floats[net[at.LEFT_AT] + place] = left
    work.results[block[at.B_DISTRIBUTION] + image * units + index] = weight
    work.num_units[block[at.B_NUM_UNITS] + image] = index + 1
    work.results[block[at.B_REMAINDER] + image] = left
    work.state[at.S_GOES_ON] = goes_on


@kernel
def global_halting(work, u, image):
    """Halting logit of the whole map, from the mean of the state, and tau's shift.

    Only the positions that ran have changed: the sum over all grows by theirs.
    """
    unit, block = work.units[u], work.blocks[work.units[u, at.U_BLOCK]]
    channels = unit[at.U_COUT]
    chunks = -(-work.state[at.S_COUNT + at.ACTIVE] // at.CHUNK)
    size = np.float64(block[at.B_HEIGHT] * block[at.B_WIDTH])
    norm, weight = unit[at.U_GLOBAL_AT], unit[at.U_GLOBAL_W]
    slope, cap = work.weights[norm + 2 * channels], work.weights[norm + 2 * channels + 1]
    logit = work.weights[unit[at.U_BIAS_AT]]
    for c in range(channels):
        total = np.float64(0) if unit[at.U_INDEX] == 0 else work.totals[c]
        for chunk in range(chunks):
            total += work.floats[at_once(work.net[at.SUMS_AT] + chunk * channels + c)]
        work.totals[c] = total
        mean = np.float32(total / size)
        value = mean * work.weights[norm + c] + work.weights[norm + channels + c]
        logit += plain.activate(value, slope, cap) * work.weights[weight + c]
    work.floats[work.net[at.GLOBAL_AT]] = logit + work.shifts[image, u]
