"""Runs a plan: one compiled call for a whole batch.

It reads its input rows through lists of active positions, so nothing is gathered,
and stops a block as soon as nothing is active. This module lays the arrays out and
starts the threads; the loops are in `kernels`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sact_core.backends.masked.kernels import layout as at
from sact_core.backends.masked.kernels import team
from sact_core.backends.masked.kernels.cpu import INTERPRETED
from sact_core.backends.masked.kernels.network import run_batch
from sact_core.backends.masked.packing import (
    Packed,
    Sizes,
    lay_out,
    pack,
    plain_array,
)
from sact_core.backends.masked.results import Account, Outputs, read_results
from sact_core.backends.masked.shifts import Shifts
from sact_core.backends.masked.threads import pool, thread_count
from sact_core.backends.masked.weights import aligned, narrow_of
from sact_core.backends.precision import choose_precision
from sact_core.network import Plan
from sact_core.parameters import require_params
from sact_core.quantisation import Quantisation, require_scales
from sact_core.resources import cores
from sact_core.result import Result
from sact_core.taus import require_prices

#: What convolutions multiply, by precision.
KINDS = {"float32": at.FLOATS, "bfloat16": at.HALVES, "int8": at.BYTES}

#: A workspace up to this many bytes stays in a core's cache, or nearly: then a
#: thread runs an image by itself. Threads share larger images.
OWN_IMAGE_BYTES = 8 << 20


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
        BLAS and torch stay as they are. No more of them work than there are such cores.
    vectors : bool, optional
        Whether to use vector code, the default, or plain loops.
    precision : str, optional
        What convolutions of units and of the head multiply: ``"float32"``,
        ``"bfloat16"`` or ``"int8"``; ``SACT_PRECISION`` where left out, else float32. In
        the others what feeds them is rounded, and so are their weights; sums (in int8 once
        they are whole), the residual state, halting branches, the stem and the logits are
        of float32 as ever.
    quantisation : Quantisation, optional
        Scales of these parameters, without which there is no int8.

    Raises
    ------
    ValueError
        If a parameter is missing, unexpected or of the wrong shape (all are
        listed); if the number of threads is no whole number above 0; if the network
        has a part that this engine does not compute, or overflows in int8; as
        `sact_core.quantisation.require_scales` and
        `sact_core.backends.precision.choose_precision`.
    """

    def __init__(
        self,
        plan: Plan,
        params: Mapping[str, np.ndarray],
        num_threads: int | None = None,
        vectors: bool = True,
        precision: str | None = None,
        quantisation: Quantisation | None = None,
    ) -> None:
        require_params(plan, params)
        self.plan = plan
        self.num_threads = thread_count(num_threads)
        # More would wait for one another on the same cores, and use up a quota by it.
        self.team = min(self.num_threads, cores())
        self.vectors = vectors and not INTERPRETED
        self.precision = choose_precision(precision)
        scales = None
        if self.precision == "int8":
            scales = require_scales(plan, params, quantisation)
        self._packed = pack(plan, params, KINDS[self.precision], scales)
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
            Price of a unit for each image; given if and only if the network is
            conditioned on it.

        Returns
        -------
        Result
            Logits, FLOPs and what each block did.

        Raises
        ------
        ValueError
            As `sact_core.taus.require_prices`.
        """
        require_prices(self.plan.config, taus)
        with self._lock:
            x, size = plain_array(x), (x.shape[1], x.shape[2])
            if self._room is None or self._room.size != size:
                self._room = None  # give the old one up before the new one is made
                self._room = _Room(self.plan, self._packed, size, self.team)
            shifts = self._shifts.at(taus, len(x))
            return _run(self, self._room, x, shifts, keep_outputs, keep_seconds)


class _Room:
    """The arrays that one input size needs; kept from call to call."""

    def __init__(self, plan: Plan, packed: Packed, size: tuple[int, int], threads: int) -> None:
        self.size, self.kind = size, packed.kind
        self.account = Account(plan, size)
        self.sizes: Sizes = lay_out(plan, packed, size)
        small = 4 * self.sizes.floats <= OWN_IMAGE_BYTES
        self.own_images = small or threads == 1
        scratch = [aligned(self.sizes.scratch, np.float32) for _ in range(threads)]
        self.scratch: list[dict[str, Any]] = [
            {"scratch": each, "narrow_scratch": narrow_of(each, self.kind)} for each in scratch
        ]
        units = len(plan.units)
        self.shared = self._team(units) if threads > 1 else None
        self.own = [self._team(units) for _ in range(threads)] if self.own_images else []

    def _team(self, units: int) -> dict[str, Any]:
        sizes = self.sizes
        places = np.zeros(sizes.places, np.int32)
        iota, null = sizes.net[at.IOTA_LIST], sizes.net[at.NULL_LIST]
        places[iota:null] = np.arange(null - iota)
        floats = aligned(sizes.floats, np.float32)
        return {
            "floats": floats,
            "narrow": narrow_of(floats, self.kind),
            "totals": np.zeros(sizes.totals, np.float64),
            "places": places,
            "marks": np.zeros(sizes.marks, np.uint8),
            "state": np.zeros(at.NUM_STATES, np.int64),
            "seconds": np.zeros(units + 2, np.int64),
        }


def _run(
    engine: Engine,
    room: _Room,
    x: np.ndarray,
    shifts: np.ndarray,
    keep_outputs: bool,
    keep_seconds: bool,
) -> Result:
    plan, threads, n = engine.plan, engine.team, len(x)
    outputs = Outputs.make(plan, room.sizes, n, keep_outputs)
    net = room.sizes.net.copy()
    net[at.KEEP_OUTPUTS], net[at.KEEP_SECONDS] = keep_outputs, keep_seconds
    num_alone = n - n % threads if room.own_images else 0
    phases = at.FIRST_UNIT_PHASE + len(plan.units) * at.NUM_UNIT_PHASES + at.NUM_LAST_PHASES
    queue = np.zeros(team.CLAIMED + team.LINE * threads, np.int64)
    queue[team.TASKS] = num_alone
    together = np.zeros((n - num_alone, phases * len(queue)), np.int64)
    together[:, team.TASKS] = 1  # the first phase; each opens the next

    common: dict[str, Any] = {
        "net": net,
        "blocks": outputs.blocks,
        "units": engine._packed.units,
        "steps": room.sizes.steps,
        "weights": engine._packed.weights,
        "narrow_weights": engine._packed.narrow_weights,
        "images": x,
        "shifts": shifts,
        "vectors": engine.vectors,
        **outputs.arrays,
    }
    teams = [*room.own, *([room.shared] if room.shared is not None else [])]
    for each in teams:
        each["seconds"][:] = 0

    def task(thread: int) -> Callable[[], None]:
        scratch = room.scratch[thread]
        own = room.own[thread] if room.own else room.shared
        shared = room.shared if room.shared is not None else own
        assert own is not None
        assert shared is not None
        alone = at.Work(**common, **own, **scratch, threads=1, me=thread)
        joint = alone
        if threads > 1:
            joint = at.Work(**common, **shared, **scratch, threads=threads, me=thread)
        records = np.zeros((1, phases * (team.CLAIMED + team.LINE)), np.int64)
        return lambda: run_batch(alone, joint, queue, records, together, num_alone, n)

    # Nobody waits for the helpers: when the batch is done, all that is left for
    # one that comes late is to see that there is nothing to do.
    for thread in range(1, threads):
        pool(threads).submit(task(thread))
    task(0)()
    seconds = None
    if keep_seconds:
        seconds = np.zeros(len(plan.units))
        for each in teams:
            by_all = each is room.shared or num_alone == 0
            seconds += each["seconds"][:-2] / 1e9 / (1 if by_all else len(room.own))
    return read_results(
        plan, room.sizes, outputs, room.size, room.account, keep_outputs, seconds, engine.precision
    )
