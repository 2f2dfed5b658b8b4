"""Where things lie: the columns of the tables that the kernels read.

A network reaches the kernels as one array of weights and four tables of whole
numbers: facts of the network, of every block, of every unit and of every step. An
offset named ``…_AT`` counts from the start of the array that the name's group
belongs to, in numbers of its kind.

A unit is a program of up to `NUM_STEPS` steps, each of which turns listed places of
one map into listed places of another. What a family does differently is in its
steps; the loops only follow them.

Feature maps lie in a team's ``floats`` as ``[h + 2][w + 2][channels]`` with a
border, channels padded with zeros to a multiple of 16; those that feed convolutions
may be of bfloat16 or bytes, and are then counted in halves or quarters of a float. A
*place* is a position's number in such a padded map, ``(y + 1) * (w + 2) + x + 1``, so
that one list of places serves every map of a block.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sact_core.backends.masked.kernels.cpu import TILE_ROWS
from sact_core.backends.masked.kernels.cpu import WIDE as WIDE

#: Positions that are computed together, whole tiles. Column sums are kept per
#: chunk, so results do not depend on the number of threads.
CHUNK = 8 * TILE_ROWS

#: Rows of the first map that a task of the stem computes.
POOL_ROWS = 4

#: Steps of a unit; the last is the local halting convolution.
NUM_STEPS = 5

# Phases of an image before its units, of a unit, and of an image after them.
LOAD, STEM, OPEN = range(3)
STEP, BRANCH, HALT, NEXT = 3, 3 + NUM_STEPS - 1, 3 + NUM_STEPS, 4 + NUM_STEPS
HEAD, MEAN, LOGITS = NEXT + 1, NEXT + 2, NEXT + 3
FIRST_UNIT_PHASE, NUM_UNIT_PHASES, NUM_LAST_PHASES = STEP, NEXT - STEP + 1, 3

# Halting kinds.
NONE, ACT, SACT = range(3)

# What numbers of a map are: float32; bfloat16 or bytes, of which a float has room for two
# or four, ``1 << kind``.
FLOATS, HALVES, BYTES = range(3)

# What a step does: nothing; normalise; the mean of 2x2 places; convolve every channel
# by itself; a convolution whose products are stored; one whose products are the
# unit's residual.
NOTHING, NORMALISE, POOL, DEPTHWISE, STORE, ADD = range(6)

# Lists of places: active ones; those around them that convolutions need, and those
# that are normalised for these; where a strided convolution reads for every active
# place; and positions side by side, without a border.
ACTIVE, GROWN, WIDER, SOURCE, BESIDE, NUM_LISTS = range(6)

# Facts of the network. The first group: what it is; then the input's size; then
# offsets in `weights`; then offsets in `floats`; then in `places` and `marks`.
(
    KIND, MEAN_FIRST, POOLS, CLASSES, THRESHOLD_AT, KEEP_OUTPUTS, KEEP_SECONDS,
    HEIGHT, WIDTH, BORDER, STEM_HEIGHT, STEM_WIDTH, STEM_SIDE, STEM_STRIDE, STEM_CORNER,
    STEM_W, STEM_B, STEM_COUT, ONES_AT, ZEROS_AT, NEUTRAL_AT, POSTNORM_AT, LOGITS_W, LOGITS_B,
    IMAGE_AT, LOCAL_AT, LEFT_AT, CUMSUM_AT, SUMS_AT, LAST_AT, LAST_COUT, FEATURES_AT, GLOBAL_AT,
    ACTIVE_LIST, GROWN_LIST, WIDER_LIST, SOURCE_LIST, IOTA_LIST, NULL_LIST,
    GROWN_MARKS, WIDER_MARKS, SPARE_MARKS,
    NUM_FACTS,
) = range(43)  # fmt: skip

# Facts of a block: its size, its input's, its units, offsets in `floats`, and
# offsets of its first image in the results.
(
    B_HEIGHT, B_WIDTH, B_IN_HEIGHT, B_IN_WIDTH, B_UNITS, B_STRIDE, B_IN_AT, B_X_AT, B_OUT_AT,
    B_PLACES, B_COUT, B_NUM_UNITS, B_DISTRIBUTION, B_PROBA, B_REMAINDER, B_OUTPUT, NUM_BLOCK_FACTS,
) = range(17)  # fmt: skip

# Facts of a unit: how far its grown list reaches, whether it has a wider one, and
# how much further that reaches; then its halting branch.
(
    U_BLOCK, U_INDEX, U_COUT, U_HALO, U_WIDENS, U_MORE,
    U_HALTS, U_LOCAL_TAPS, U_GLOBAL_AT, U_GLOBAL_W, U_BIAS_AT, NUM_UNIT_FACTS,
) = range(12)  # fmt: skip

# Facts of a step: what it does, the list that says how many places, how many panels of
# channels; the lists that it reads and writes through; source and target, where they
# begin and numbers per place; what the numbers are that are multiplied, and those that
# are written; whether the source is first normalised into the thread's scratch; the
# normalisation and the activation after it; the convolution and the activation after it;
# for `POOL`, numbers between two rows and the first channel; how many rows above and
# below the target's map must become zero, with its border at the sides, what stands for
# zero there, and the map's size.
(
    T_OP, T_OVER, T_PANELS, T_FROM, T_TO, T_X_AT, T_X_STRIDE, T_Y_AT, T_Y_STRIDE,
    T_READS, T_WRITES, T_PACKS, T_SCALE, T_SHIFT, T_BEFORE,
    T_TAPS, T_TAP_STRIDE, T_DEPTH, T_W, T_B, T_M, T_CHANNELS, T_AFTER,
    T_BELOW, T_FRONT, T_BORDER, T_FILL, T_HEIGHT, T_WIDTH, NUM_STEP_FACTS,
) = range(30)  # fmt: skip

# A team's state between phases; then, for every list, how many places it has, and
# where it begins.
S_GOES_ON, S_CHANGED, S_CLOCK, S_COUNT = range(4)
S_LIST = S_COUNT + NUM_LISTS
NUM_STATES = S_LIST + NUM_LISTS


class Work(NamedTuple):
    """Everything that a thread reads and writes.

    The tables and results belong to all, ``scratch`` to one thread, the rest to
    the threads of a team.
    """

    net: np.ndarray  # [NUM_FACTS] int64
    blocks: np.ndarray  # [blocks, NUM_BLOCK_FACTS] int64
    units: np.ndarray  # [units, NUM_UNIT_FACTS] int64
    steps: np.ndarray  # [units * NUM_STEPS + 1, NUM_STEP_FACTS] int64; the head's comes last
    weights: np.ndarray  # float32; every activation three numbers: slope, cap and low
    images: np.ndarray  # [n, H, W, 3] float32
    shifts: np.ndarray  # [n, units] float32: what tau adds to the halting logits
    counts: np.ndarray  # [n, units, 2] int64: active places, and grown by one
    num_units: np.ndarray  # int32
    results: np.ndarray  # float32: logits, then what the blocks give
    floats: np.ndarray  # float32
    totals: np.ndarray  # float64: sum of the state over all positions
    places: np.ndarray  # int32
    marks: np.ndarray  # uint8
    state: np.ndarray  # int64
    seconds: np.ndarray  # int64, nanoseconds of every unit; two more for the clock
    scratch: np.ndarray  # float32
    # The same memory as uint16, bfloat16, or as uint8; None where all is of float32.
    narrow_weights: np.ndarray | None
    narrow: np.ndarray | None
    narrow_scratch: np.ndarray | None
    threads: int  # in the team
    me: int  # number of this one
    vectors: bool  # vector code, or plain loops
