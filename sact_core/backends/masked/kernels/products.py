"""What every convolution of a residual unit multiplies, and where it goes.

All take the thread's `Work` and a unit's number, and describe the convolution
of ``rows`` positions from number ``first`` of the unit's list. A 1x1 convolution
of a normalised input first puts the rows it needs side by side in the thread's
scratch.
"""

from __future__ import annotations

from sact_core.backends.masked.kernels import conv
from sact_core.backends.masked.kernels import layout as at
from sact_core.backends.masked.kernels.conv import TO_FLOATS, Product, Sum
from sact_core.backends.masked.kernels.cpu import (
    NO_CAP,
    ONE,
    SIXTEEN,
    THREE,
    TWO,
    UNIT_SLOPE,
    ZERO,
    kernel,
)


@kernel
def source(work, u):
    """Where a unit reads its input, and the length of a row of it with border."""
    block = work.units[u, at.U_BLOCK]
    if work.units[u, at.U_INDEX] == 0:
        return work.blocks[block, at.B_IN_AT], work.blocks[block, at.B_IN_WIDTH] + 2
    return work.blocks[block, at.B_X_AT], work.blocks[block, at.B_WIDTH] + 2


@kernel
def nothing():
    """A product of no positions."""
    return Product(
        ZERO, False, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, TO_FLOATS, ZERO, ZERO,
        ZERO, UNIT_SLOPE, NO_CAP,
    )  # fmt: skip


@kernel
def pack(work, channels, x0, list_at, rows, norm, slope):
    """Put normalised rows side by side in the thread's scratch; give their distance."""
    stride = channels + 16  # off the powers of two, which share cache sets
    conv.normalise(
        work.vectors, rows, channels, work.floats, x0, channels, list_at,
        work.weights, norm, norm + channels, slope, NO_CAP,
        work.scratch, ZERO, stride, work.net[at.IOTA_LIST], work.places,
    )  # fmt: skip
    return stride


@kernel
def preact(work, u, first, rows):
    """Write the pre-activation of listed positions into a padded map."""
    channels = work.units[u, at.U_CIN]
    norm, slope = work.units[u, at.U_PREACT_AT], work.weights[work.units[u, at.U_PREACT_SLOPE_AT]]
    x0, _ = source(work, u)
    list_at = work.state[at.S_WIDER_LIST] + first
    conv.normalise(
        work.vectors, rows, channels, work.floats, x0, channels, list_at,
        work.weights, norm, norm + channels, slope, NO_CAP,
        work.floats, work.net[at.PREACT_AT], channels, list_at, work.places,
    )  # fmt: skip


@kernel
def shortcut(work, u, first, rows):
    """First unit of a block: begin the state, here or by the convolution described."""
    block = work.units[u, at.U_BLOCK]
    kind, cin, cout = (
        work.units[u, at.U_SHORTCUT],
        work.units[u, at.U_CIN],
        work.units[u, at.U_COUT],
    )
    x0, row = source(work, u)
    y0 = work.blocks[block, at.B_X_AT]
    to_at = work.net[at.ACTIVE_LIST] + first
    from_at = to_at
    if work.units[u, at.U_STRIDE] > 1:
        from_at = work.net[at.SOURCE_LIST] + first
    floats, places = work.floats, work.places
    if kind == at.CONV:
        slope = work.weights[work.units[u, at.U_PREACT_SLOPE_AT]]
        stride = pack(work, cin, x0, from_at, rows, work.units[u, at.U_PREACT_AT], slope)
        return Product(
            rows, True, ZERO, stride, work.net[at.IOTA_LIST], ONE, ZERO, cin,
            work.units[u, at.U_SHORTCUT_W], work.units[u, at.U_SHORTCUT_B], cout,
            TO_FLOATS, y0, cout, to_at, UNIT_SLOPE, NO_CAP,
        )  # fmt: skip
    if kind == at.POOL:
        conv.pool(
            work.vectors, rows, cin, floats, x0, cin, from_at, row * cin,
            cout, work.units[u, at.U_FRONT], floats, y0, cout, to_at, places,
        )  # fmt: skip
        return nothing()
    scale, shift, slope = work.net[at.ONES_AT], work.net[at.ZEROS_AT], UNIT_SLOPE  # a copy
    if kind == at.PREACT:
        scale = work.units[u, at.U_PREACT_AT]
        shift = scale + cin
        slope = work.weights[work.units[u, at.U_PREACT_SLOPE_AT]]
    conv.normalise(
        work.vectors, rows, cin, floats, x0, cin, from_at,
        work.weights, scale, shift, slope, NO_CAP,
        floats, y0, cout, to_at, places,
    )  # fmt: skip
    return nothing()


@kernel
def conv1(work, u, first, rows):
    """The convolution on the grown mask: 1x1 in a bottleneck, else 3x3."""
    cin, mid = work.units[u, at.U_CIN], work.units[u, at.U_MID]
    x0, row = source(work, u)
    grown_at = work.state[at.S_GROWN_LIST] + first
    w0, b0 = work.units[u, at.U_W1], work.units[u, at.U_B1]
    slope = work.weights[work.units[u, at.U_SLOPE1_AT]]
    y0 = work.net[at.MID1_AT]
    if work.net[at.BOTTLENECK]:
        leak = work.weights[work.units[u, at.U_PREACT_SLOPE_AT]]
        stride = pack(work, cin, x0, grown_at, rows, work.units[u, at.U_PREACT_AT], leak)
        return Product(
            rows, True, ZERO, stride, work.net[at.IOTA_LIST], ONE, ZERO, cin, w0, b0, mid,
            TO_FLOATS, y0, mid, grown_at, slope, NO_CAP,
        )  # fmt: skip
    corner = work.net[at.PREACT_AT] - work.units[u, at.U_PAD] * (row + 1) * cin
    return Product(
        rows, False, corner, cin, work.state[at.S_SOURCE_LIST] + first, THREE, row * cin, 3 * cin,
        w0, b0, mid, TO_FLOATS, y0, mid, grown_at, slope, NO_CAP,
    )  # fmt: skip


@kernel
def conv2_of_bottleneck(work, u, first, rows):
    """3x3 convolution, from the padded map to rows side by side."""
    mid = work.units[u, at.U_MID]
    _, row = source(work, u)
    corner = work.net[at.MID1_AT] - work.units[u, at.U_PAD] * (row + 1) * mid
    return Product(
        rows, False, corner, mid, work.state[at.S_SOURCE_LIST] + first, THREE, row * mid, 3 * mid,
        work.units[u, at.U_W2], work.units[u, at.U_B2], mid,
        TO_FLOATS, work.net[at.MID2_AT] + first * mid, mid, work.net[at.IOTA_LIST],
        work.weights[work.units[u, at.U_SLOPE2_AT]], NO_CAP,
    )  # fmt: skip


@kernel
def last_conv(work, u, first, rows):
    """The convolution whose products are the residual: 1x1 in a bottleneck, else 3x3."""
    block = work.units[u, at.U_BLOCK]
    mid, cout = work.units[u, at.U_MID], work.units[u, at.U_COUT]
    list_at = work.net[at.ACTIVE_LIST] + first
    y0 = work.blocks[block, at.B_X_AT]
    if work.net[at.BOTTLENECK]:
        return Product(
            rows, False, work.net[at.MID2_AT] + first * mid, mid, work.net[at.IOTA_LIST],
            ONE, ZERO, mid, work.units[u, at.U_W3], work.units[u, at.U_B3], cout,
            TO_FLOATS, y0, cout, list_at, UNIT_SLOPE, NO_CAP,
        )  # fmt: skip
    row = work.blocks[block, at.B_WIDTH] + 2
    return Product(
        rows, False, work.net[at.MID1_AT] - (row + 1) * mid, mid, list_at,
        THREE, row * mid, 3 * mid, work.units[u, at.U_W2], work.units[u, at.U_B2], cout,
        TO_FLOATS, y0, cout, list_at, UNIT_SLOPE, NO_CAP,
    )  # fmt: skip


@kernel
def residual_sum(work, u, chunk):
    """Where the residual of a chunk goes: state, output, column sums."""
    block = work.units[u, at.U_BLOCK]
    mode = ZERO if work.net[at.KIND] == at.NONE else ONE if work.units[u, at.U_INDEX] == 0 else TWO
    return Sum(
        mode,
        work.blocks[block, at.B_OUT_AT],
        work.net[at.LEFT_AT],
        work.net[at.SUMS_AT] + chunk * work.units[u, at.U_COUT],
    )


@kernel
def local_halting(work, u, first, rows):
    """The local halting convolution, a column for each of its taps."""
    block = work.units[u, at.U_BLOCK]
    channels = work.units[u, at.U_COUT]
    list_at = local_list(work, u) + first
    slope = work.weights[work.units[u, at.U_LOCAL_SLOPE_AT]]
    x0 = work.blocks[block, at.B_X_AT]
    stride = pack(work, channels, x0, list_at, rows, work.units[u, at.U_LOCAL_AT], slope)
    return Product(
        rows, True, ZERO, stride, work.net[at.IOTA_LIST], ONE, ZERO, channels,
        work.units[u, at.U_LOCAL_W], work.net[at.ZEROS_AT], SIXTEEN,
        TO_FLOATS, work.net[at.LOCAL_AT], SIXTEEN, list_at, UNIT_SLOPE, NO_CAP,
    )  # fmt: skip


@kernel
def local_list(work, u):
    """Which list the products of the local halting convolution are needed at."""
    if work.units[u, at.U_INDEX] == 0 or work.units[u, at.U_LOCAL_TAPS] == 1:
        return work.net[at.ACTIVE_LIST]
    return work.state[at.S_GROWN_LIST]
