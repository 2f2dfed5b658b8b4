"""What happens between phases: lists of places, and how many tasks come next.

All of it runs inside tasks of one, while nothing else runs.
"""

from __future__ import annotations

from sact_core.backends.masked.kernels import ends, places, team
from sact_core.backends.masked.kernels import layout as at
from sact_core.backends.masked.kernels.cpu import (
    EVERYTHING,
    NO_MARK,
    NOTHING,
    ONE,
    ZERO,
    kernel,
    stay_apart,
)

#: Tasks wanted for each thread of a team, so that none waits long at the end.
SHARES = 4

#: Positions that one halting task decides about.
HALT_ROWS = 512


@kernel
def open_stem(work, records):
    """Say how many tasks the stem has: rows of the first map."""
    tasks = -(-work.blocks[0, at.B_IN_HEIGHT] // at.POOL_ROWS)
    records[team.record(at.STEM, work.threads) + team.TASKS] = tasks
    records[team.record(at.OPEN, work.threads) + team.TASKS] = 1


@kernel
def open_unit(work, records, u, image):
    """List the positions of a unit, and say how many tasks its phases have."""
    net, state, unit, steps = work.net, work.state, work.units[u], work.steps
    base = at.FIRST_UNIT_PHASE + u * at.NUM_UNIT_PHASES - at.STEP
    records[team.record(base + at.NEXT, work.threads) + team.TASKS] = 1
    if net[at.KEEP_SECONDS]:
        state[at.S_CLOCK] = team.nanoseconds(work.seconds[len(work.units) :])
    if unit[at.U_INDEX] == 0:
        begin_block(work, u)
    elif state[at.S_COUNT + at.ACTIVE] > 0:
        go_on(work, u)
    active = state[at.S_COUNT + at.ACTIVE]
    if active == 0:
        return
    work.counts[image, u, 0] = active
    work.counts[image, u, 1] = state[at.S_COUNT + at.GROWN]
    for i in range(at.NUM_STEPS):
        s = u * at.NUM_STEPS + i
        if steps[s, at.T_OP] == at.NOTHING:
            continue
        if steps[s, at.T_BORDER]:
            clear_border(work, s)
        rows = state[at.S_COUNT + steps[s, at.T_OVER]]
        open_phase(work, records, base + at.STEP + i, rows, steps[s, at.T_PANELS])
    if net[at.KIND] == at.NONE:
        return
    tasks = 1
    if net[at.KIND] == at.SACT:
        tasks = -(-active // HALT_ROWS)
    records[team.record(base + at.HALT, work.threads) + team.TASKS] = tasks
    if unit[at.U_HALTS]:
        records[team.record(base + at.BRANCH, work.threads) + team.TASKS] += 1  # the global branch


@kernel
def clear_border(work, s):
    """Set what surrounds a step's target to what stands for zero there."""
    if work.steps[s, at.T_WRITES] == at.FLOATS:
        clear_border_of(work.floats, work, s)
    else:
        clear_narrow_border(work.narrow, work, s)


@kernel
def clear_narrow_border(narrow, work, s):
    """The same where there are narrower numbers than float32, which are not always there."""
    if narrow is not None:
        clear_border_of(narrow, work, s)


@kernel
def clear_border_of(array, work, s):
    """Fill what surrounds a map of an array, rows above and below one at a time."""
    stay_apart()
    steps = work.steps
    height, width = steps[s, at.T_HEIGHT], steps[s, at.T_WIDTH]
    channels, value = steps[s, at.T_Y_STRIDE], steps[s, at.T_FILL]
    for more in range(steps[s, at.T_BORDER]):
        start = steps[s, at.T_Y_AT] - more * (width + 2) * channels
        ends.fill_border(array, start, height + 2 * more, width, channels, ONE, value)


@kernel
def set_list(work, which, start, count):
    """Say where a list begins, and how many places it has."""
    work.state[at.S_LIST + which], work.state[at.S_COUNT + which] = start, count


@kernel
def begin_block(work, u):
    """Lists of a block's first unit, which runs everywhere."""
    net, unit = work.net, work.units[u]
    block = work.blocks[unit[at.U_BLOCK]]
    height, width = block[at.B_HEIGHT], block[at.B_WIDTH]
    in_height, in_width = block[at.B_IN_HEIGHT], block[at.B_IN_WIDTH]
    active_at, grown_at, source_at = net[at.ACTIVE_LIST], net[at.GROWN_LIST], net[at.SOURCE_LIST]
    active = places.list_all(work.places, active_at, height, width, ONE, height, width)
    everywhere = places.list_all(
        work.places, grown_at, in_height, in_width, ONE, in_height, in_width
    )
    set_list(work, at.ACTIVE, active_at, active)
    set_list(work, at.BESIDE, net[at.IOTA_LIST], active)
    set_list(work, at.SOURCE, active_at, active)
    if block[at.B_STRIDE] > 1:
        places.list_all(
            work.places, source_at, in_height, in_width, block[at.B_STRIDE], height, width
        )
        set_list(work, at.SOURCE, source_at, active)
    # The widest list is of the input's places; what lies between has the output's.
    set_list(work, at.GROWN, grown_at, everywhere)
    if unit[at.U_WIDENS]:
        set_list(work, at.WIDER, grown_at, everywhere)
        set_list(work, at.GROWN, active_at, active)
    if net[at.KIND] == at.NONE:
        return
    num_places = block[at.B_PLACES]
    ends.fill(work.floats, net[at.LEFT_AT], num_places, EVERYTHING)
    ends.fill(work.floats, net[at.CUMSUM_AT], num_places, NOTHING)
    if net[at.KIND] == at.SACT:
        places.mark_all(work.marks, height, width)
        ends.fill(work.marks, net[at.GROWN_MARKS], num_places, NO_MARK)


@kernel
def go_on(work, u):
    """Lists of a unit that is not the first of its block."""
    net, state, unit = work.net, work.state, work.units[u]
    block = work.blocks[unit[at.U_BLOCK]]
    height, width = block[at.B_HEIGHT], block[at.B_WIDTH]
    active = state[at.S_COUNT + at.ACTIVE]
    if active == height * width:  # so are their neighbours
        set_list(work, at.GROWN, net[at.ACTIVE_LIST], active)
        set_list(work, at.WIDER, net[at.ACTIVE_LIST], active)
    elif state[at.S_CHANGED]:
        source, target, start, halo = ZERO, net[at.GROWN_MARKS], net[at.GROWN_LIST], at.U_HALO
        for which in range(at.GROWN, at.GROWN + 1 + unit[at.U_WIDENS]):
            for _ in range(unit[halo]):
                places.grow(
                    work.vectors, work.marks, source, target, net[at.SPARE_MARKS], height, width
                )
                source = target
            count = places.list_marked(
                work.vectors, work.marks, source, work.places, start, height, width
            )
            set_list(work, which, start, count)
            target, start, halo = net[at.WIDER_MARKS], net[at.WIDER_LIST], at.U_MORE


@kernel
def close_unit(work, u, image):
    """Drop what has halted; keep what was asked for."""
    net, state, unit = work.net, work.state, work.units[u]
    active = at.S_COUNT + at.ACTIVE
    if net[at.KIND] == at.SACT and state[active] > 0:
        block = work.blocks[unit[at.U_BLOCK]]
        before, left = state[active], ZERO  # after the last unit everybody has halted
        if unit[at.U_HALTS]:
            left = places.num_marked(work.marks, block[at.B_HEIGHT], block[at.B_WIDTH])
        if 0 < left < before:
            places.keep_marked(work.places, net[at.ACTIVE_LIST], before, work.marks)
        state[active], state[at.S_CHANGED] = left, left < before
    elif net[at.KIND] == at.ACT and state[at.S_GOES_ON] == 0:
        state[active] = 0
    if unit[at.U_INDEX] == work.blocks[unit[at.U_BLOCK], at.B_UNITS] - 1 and net[at.KEEP_OUTPUTS]:
        ends.keep_output(work, unit[at.U_BLOCK], image)
    if net[at.KEEP_SECONDS]:
        now = team.nanoseconds(work.seconds[len(work.units) :])
        work.seconds[u] += now - state[at.S_CLOCK]


@kernel
def open_head(work, records):
    """Say how many tasks the head, the means and the logits have."""
    first = at.FIRST_UNIT_PHASE + len(work.units) * at.NUM_UNIT_PHASES
    head, block = work.steps[-1], work.blocks[-1]
    if head[at.T_OP] != at.NOTHING:
        height, width, start = block[at.B_HEIGHT], block[at.B_WIDTH], work.net[at.ACTIVE_LIST]
        count = places.list_all(work.places, start, height, width, ONE, height, width)
        set_list(work, at.ACTIVE, start, count)
        open_phase(work, records, first, count, head[at.T_PANELS])
    columns = work.net[at.LAST_COUT] // 16
    tasks = 1 if work.threads == 1 else min(columns, SHARES * work.threads)
    records[team.record(first + 1, work.threads) + team.TASKS] = tasks
    open_phase(work, records, first + 2, ONE, -(-work.net[at.CLASSES] // at.WIDE))


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
