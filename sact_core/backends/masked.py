"""Masked backend: pay for active positions only.

One compiled call runs a whole batch. It reads its input rows through lists of
active positions, so nothing is gathered, and stops a block as soon as nothing
is active. This module lays the arrays out, starts the threads and reads the
results; the loops are in `kernels`.

Source: Figurnov et al. 2017, arXiv:1612.02297, and the authors' published
networks.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from sact_core.backends.kernels import layout as at
from sact_core.backends.kernels import team
from sact_core.backends.kernels.cpu import INTERPRETED
from sact_core.backends.kernels.halting import halt_positions
from sact_core.backends.kernels.network import run_batch
from sact_core.backends.packing import Packed, Sizes, aligned, lay_out, pack
from sact_core.backends.shifts import Shifts
from sact_core.flops import count_flops
from sact_core.halting import Halting, check_halting_proba, halting_threshold
from sact_core.network import BlockResult, Plan, Result, require_params

#: A workspace up to this many bytes stays in a core's cache, or nearly: then a
#: thread runs an image by itself. Threads share larger images.
OWN_IMAGE_BYTES = 8 << 20

#: Numbers that a thread decides about, in `halt`, before it looks for more.
HALT_VALUES = 1 << 16


def halt(halting_proba: np.ndarray, eps: float = 0.01, num_threads: int | None = None) -> Halting:
    """Decide where each position stops; the contract of `sact_core.halting.halt`.

    Parameters
    ----------
    halting_proba : np.ndarray [shape=(..., units - 1), float32]
        Chance of stopping after each unit, in [0, 1].
    eps : float
        Halting slack, in [0, 1].
    num_threads : int, optional
        As in `Engine`.

    Raises
    ------
    ValueError
        As `sact_core.halting.halt`; if ``num_threads`` is below 1.
    """
    threshold = halting_threshold(eps)
    threads = thread_count(num_threads) if num_threads is not None else None
    proba = halting_proba
    if not isinstance(proba, np.ndarray) or proba.dtype != np.float32 or proba.ndim == 0:
        proba = check_halting_proba(proba)  # before rounding; float32 is checked on the way
    shape, units = proba.shape[:-1], proba.shape[-1] + 1
    flat = _plain_array(proba).reshape(math.prod(shape), units - 1)
    distribution = np.empty((len(flat), units), np.float32)
    num_units = np.empty(len(flat), np.int32)
    remainder = np.empty(len(flat), np.float32)
    share = max(1, HALT_VALUES // units)
    chunks = iter(range(0, len(flat), share))

    def run() -> int:
        """Do chunk after chunk, as long as there are any left."""
        num_bad = 0
        for first in chunks:
            last = min(first + share, len(flat))
            num_bad += halt_positions(
                flat, threshold, first, last, distribution, num_units, remainder
            )
        return num_bad

    helpers = []
    if len(flat) > 4 * share:
        threads = thread_count(None) if threads is None else threads
        helpers = [_pool(threads).submit(run) for _ in range(1, threads)]
    num_bad = run()
    num_bad += sum(helper.result() for helper in helpers if not helper.cancel())
    if num_bad:
        check_halting_proba(proba)  # says what is wrong
    return Halting(
        distribution.reshape(*shape, units), num_units.reshape(shape), remainder.reshape(shape)
    )


class Engine:
    """Runs a plan at active positions only.

    Parameters
    ----------
    plan : Plan
        The network.
    params : mapping of str to np.ndarray [float32]
        Every parameter of ``plan.param_shapes``.
    num_threads : int, optional
        Threads; ``SACT_NUM_THREADS`` where left out, else one for each core that
        the process may use. They are the engine's own: the settings of Numba,
        BLAS and torch stay as they are.
    vectors : bool, optional
        Whether to use vector code, the default, or plain loops.

    Raises
    ------
    ValueError
        If a parameter is missing, unexpected or of the wrong shape (all are
        listed); if the number of threads is no whole number above 0.
    """

    def __init__(
        self,
        plan: Plan,
        params: Mapping[str, np.ndarray],
        num_threads: int | None = None,
        vectors: bool = True,
    ) -> None:
        require_params(plan, params)
        self.plan = plan
        self.num_threads = thread_count(num_threads)
        self.vectors = vectors and not INTERPRETED
        self._packed = pack(plan, params)
        self._shifts = Shifts(plan, params)
        self._room: _Room | None = None
        self._lock = threading.Lock()

    def forward(
        self,
        x: np.ndarray,
        *,
        keep_outputs: bool = False,
        keep_seconds: bool = False,
        taus: np.ndarray | None = None,
    ) -> Result:
        """Run a batch.

        Parameters
        ----------
        x : np.ndarray [shape=(n, H, W, 3), float32]
            Preprocessed images.
        keep_outputs : bool
            Keep the output of every block.
        keep_seconds : bool
            Measure the time of every unit.
        taus : np.ndarray [shape=(n,), float64], optional
            Price of a unit for each image, where the network is conditioned on it;
            its default where left out.

        Returns
        -------
        Result
            Logits, FLOPs and what each block did.
        """
        with self._lock:
            x, size = _plain_array(x), (x.shape[1], x.shape[2])
            if self._room is None or self._room.size != size:
                self._room = None  # give the old one up before the new one is made
                self._room = _Room(self.plan, self._packed, size, self.num_threads)
            shifts = self._shifts.at(taus, len(x))
            return _run(self, self._room, x, shifts, keep_outputs, keep_seconds)


def thread_count(num_threads: int | None) -> int:
    """Threads to use: the argument, ``SACT_NUM_THREADS``, or one for each core.

    Raises
    ------
    ValueError
        If the number is no whole number above 0.
    """
    name, value = "num_threads", num_threads
    if num_threads is None:
        text = os.environ.get("SACT_NUM_THREADS", "")
        if not text.strip():
            try:
                value = len(os.sched_getaffinity(0))
            except AttributeError:  # no such call outside Linux
                value = os.cpu_count() or 1
        else:
            name, value = "SACT_NUM_THREADS", int(text) if text.strip().isdigit() else 0
            num_threads = text  # type: ignore[assignment]
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} must be a whole number above 0, got {num_threads!r}")
    return 1 if INTERPRETED else int(value)


def _plain_array(array: np.ndarray) -> np.ndarray:
    """The array, copied where Numba would compile anew for it (if read-only, say)."""
    if array.flags.carray and array.dtype == np.float32:
        return array
    return np.require(array, np.float32, ["C", "A", "W"])


class _Room:
    """The arrays that one input size needs; kept from call to call."""

    def __init__(self, plan: Plan, packed: Packed, size: tuple[int, int], threads: int) -> None:
        self.size = size
        self.sizes: Sizes = lay_out(plan, packed, size)
        small = 4 * self.sizes.floats <= OWN_IMAGE_BYTES
        self.own_images = small or threads == 1
        self.scratch = [aligned(self.sizes.scratch, np.float32) for _ in range(threads)]
        units = len(plan.units)
        self.shared = self._team(units) if threads > 1 else None
        self.own = [self._team(units) for _ in range(threads)] if self.own_images else []

    def _team(self, units: int) -> dict[str, Any]:
        sizes = self.sizes
        places = np.zeros(sizes.places, np.int32)
        iota, null = sizes.net[at.IOTA_LIST], sizes.net[at.NULL_LIST]
        places[iota:null] = np.arange(null - iota)
        return {
            "floats": aligned(sizes.floats, np.float32),
            "totals": np.zeros(sizes.totals, np.float64),
            "places": places,
            "marks": np.zeros(sizes.marks, np.uint8),
            "state": np.zeros(at.NUM_STATES, np.int64),
            "seconds": np.zeros(units + 2, np.int64),
        }


@dataclass(frozen=True)
class _Outputs:
    """Results of a batch, flat, block after block."""

    arrays: dict[str, np.ndarray]
    blocks: np.ndarray

    @classmethod
    def make(cls, plan: Plan, sizes: Sizes, n: int, keep_outputs: bool) -> _Outputs:
        blocks = sizes.blocks.copy()
        sact, vanilla = plan.config.halting == "sact", plan.config.halting == "none"
        floats, counts = n * int(sizes.net[at.CLASSES]), 0  # the logits come first
        nan = []
        for block in blocks:
            inside, units = int(block[at.B_HEIGHT] * block[at.B_WIDTH]), int(block[at.B_UNITS])
            places = 0 if vanilla else n * inside if sact else n
            block[at.B_NUM_UNITS] = counts
            counts += places
            block[at.B_DISTRIBUTION] = floats
            block[at.B_REMAINDER] = floats + places * units
            block[at.B_PROBA] = block[at.B_REMAINDER] + places
            block[at.B_OUTPUT] = block[at.B_PROBA] + places * (units - 1)
            nan.append(slice(int(block[at.B_PROBA]), int(block[at.B_OUTPUT])))
            kept = n * inside * int(block[at.B_COUT]) if keep_outputs else 0
            floats = int(block[at.B_OUTPUT]) + kept
        arrays: dict[str, np.ndarray] = {
            "counts": np.zeros((n, len(plan.units), 2), np.int64),
            "num_units": np.zeros(counts, np.int32),
            "results": np.zeros(floats, np.float32),
        }
        for probabilities in nan:
            arrays["results"][probabilities] = np.nan
        return cls(arrays, blocks)


def _run(
    engine: Engine,
    room: _Room,
    x: np.ndarray,
    shifts: np.ndarray,
    keep_outputs: bool,
    keep_seconds: bool,
) -> Result:
    plan, threads, n = engine.plan, engine.num_threads, len(x)
    outputs = _Outputs.make(plan, room.sizes, n, keep_outputs)
    net = room.sizes.net.copy()
    net[at.KEEP_OUTPUTS], net[at.KEEP_SECONDS] = keep_outputs, keep_seconds
    num_alone = n - n % threads if room.own_images else 0
    phases = at.FIRST_UNIT_PHASE + len(plan.units) * at.NUM_UNIT_PHASES + 2
    queue = np.zeros(team.CLAIMED + team.LINE * threads, np.int64)
    queue[team.TASKS] = num_alone
    together = np.zeros((n - num_alone, phases * len(queue)), np.int64)
    together[:, team.TASKS] = 1  # the first phase; each opens the next

    common: dict[str, Any] = {
        "net": net,
        "blocks": outputs.blocks,
        "units": engine._packed.units,
        "weights": engine._packed.weights,
        "images": x,
        "shifts": shifts,
        "vectors": engine.vectors,
        **outputs.arrays,
    }
    teams = [*room.own, *([room.shared] if room.shared is not None else [])]
    for each in teams:
        each["seconds"][:] = 0

    def task(thread: int) -> Callable[[], int]:
        scratch = room.scratch[thread]
        own = room.own[thread] if room.own else room.shared
        shared = room.shared if room.shared is not None else own
        assert own is not None
        assert shared is not None
        alone = at.Work(**common, **own, scratch=scratch, threads=1, me=thread)
        joint = at.Work(**common, **shared, scratch=scratch, threads=threads, me=thread)
        records = np.zeros((1, phases * (team.CLAIMED + team.LINE)), np.int64)
        return lambda: run_batch(alone, joint, queue, records, together, num_alone, n)

    # Nobody waits for the helpers: when the batch is done, all that is left for
    # one that comes late is to see that there is nothing to do.
    for thread in range(1, threads):
        _pool(threads).submit(task(thread))
    task(0)()
    return _result(engine, room, x, outputs, teams, num_alone, keep_outputs, keep_seconds)


def _result(
    engine: Engine,
    room: _Room,
    x: np.ndarray,
    outputs: _Outputs,
    teams: list[dict[str, np.ndarray]],
    num_alone: int,
    keep_outputs: bool,
    keep_seconds: bool,
) -> Result:
    """Read the flat results as blocks."""
    plan, n, size = engine.plan, len(x), room.size
    positions = _positions(plan, outputs.arrays["counts"], size)
    count = count_flops(plan, positions)
    flops = count.blocks
    seconds = np.zeros(len(plan.units))
    for each in teams:
        together = each is room.shared or num_alone == 0
        seconds += each["seconds"][:-2] / 1e9 / (1 if together else len(room.own))
    blocks, first = [], 0
    for block, facts in zip(plan.blocks, outputs.blocks, strict=True):
        units = len(block.units)
        fields: dict[str, Any] = {}
        if keep_seconds:
            fields["seconds"] = tuple(seconds[first : first + units].tolist())
        first += units
        height, width = int(facts[at.B_HEIGHT]), int(facts[at.B_WIDTH])
        if keep_outputs:
            channels = int(facts[at.B_COUT])
            begin = facts[at.B_OUTPUT]
            flat = outputs.arrays["results"][begin : begin + n * height * width * channels]
            whole = flat.reshape(n, height, width, channels)
            fields["output"] = np.ascontiguousarray(whole[..., : block.units[-1].out_channels])
        if plan.config.halting != "none":
            places = (n, height, width) if plan.config.halting == "sact" else (n,)
            fields |= _halting_fields(outputs, facts, places, units)
        blocks.append(
            BlockResult(name=block.name, flops=flops[block.name], size=(height, width), **fields)
        )
    classes = int(room.sizes.net[at.CLASSES])
    logits = outputs.arrays["results"][: n * classes].reshape(n, classes)
    logits = np.ascontiguousarray(logits[:, : plan.config.num_classes])
    return Result(logits, count.total, tuple(blocks), positions, size)


def _halting_fields(
    outputs: _Outputs, facts: np.ndarray, places: tuple[int, ...], units: int
) -> dict[str, np.ndarray]:
    total = int(np.prod(places))

    def cut(name: str, begin: int, columns: int) -> np.ndarray:
        return outputs.arrays[name][begin : begin + total * columns]

    num_units = cut("num_units", facts[at.B_NUM_UNITS], 1).reshape(places)
    remainder = cut("results", facts[at.B_REMAINDER], 1).reshape(places)
    distribution = cut("results", facts[at.B_DISTRIBUTION], units)
    proba = cut("results", facts[at.B_PROBA], units - 1)
    return {
        "ponder_cost": num_units.astype(np.float32) + remainder,
        "num_units": num_units,
        "halting_distribution": distribution.reshape(*places, units),
        "halting_proba": proba.reshape(*places, units - 1),
    }


def _positions(
    plan: Plan, counts: np.ndarray, input_size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Positions by convolution, from the lists' lengths [shape=(n, units, 2)]."""
    n, kind = len(counts), plan.config.halting
    ones = np.ones(n, np.int64)
    stem = plan.stem.output_size(input_size)
    positions = {plan.stem.name: ones * (stem[0] * stem[1])}
    for u, unit in enumerate(plan.units):
        active, grown = counts[:, u, 0], counts[:, u, 1]
        for i, conv in enumerate(unit.convs):
            positions[conv.name] = grown if i < unit.grown_convs else active
        if not isinstance(unit.shortcut, str):
            positions[unit.shortcut.name] = active
        if unit.halting is not None:
            if unit.halting.local_conv is not None:
                positions[unit.halting.local_conv.name] = active
            runs = (active > 0).astype(np.int64)
            positions[unit.halting.global_conv.name] = runs if kind == "act" else ones
    positions[plan.logits.name] = ones
    return positions


_POOLS: dict[int, ThreadPoolExecutor] = {}


def _pool(threads: int) -> ThreadPoolExecutor:
    """Helpers of this process; a child process that was forked off makes its own."""
    process = os.getpid()
    pool = _POOLS.get(process)
    if pool is None or pool._max_workers < threads - 1:
        pool = ThreadPoolExecutor(max(threads - 1, 1), thread_name_prefix="sact")
        _POOLS.clear()
        _POOLS[process] = pool
    return pool
