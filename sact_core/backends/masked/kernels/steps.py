"""What happens between phases: lists of places, and how many tasks come next.

All of it runs inside tasks of one, while nothing else runs.
"""

from __future__ import annotations

from sact_core.backends.masked.kernels import ends, places, products, team
from sact_core.backends.masked.kernels import layout as at
from sact_core.backends.masked.kernels.cpu import (
    EVERYTHING,
    NO_MARK,
    NOTHING,
    ONE,
    SIXTEEN,
    ZERO,
    kernel,
)

#: Tasks wanted for each thread of a team, so that none waits long at the end.
SHARES = 4

#: Positions that one halting task decides about.
HALT_ROWS = 512


@kernel
def open_stem(work, records):
    """Say how many tasks the stem has."""
    net, block = work.net, work.blocks[0]
    if net[at.BOTTLENECK]:
        tasks = -(-block[at.B_IN_HEIGHT] // at.POOL_ROWS)
        records[team.record(at.STEM, work.threads) + team.TASKS] = tasks
    else:
        height, width = net[at.HEIGHT], net[at.WIDTH]
        total = places.list_all(work.places, net[at.ACTIVE_LIST], height, width, ONE, height, width)
        work.state[at.S_ACTIVE] = total
        open_phase(work, records, at.STEM, total, ONE)
    records[team.record(at.OPEN, work.threads) + team.TASKS] = 1


@kernel
def open_unit(work, records, u, image):
    """List the positions of a unit, and say how many tasks its phases have."""
    net, state, unit = work.net, work.state, work.units[u]
    base = at.FIRST_UNIT_PHASE + u * at.NUM_UNIT_PHASES - at.PRE
    records[team.record(base + at.NEXT, work.threads) + team.TASKS] = 1
    if net[at.KEEP_SECONDS]:
        state[at.S_CLOCK] = team.nanoseconds(work.seconds[len(work.units) :])
    if unit[at.U_INDEX] == 0:
        begin_block(work, u)
    elif state[at.S_ACTIVE] > 0:
        go_on(work, u)
    active, grown = state[at.S_ACTIVE], state[at.S_GROWN]
    if active == 0:
        return
    work.counts[image, u, 0] = active
    work.counts[image, u, 1] = grown
    cout, mid = -(-unit[at.U_COUT] // at.WIDE), -(-unit[at.U_MID] // at.WIDE)
    if unit[at.U_INDEX] == 0:
        by_conv = unit[at.U_SHORTCUT] == at.CONV
        open_phase(work, records, base + at.SHORTCUT, active, cout if by_conv else ONE)
    open_phase(work, records, base + at.CONV1, grown, mid)
    if net[at.BOTTLENECK]:
        open_phase(work, records, base + at.CONV2, active, mid)
        open_phase(work, records, base + at.CONV3, active, cout)
    else:
        open_phase(work, records, base + at.PRE, state[at.S_WIDER], ONE)
        open_phase(work, records, base + at.CONV2, active, cout)
    if net[at.KIND] == at.NONE:
        return
    tasks = 1
    if net[at.KIND] == at.SACT:
        tasks = -(-active // HALT_ROWS)
    records[team.record(base + at.HALT, work.threads) + team.TASKS] = tasks
    if unit[at.U_HALTS]:
        if net[at.KIND] == at.SACT:
            on_grown = products.local_list(work, u) != net[at.ACTIVE_LIST]
            open_phase(work, records, base + at.LOCAL, grown if on_grown else active, ONE)
        records[team.record(base + at.LOCAL, work.threads) + team.TASKS] += 1  # the global branch


@kernel
def begin_block(work, u):
    """Lists and borders of a block's first unit, which runs everywhere."""
    net, state, unit = work.net, work.state, work.units[u]
    block = work.blocks[unit[at.U_BLOCK]]
    height, width = block[at.B_HEIGHT], block[at.B_WIDTH]
    in_height, in_width = block[at.B_IN_HEIGHT], block[at.B_IN_WIDTH]
    stride = unit[at.U_STRIDE]
    active_at, grown_at = net[at.ACTIVE_LIST], net[at.GROWN_LIST]
    active = places.list_all(work.places, active_at, height, width, ONE, height, width)
    everywhere = places.list_all(
        work.places, grown_at, in_height, in_width, ONE, in_height, in_width
    )
    state[at.S_ACTIVE] = active
    source_at = active_at
    if stride > 1:
        source_at = net[at.SOURCE_LIST]
        places.list_all(work.places, source_at, in_height, in_width, stride, height, width)
    state[at.S_SOURCE_LIST] = source_at
    if net[at.BOTTLENECK]:
        state[at.S_GROWN], state[at.S_GROWN_LIST] = everywhere, grown_at
        ends.zero_border(work.floats, net[at.MID1_AT], in_height, in_width, unit[at.U_MID], ONE)
    else:
        state[at.S_GROWN], state[at.S_GROWN_LIST] = active, active_at
        state[at.S_WIDER], state[at.S_WIDER_LIST] = everywhere, grown_at
        ends.zero_border(work.floats, net[at.PREACT_AT], in_height, in_width, unit[at.U_CIN], ONE)
        ends.zero_border(work.floats, net[at.MID1_AT], height, width, unit[at.U_MID], ONE)
    if net[at.KIND] == at.NONE:
        return
    num_places = block[at.B_PLACES]
    ends.fill(work.floats, net[at.LEFT_AT], num_places, EVERYTHING)
    ends.fill(work.floats, net[at.CUMSUM_AT], num_places, NOTHING)
    if net[at.KIND] == at.SACT:
        places.mark_all(work.marks, height, width)
        ends.fill(work.marks, net[at.GROWN_MARKS], num_places, NO_MARK)
        ends.zero_border(work.floats, net[at.LOCAL_AT], height, width, SIXTEEN, ONE)


@kernel
def go_on(work, u):
    """Lists and borders of a unit that is not the first of its block."""
    net, state, unit = work.net, work.state, work.units[u]
    block = work.blocks[unit[at.U_BLOCK]]
    height, width = block[at.B_HEIGHT], block[at.B_WIDTH]
    active_at, grown_at, wider_at = net[at.ACTIVE_LIST], net[at.GROWN_LIST], net[at.WIDER_LIST]
    if unit[at.U_INDEX] == 1:
        if net[at.BOTTLENECK]:
            ends.zero_border(work.floats, net[at.MID1_AT], height, width, unit[at.U_MID], ONE)
        else:
            ends.zero_border(work.floats, net[at.PREACT_AT], height, width, unit[at.U_CIN], ONE)
    if state[at.S_ACTIVE] == height * width:  # so are their neighbours
        state[at.S_GROWN], state[at.S_GROWN_LIST] = state[at.S_ACTIVE], active_at
        state[at.S_WIDER], state[at.S_WIDER_LIST] = state[at.S_ACTIVE], active_at
    elif state[at.S_CHANGED]:
        marks, spare = work.marks, net[at.SPARE_MARKS]
        places.grow(work.vectors, marks, ZERO, net[at.GROWN_MARKS], spare, height, width)
        state[at.S_GROWN] = places.list_marked(
            work.vectors, marks, net[at.GROWN_MARKS], work.places, grown_at, height, width
        )
        state[at.S_GROWN_LIST] = grown_at
        if not net[at.BOTTLENECK]:
            places.grow(
                work.vectors, marks, net[at.GROWN_MARKS], net[at.WIDER_MARKS], spare, height, width
            )
            state[at.S_WIDER] = places.list_marked(
                work.vectors, marks, net[at.WIDER_MARKS], work.places, wider_at, height, width
            )
            state[at.S_WIDER_LIST] = wider_at
    state[at.S_SOURCE_LIST] = active_at if net[at.BOTTLENECK] else state[at.S_GROWN_LIST]


@kernel
def close_unit(work, u, image):
    """Drop what has halted; keep what was asked for."""
    net, state, unit = work.net, work.state, work.units[u]
    if net[at.KIND] == at.SACT and state[at.S_ACTIVE] > 0:
        before = state[at.S_ACTIVE]
        active = places.keep_marked(work.places, net[at.ACTIVE_LIST], before, work.marks)
        state[at.S_ACTIVE], state[at.S_CHANGED] = active, active < before
    elif net[at.KIND] == at.ACT and state[at.S_GOES_ON] == 0:
        state[at.S_ACTIVE] = 0
    if unit[at.U_INDEX] == work.blocks[unit[at.U_BLOCK], at.B_UNITS] - 1 and net[at.KEEP_OUTPUTS]:
        ends.keep_output(work, unit[at.U_BLOCK], image)
    if net[at.KEEP_SECONDS]:
        now = team.nanoseconds(work.seconds[len(work.units) :])
        work.seconds[u] += now - state[at.S_CLOCK]


@kernel
def open_head(work, records):
    """Say how many tasks the means and the logits have."""
    first = at.FIRST_UNIT_PHASE + len(work.units) * at.NUM_UNIT_PHASES
    columns = work.blocks[-1, at.B_COUT] // 16
    tasks = 1 if work.threads == 1 else min(columns, SHARES * work.threads)
    records[team.record(first, work.threads) + team.TASKS] = tasks
    open_phase(work, records, first + 1, ONE, -(-work.net[at.CLASSES] // at.WIDE))


@kernel
def open_phase(work, records, phase, rows, panels):
    """Cut a phase of so many positions and panels of channels into tasks."""
    chunks = -(-rows // at.CHUNK)
    groups, share, wanted = 1, 1, SHARES * work.threads
    if work.threads == 1:
        share = chunks
    elif chunks < wanted:
        groups = min(panels, -(-wanted // chunks))
    else:
        share = chunks // wanted
    place = team.record(phase, work.threads)
    records[place + team.GROUPS] = groups
    records[place + team.CHUNKS] = share
    records[place + team.TASKS] = -(-chunks // share) * groups
