"""The whole network, phase by phase, for the threads of a team.

Every thread of a team walks through all phases of an image. All decisions are
taken inside tasks; outside them a thread only looks for the next task.

Numba compiles a function anew into each of its callers, so the large ones are
called from one place only.
"""

from __future__ import annotations

from sact_core.backends.masked.kernels import conv, ends, halting, products, steps, team
from sact_core.backends.masked.kernels import layout as at
from sact_core.backends.masked.kernels.cpu import FOREVER, ONE, ZERO, entry, kernel


@kernel
def phase_kind(phase, num_units):
    """What a phase does, and for which unit."""
    after = phase - at.FIRST_UNIT_PHASE
    if after < 0:
        return phase, ZERO
    if after >= num_units * at.NUM_UNIT_PHASES:
        return at.MEAN + after - num_units * at.NUM_UNIT_PHASES, ZERO
    return at.PRE + after % at.NUM_UNIT_PHASES, after // at.NUM_UNIT_PHASES


@kernel
def has_products(kind, task):
    """Whether a task is a convolution (or what precedes or replaces one)."""
    if kind == at.LOCAL:
        return task > 0  # the first is the global branch
    return kind == at.STEM or kind == at.LOGITS or at.PRE <= kind <= at.CONV3


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
    elif kind == at.LOCAL:
        halting.global_halting(work, u, image)
    elif kind == at.HALT:
        if work.net[at.KIND] == at.ACT:
            halting.halt_image(work, u, image)
        else:
            first = task * steps.HALT_ROWS
            rows = min(steps.HALT_ROWS, work.state[at.S_ACTIVE] - first)
            halting.halt_listed(work, u, image, first, rows)
    else:
        columns = work.blocks[-1, at.B_COUT] // 16
        tasks = records[team.record(phase, work.threads) + team.TASKS]
        for column in range(task * columns // tasks, (task + 1) * columns // tasks):
            ends.mean_features(work, 16 * column)


@kernel
def extent(work, kind, u):
    """Positions and output channels of a phase's convolution."""
    total, channels = work.state[at.S_ACTIVE], work.units[u, at.U_COUT]
    if kind == at.LOGITS:
        return ONE, work.net[at.CLASSES]
    if kind == at.STEM:
        return total, work.net[at.STEM_COUT]
    if kind == at.PRE:
        return work.state[at.S_WIDER], ONE
    if kind == at.CONV1:
        return work.state[at.S_GROWN], work.units[u, at.U_MID]
    if kind == at.LOCAL:
        on_all = products.local_list(work, u) == work.net[at.ACTIVE_LIST]
        return total if on_all else work.state[at.S_GROWN], ONE
    if kind == at.CONV2 and work.net[at.BOTTLENECK]:
        return total, work.units[u, at.U_MID]
    return total, channels


@kernel
def share(work, records, phase, kind, u, task):
    """What a task covers: positions in all, chunks from and to, panels from and to."""
    if kind == at.STEM and work.net[at.BOTTLENECK]:  # rows of the stem, not chunks
        first = task * at.POOL_ROWS
        count = min(at.POOL_ROWS, work.blocks[0, at.B_IN_HEIGHT] - first)
        begin, end = ends.stem_rows(work, first, count)
        return ZERO, begin, end, ZERO, -(-work.net[at.STEM_COUT] // at.WIDE)
    if kind == at.LOCAL:
        task -= 1
    place = team.record(phase, work.threads)
    groups, chunks = records[place + team.GROUPS], records[place + team.CHUNKS]
    total, channels = extent(work, kind, u)
    panels = -(-channels // at.WIDE)
    group, first = task % groups, task // groups * chunks
    last = min(first + chunks, -(-total // at.CHUNK))
    return total, first, last, group * panels // groups, (group + 1) * panels // groups


@kernel
def prepare(work, kind, u, image, task, total, chunk):
    """Describe the convolution of one chunk, doing what it needs before."""
    first = chunk * at.CHUNK
    rows = min(at.CHUNK, total - first)
    if kind == at.STEM:
        if work.net[at.BOTTLENECK]:
            begin, _ = ends.stem_rows(work, task * at.POOL_ROWS, ONE)
            return ends.stem_of_bottleneck(work, begin, chunk)
        return ends.stem_of_basic(work, first, rows)
    if kind == at.PRE:
        products.preact(work, u, first, rows)
        return products.nothing()
    if kind == at.SHORTCUT:
        return products.shortcut(work, u, first, rows)
    if kind == at.CONV1:
        return products.conv1(work, u, first, rows)
    if kind == at.LOCAL:
        return products.local_halting(work, u, first, rows)
    if kind == at.LOGITS:
        return ends.logits(work, image)
    if kind == at.CONV2 and work.net[at.BOTTLENECK]:
        return products.conv2_of_bottleneck(work, u, first, rows)
    return products.last_conv(work, u, first, rows)


@kernel
def run_products(work, records, phase, kind, u, image, task):
    """Do a task that is a convolution, chunk by chunk."""
    total, chunk, last_chunk, panel, last_panel = share(work, records, phase, kind, u, task)
    while chunk < last_chunk:
        p = prepare(work, kind, u, image, task, total, chunk)
        x = work.scratch if p.packed else work.floats
        if adds(work, kind):
            s = products.residual_sum(work, u, chunk)
            conv.add_panels(
                work.vectors, work.scratch, p, s, panel, last_panel,
                x, work.weights, work.places, work.floats,
            )  # fmt: skip
        elif p.rows > 0:
            y = work.floats
            if p.target == conv.TO_SCRATCH:
                y = work.scratch
            elif p.target == conv.TO_RESULTS:
                y = work.results
            conv.store_panels(
                work.vectors, work.scratch, p, panel, last_panel, x, work.weights, work.places, y
            )
        chunk += 1
    if kind == at.STEM and work.net[at.BOTTLENECK]:
        ends.pool_task(work, task)


@kernel
def adds(work, kind):
    """Whether a phase's convolution is the last of its unit, which adds a residual."""
    return kind == (at.CONV3 if work.net[at.BOTTLENECK] else at.CONV2)


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
        for phase in range(at.FIRST_UNIT_PHASE + num_units * at.NUM_UNIT_PHASES + 2):
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
