"""The steps of a residual unit: what each reads, and what it multiplies.

A step works on ``rows`` positions from number ``first`` of its lists. It does all
but the products itself, and describes these. A 1x1 convolution of a normalised
input first puts the rows that it needs side by side in the thread's scratch.
"""

from __future__ import annotations

from sact_core.backends.masked.kernels import conv
from sact_core.backends.masked.kernels import layout as at
from sact_core.backends.masked.kernels.conv import TO_FLOATS, Product, Sum
from sact_core.backends.masked.kernels.cpu import ONE, SIXTEEN, TWO, ZERO, kernel


@kernel
def step(work, s, first, rows):
    """Do step ``s`` up to its products, and describe them."""
    steps, weights = work.steps, work.weights
    op, packs = steps[s, at.T_OP], steps[s, at.T_PACKS] > 0
    from_at = work.state[at.S_LIST + steps[s, at.T_FROM]] + first
    to_at = work.state[at.S_LIST + steps[s, at.T_TO]] + first
    x0, x_stride, depth = steps[s, at.T_X_AT], steps[s, at.T_X_STRIDE], steps[s, at.T_DEPTH]
    y0, y_stride, channels = steps[s, at.T_Y_AT], steps[s, at.T_Y_STRIDE], steps[s, at.T_CHANNELS]
    if packs or op == at.NORMALISE:
        kind = steps[s, at.T_READS] if packs else steps[s, at.T_WRITES]
        target, target_stride, target_at = y0, y_stride, to_at
        if packs:
            # A cache line more: off the powers of two, which share cache sets.
            line = SIXTEEN << kind
            target, target_stride, target_at = ZERO, depth + line, work.net[at.IOTA_LIST]
        if kind == at.FLOATS:
            y = work.scratch if packs else work.floats
            normalise(work, s, rows, from_at, y, target, target_stride, target_at)
        else:
            normalise_into_narrow(
                work, work.narrow_scratch, work.narrow, packs,
                s, rows, from_at, target, target_stride, target_at,
            )  # fmt: skip
        x0, x_stride, from_at = ZERO, target_stride, work.net[at.IOTA_LIST]
    elif op == at.POOL:
        conv.pool(
            work.vectors, rows, depth, work.floats, x0, x_stride, from_at, steps[s, at.T_BELOW],
            channels, steps[s, at.T_FRONT], work.floats, y0, y_stride, to_at, work.places,
        )  # fmt: skip
    after = steps[s, at.T_AFTER]
    return Product(
        rows if op >= at.DEPTHWISE else ZERO, packs, x0, x_stride, from_at,
        steps[s, at.T_TAPS], steps[s, at.T_TAP_STRIDE], depth,
        steps[s, at.T_W], steps[s, at.T_B], steps[s, at.T_M], channels,
        TO_FLOATS, y0, y_stride, to_at,
        weights[after], weights[after + 1], weights[after + 2],
    )  # fmt: skip


@kernel
def normalise(work, s, rows, from_at, y, target, target_stride, target_at):
    """Normalise what step ``s`` reads into listed places of ``y``."""
    steps, weights = work.steps, work.weights
    before = steps[s, at.T_BEFORE]
    conv.normalise(
        work.vectors, rows, steps[s, at.T_DEPTH],
        work.floats, steps[s, at.T_X_AT], steps[s, at.T_X_STRIDE], from_at,
        weights, steps[s, at.T_SCALE], steps[s, at.T_SHIFT],
        weights[before], weights[before + 1], weights[before + 2],
        y, target, target_stride, target_at, work.places,
    )  # fmt: skip


@kernel
def normalise_into_narrow(
    work, scratch, narrow, packs, s, rows, from_at, target, target_stride, target_at
):
    """As `normalise`, into bfloat16 or bytes; nothing, and none compiled, where there are none."""
    if narrow is not None:
        y = scratch if packs else narrow
        normalise(work, s, rows, from_at, y, target, target_stride, target_at)


@kernel
def residual_sum(work, u, chunk):
    """Where the residual of a chunk goes: state, output, column sums."""
    block = work.blocks[work.units[u, at.U_BLOCK]]
    mode = TWO
    if work.net[at.KIND] == at.NONE:
        mode = ZERO
    elif work.units[u, at.U_INDEX] == 0:
        mode = ONE
    elif block[at.B_OUT_AT] == block[at.B_X_AT]:  # what is handed on is the state
        mode = ZERO
    return Sum(
        mode,
        block[at.B_OUT_AT],
        work.net[at.LEFT_AT],
        work.net[at.SUMS_AT] + chunk * work.units[u, at.U_COUT],
    )
