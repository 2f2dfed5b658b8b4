"""Threads that share one image: claim a task, do it, wait for the rest.

The threads of a team run the same code. A *phase* is a set of tasks that may
run in any order; a record of numbers in shared memory says how many there are,
how many are claimed and how many are done. Whoever comes takes the next task,
so a thread that starts late, or lost its core, holds nobody up by more than the
task in its hands, and a thread that comes when all is done just leaves.

The number of tasks of a phase is written during an earlier phase and never
changed. That is what makes it safe to be late.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sact_core.backends.masked.kernels.cpu import INTERPRETED, kernel

# A phase's record: how its tasks are cut, how many are done, and how many each
# thread's share has given away; what threads write lies in cache lines of its own.
TASKS, GROUPS, CHUNKS, DONE, CLAIMED = 0, 1, 2, 8, 16
LINE = 8

#: Looks at a phase before a waiting thread begins to give its core away.
PATIENCE = 2000

#: Looks after which a thread takes the task that it had left to another.
SHORT_PATIENCE = np.int64(300)

_INT = ir.IntType(64)


def _shared(name: str, emit: Callable[[Any, Any, Any], Any], num_values: int) -> Callable[..., int]:
    """Make an operation on one element of a shared int64 array."""

    @intrinsic
    def load(typing, array, index):
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = context.make_array(array)(context, builder, args[0]).data
            return emit(builder, builder.gep(data, [args[1]]), None)

        return types.int64(array, types.int64), codegen

    @intrinsic
    def change(typing, array, index, value):
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = context.make_array(array)(context, builder, args[0]).data
            return emit(builder, builder.gep(data, [args[1]]), args[2])

        return types.int64(array, types.int64, types.int64), codegen

    operation = change if num_values else load
    operation.__doc__ = name
    return operation


if INTERPRETED:  # one thread only

    def shared_add(array: np.ndarray, index: int, value: int) -> int:
        """Add to a number and give what it was."""
        old = int(array[index])
        array[index] += value
        return old

    def shared_load(array: np.ndarray, index: int) -> int:
        """Read a number that another thread writes."""
        return int(array[index])

    def give_way() -> None:
        """Let another thread have the core."""

    def nanoseconds(clock: np.ndarray) -> int:
        """Read the clock."""
        return time.perf_counter_ns()

else:
    shared_add = _shared(
        "Add to a number and give what it was.",
        lambda builder, place, value: builder.atomic_rmw("add", place, value, "seq_cst"),
        1,
    )
    shared_load = _shared(
        "Read a number that another thread writes.",
        lambda builder, place, value: builder.load_atomic(place, "acquire", 8),
        0,
    )

    @intrinsic
    def give_way(typing):
        """Let another thread have the core."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            if os.name == "posix":
                kind = ir.FunctionType(ir.IntType(32), [])
                function = cgutils.get_or_insert_function(builder.module, kind, "sched_yield")
                builder.call(function, [])
            return context.get_dummy_value()

        return types.void(), codegen

    @intrinsic
    def nanoseconds(typing, clock):
        """Read the clock, through a buffer of two numbers; 0 where there is none."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            if os.name != "posix":
                return ir.Constant(_INT, 0)
            monotonic = 6 if sys.platform == "darwin" else 1
            data = context.make_array(clock)(context, builder, args[0]).data
            kind = ir.FunctionType(ir.IntType(32), [ir.IntType(32), _INT.as_pointer()])
            function = cgutils.get_or_insert_function(builder.module, kind, "clock_gettime")
            builder.call(function, [ir.IntType(32)(monotonic), data])
            seconds = builder.load(builder.gep(data, [_INT(0)]))
            rest = builder.load(builder.gep(data, [_INT(1)]))
            return builder.add(builder.mul(seconds, _INT(1_000_000_000)), rest)

        return types.int64(clock), codegen


@kernel
def record(phase, threads):
    """Where a phase's record begins, for a team of so many threads."""
    return phase * (CLAIMED + LINE * threads)


@kernel
def claim(records, place, me, threads, left):
    """Give the next task of the phase whose record is at ``place``; -1: none.

    Every thread has its own share of the tasks, neighbours in the image, which
    stay in its cache from phase to phase. Whoever has done his takes from others,
    but leaves them the last ``left``.
    """
    tasks = shared_load(records, place + TASKS)
    for turn in range(threads):
        whose = (me + turn) % threads
        first, last = whose * tasks // threads, (whose + 1) * tasks // threads
        taken = place + CLAIMED + LINE * whose
        if threads == 1:
            task = first + records[taken]
            records[taken] += 1
        elif shared_load(records, taken) < last - first - (left if turn else 0):
            task = first + shared_add(records, taken, 1)
        else:
            continue
        if task < last:
            return task
    return -1


@kernel
def finish(records, place, tasks, threads):
    """Report so many tasks done: once, for every report takes a line from the others."""
    if threads > 1 and tasks > 0:
        shared_add(records, place + DONE, tasks)


@kernel
def wait(records, place, threads, patience):
    """Wait until every task of a phase is done; give up after so many looks.

    Returns
    -------
    bool
        Whether all is done.
    """
    looks = 0
    while threads > 1 and shared_load(records, place + DONE) < shared_load(records, place + TASKS):
        looks += 1
        if looks > patience:
            return False
        if looks > PATIENCE:
            give_way()
    return True
