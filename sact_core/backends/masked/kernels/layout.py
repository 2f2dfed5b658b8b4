"""Where things lie: the columns of the tables that the kernels read.

A network reaches the kernels as one array of weights and three tables of whole
numbers: facts of the network, of every block and of every unit. An offset named
``…_AT`` counts from the start of the array that the name's group belongs to.

Feature maps lie in a team's ``floats`` as ``[h + 2][w + 2][channels]`` with a
border, channels padded with zeros to a multiple of 16. A *place* is a position's
number in such a padded map, ``(y + 1) * (w + 2) + x + 1``, so that one list of
places serves every map of a block.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sact_core.backends.masked.kernels.cpu import TILE_ROWS
from sact_core.backends.masked.kernels.cpu import WIDE as WIDE

#: Positions that are computed together, whole tiles. Column sums are kept per
#: chunk, so results do not depend on the number of threads.
CHUNK = 8 * TILE_ROWS

#: Rows of the pooled stem that are computed together.
POOL_ROWS = 4

#: Phases of an image before its units, of a unit, and of an image after them.
LOAD, STEM, OPEN = range(3)
PRE, SHORTCUT, CONV1, CONV2, CONV3, LOCAL, HALT, NEXT = range(3, 11)
MEAN, LOGITS = 11, 12
FIRST_UNIT_PHASE, NUM_UNIT_PHASES = PRE, NEXT - PRE + 1

# Halting kinds and shortcuts.
NONE, ACT, SACT = range(3)
IDENTITY, PREACT, POOL, CONV = range(4)

# Facts of the network. The first group: what it is; then the input's size; then
# offsets in `weights`; then offsets in `floats`; then in `places` and `marks`.
(
    BOTTLENECK, KIND, MEAN_FIRST, CLASSES, THRESHOLD_AT, KEEP_OUTPUTS, KEEP_SECONDS,
    HEIGHT, WIDTH, STEM_HEIGHT, STEM_WIDTH,
    STEM_W, STEM_B, STEM_COUT, ONES_AT, ZEROS_AT, POSTNORM_AT, POSTNORM_SLOPE_AT, LOGITS_W,
    LOGITS_B, IMAGE_AT, PREACT_AT, MID1_AT, MID2_AT, LOCAL_AT, LEFT_AT, CUMSUM_AT, SUMS_AT,
    FEATURES_AT, GLOBAL_AT, ACTIVE_LIST, GROWN_LIST, WIDER_LIST, SOURCE_LIST, IOTA_LIST, NULL_LIST,
    GROWN_MARKS, WIDER_MARKS, SPARE_MARKS,
    NUM_FACTS,
) = range(40)  # fmt: skip

# Facts of a block: its size, its input's, its units, offsets in `floats`, and
# offsets of its first image in the results.
(
    B_HEIGHT, B_WIDTH, B_IN_HEIGHT, B_IN_WIDTH, B_UNITS, B_IN_AT, B_X_AT, B_OUT_AT,
    B_PLACES, B_COUT, B_NUM_UNITS, B_DISTRIBUTION, B_PROBA, B_REMAINDER, B_OUTPUT, NUM_BLOCK_FACTS,
) = range(16)  # fmt: skip

# Facts of a unit. Channels come twice: as they are (shortcut's front) and padded.
(
    U_BLOCK, U_INDEX, U_STRIDE, U_PAD, U_CIN, U_MID, U_COUT, U_SHORTCUT, U_FRONT,
    U_PREACT_AT, U_PREACT_SLOPE_AT, U_W1, U_B1, U_SLOPE1_AT, U_W2, U_B2, U_SLOPE2_AT, U_W3, U_B3,
    U_SHORTCUT_W, U_SHORTCUT_B, U_HALTS, U_LOCAL_TAPS, U_LOCAL_AT, U_LOCAL_SLOPE_AT, U_LOCAL_W,
    U_GLOBAL_AT, U_GLOBAL_SLOPE_AT, U_GLOBAL_W, U_BIAS_AT, NUM_UNIT_FACTS,
) = range(31)  # fmt: skip

# A team's state between phases.
(
    S_ACTIVE, S_GROWN, S_WIDER, S_GROWN_LIST, S_WIDER_LIST, S_SOURCE_LIST, S_GOES_ON, S_CHANGED,
    S_CLOCK, NUM_STATES,
) = range(10)  # fmt: skip


class Work(NamedTuple):
    """Everything that a thread reads and writes.

    The tables and results belong to all, ``scratch`` to one thread, the rest to
    the threads of a team.
    """

    net: np.ndarray  # [NUM_FACTS] int64
    blocks: np.ndarray  # [blocks, NUM_BLOCK_FACTS] int64
    units: np.ndarray  # [units, NUM_UNIT_FACTS] int64
    weights: np.ndarray  # float32
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
    threads: int  # in the team
    me: int  # number of this one
    vectors: bool  # vector code, or plain loops
