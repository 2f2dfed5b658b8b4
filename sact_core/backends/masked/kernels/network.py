"""The whole network, phase by phase, for the threads of a team.

Every thread of a team walks through all phases of an image. All decisions are
taken inside tasks; outside them a thread only looks for the next task.

Numba compiles a function anew into each of its callers, so the large ones are
called from one place only.
"""

from __future__ import annotations

from sact_core.backends.masked.kernels import conv, depthwise, ends, halting, products, steps, team
from sact_core.backends.masked.kernels import layout as at
from sact_core.backends.masked.kernels.cpu import FOREVER, ONE, ZERO, entry, kernel


@kernel
def phase_kind(phase, num_units):
    """What a phase does, and for which unit."""
    after = phase - at.FIRST_UNIT_PHASE
    if after < 0:
        return phase, ZERO
    if after >= num_units * at.NUM_UNIT_PHASES:
        return at.HEAD + after - num_units * at.NUM_UNIT_PHASES, num_units
    return at.STEP + after % at.NUM_UNIT_PHASES, after // at.NUM_UNIT_PHASES


@kernel
def has_products(kind, task):
    """Whether a task is a convolution (or what precedes or replaces one)."""
    if kind == at.BRANCH:
        return task > 0  # the first is the global branch
    if at.STEP <= kind < at.BRANCH:
        return True
    return kind == at.STEM or kind == at.HEAD or kind == at.LOGITS


@kernel
def run_other(work, records, phase, kind, u, image, task):
    """Do a task that is no convolution."""
    if kind == at.LOAD:
        ends.load_image(work, image)
        steps.open_stem(work, records)
    elif kind == at.OPEN:
        steps.open_unit(work, records, ZERO, image)
    elif kind == at.NEXT:
        steps.close_unit(work, u, image)
        if u + 1 < len(work.units):
            steps.open_unit(work, records, u + 1, image)
        else:
            steps.open_head(work, records)
    elif kind == at.BRANCH:
        halting.global_halting(work, u, image)
    elif kind == at.HALT:
        if work.net[at.KIND] == at.ACT:
            halting.halt_image(work, u, image)
        else:
            first = task * steps.HALT_ROWS
            rows = min(steps.HALT_ROWS, work.state[at.S_COUNT + at.ACTIVE] - first)
            halting.halt_listed(work, u, image, first, rows)
    else:
        columns = work.net[at.LAST_COUT] // 16
        tasks = records[team.record(phase, work.threads) + team.TASKS]
        for column in range(task * columns // tasks, (task + 1) * columns // tasks):
            ends.mean_features(work, 16 * column)


@kernel
def share(work, records, phase, kind, s, task):
    """What a task covers: positions in all, chunks from and to, panels from and to."""
    if kind == at.STEM:  # rows of the stem, not chunks
        first = task * at.POOL_ROWS
        count = min(at.POOL_ROWS, work.blocks[0, at.B_IN_HEIGHT] - first)
        begin, end = ends.stem_rows(work, first, count)
        return ZERO, begin, end, ZERO, -(-work.net[at.STEM_COUT] // at.WIDE)
    if kind == at.BRANCH:
        task -= 1
    total, panels = ONE, -(-work.net[at.CLASSES] // at.WIDE)
    if kind != at.LOGITS:
        total = work.state[at.S_COUNT + work.steps[s, at.T_OVER]]
        panels = work.steps[s, at.T_PANELS]
    place = team.record(phase, work.threads)
    groups, chunks = records[place + team.GROUPS], records[place + team.CHUNKS]
    group, first = task % groups, task // groups * chunks
    last = min(first + chunks, -(-total // at.CHUNK))
    return total, first, last, group * panels // groups, (group + 1) * panels // groups


@kernel
def prepare(work, kind, s, image, task, total, chunk):
    """Describe the convolution of one chunk, doing what it needs before."""
    if kind == at.STEM:
        begin, _ = ends.stem_rows(work, task * at.POOL_ROWS, ONE)
        return ends.stem(work, begin, chunk)
    if kind == at.LOGITS:
        return ends.logits(work, image)
    first = chunk * at.CHUNK
    return products.step(work, s, first, min(at.CHUNK, total - first))


@kernel
def multiply_narrow(work, weights, narrow, scratch, s, u, chunk, p, panel, last_panel):
    """Do the products of bfloat16 or bytes; nothing, and none compiled, where there are none."""
    if narrow is not None:
        op, writes = work.steps[s, at.T_OP], work.steps[s, at.T_WRITES]
        x = scratch if p.packed else narrow
        if op == at.ADD:
            conv.add_panels(
                work.vectors, work.scratch, p, products.residual_sum(work, u, chunk),
                panel, last_panel, x, weights, work.weights, work.places, work.floats,
            )  # fmt: skip
        elif op == at.DEPTHWISE:
            conv.store_depthwise(
                work.vectors, p, x, depthwise.weights_by_channel(weights, work.weights),
                work.weights, work.places, narrow,
            )  # fmt: skip
        elif p.rows > 0 and writes != at.FLOATS:
            conv.store_panels(
                work.vectors, work.scratch, p, panel, last_panel,
                x, weights, work.weights, work.places, narrow,
            )  # fmt: skip
        elif p.rows > 0:
            conv.store_panels(
                work.vectors, work.scratch, p, panel, last_panel,
                x, weights, work.weights, work.places, work.floats,
            )  # fmt: skip


@kernel
def run_products(work, records, phase, kind, u, image, task):
    """Do a task that is a convolution, chunk by chunk."""
    s = u * at.NUM_STEPS  # past the units: the head's
    if at.STEP <= kind <= at.BRANCH:
        s += kind - at.STEP
    op, reads = at.STORE, at.FLOATS
    if at.STEP <= kind <= at.BRANCH:
        op = work.steps[s, at.T_OP]
    if at.STEP <= kind <= at.BRANCH or kind == at.HEAD:
        reads = work.steps[s, at.T_READS]
    total, chunk, last_chunk, panel, last_panel = share(work, records, phase, kind, s, task)
    while chunk < last_chunk:
        p = prepare(work, kind, s, image, task, total, chunk)
        x = work.scratch if p.packed else work.floats
        if reads != at.FLOATS:
            multiply_narrow(
                work, work.narrow_weights, work.narrow, work.narrow_scratch,
                s, u, chunk, p, panel, last_panel,
            )  # fmt: skip
        elif op == at.ADD:
            add_to = products.residual_sum(work, u, chunk)
            conv.add_panels(
                work.vectors, work.scratch, p, add_to, panel, last_panel,
                x, work.weights, work.weights, work.places, work.floats,
            )  # fmt: skip
        elif op == at.DEPTHWISE:
            conv.store_depthwise(
                work.vectors, p, x, work.weights, work.weights, work.places, work.floats
            )
        elif p.rows > 0:
            y = work.floats
            if p.target == conv.TO_SCRATCH:
                y = work.scratch
            elif p.target == conv.TO_RESULTS:
                y = work.results
            conv.store_panels(
                work.vectors, work.scratch, p, panel, last_panel,
                x, work.weights, work.weights, work.places, y,
            )  # fmt: skip
        chunk += 1
    if kind == at.STEM and work.net[at.POOLS]:
        ends.pool_task(work, task)


@entry
def run_batch(own, shared, queue, own_records, records, num_alone, num_images):
    """Run a batch: the first images by one thread each, the others by all together.

    Parameters
    ----------
    own, shared : Work
        What this thread uses alone, and with the others.
    queue : np.ndarray [int64]
        The images that are run by one thread each, as tasks of one phase: a
        record of `team`.
    own_records : np.ndarray [shape=(1, …), int64]
        Records of this thread alone, one for each phase.
    records : np.ndarray [shape=(images together, …), int64]
        Records of the images that are run together.
    num_alone, num_images : int
        How many images are run by one thread each, and how many there are.
    """
    num_units = len(own.units)
    num_phases = at.FIRST_UNIT_PHASE + num_units * at.NUM_UNIT_PHASES + at.NUM_LAST_PHASES
    me, joint = shared.me, num_alone
    while True:
        image = team.claim(queue, ZERO, me, shared.threads, ZERO)
        if image >= 0:
            work, book = own, own_records[0]
            book[:] = 0
            book[team.TASKS] = 1  # the first phase; each opens the next
        else:
            if joint == num_alone:
                team.wait(queue, ZERO, shared.threads, FOREVER)
            if joint == num_images:
                break
            image, work, book = joint, shared, records[joint - num_alone]
            joint += 1
        for phase in range(num_phases):
            kind, u = phase_kind(phase, num_units)
            place = team.record(phase, work.threads)
            left, patience = 1, team.SHORT_PATIENCE
            while True:
                task, done = team.claim(book, place, me, work.threads, left), 0
                while task >= 0:
                    if has_products(kind, task):
                        run_products(work, book, phase, kind, u, image, task)
                    else:
                        run_other(work, book, phase, kind, u, image, task)
                    done += 1
                    task = team.claim(book, place, me, work.threads, left)
                team.finish(book, place, done, work.threads)
                if team.wait(book, place, work.threads, patience):
                    break
                left, patience = 0, FOREVER
        if image < num_alone:
            team.finish(queue, ZERO, ONE, shared.threads)
