"""Dense inference with the contract of every backend."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sact_core.backends.dense.network import BlockTrace, Network
from sact_core.flops import count_flops
from sact_core.network import Block, Conv, Plan
from sact_core.processes import MAX_THREADS
from sact_core.resources import cores, memory_sentence
from sact_core.result import BlockResult, Result


class Engine:
    """Dense inference on CPU or CUDA.

    Parameters
    ----------
    plan : Plan
        The network.
    params : mapping of str to np.ndarray
        Its parameters.
    device : str
        ``"cpu"``, ``"cuda"`` or any other torch device.
    num_threads : int, optional
        Threads of torch in this process; torch's own setting where left out, but no
        more than it may keep busy (`sact_core.resources.cores`).
        The caller's setting is put back after every call.

    Raises
    ------
    ValueError
        If the device is not to be had, or ``num_threads`` is out of range.
    """

    def __init__(
        self,
        plan: Plan,
        params: Mapping[str, np.ndarray],
        device: str = "cpu",
        num_threads: int | None = None,
    ) -> None:
        if num_threads is not None and not 1 <= num_threads <= MAX_THREADS:
            raise ValueError(f"num_threads must be from 1 to {MAX_THREADS}, got {num_threads!r}")
        self.plan = plan
        self.num_threads, self._cores = num_threads, cores()
        try:
            self.device = torch.device(device)
            self.network = Network(plan, params).to(self.device).eval()
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(f"device {device!r} is not to be had: {reason}") from None

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
        x : np.ndarray [shape=(n, h, w, 3), float32]
            Preprocessed images.
        keep_outputs : bool
            Keep each block's output.
        keep_seconds : bool
            Time each unit. On CUDA these are launch times only.
        taus : np.ndarray [shape=(n,), float64], optional
            Price of a unit for each image; given if and only if the network is
            conditioned on it.

        Returns
        -------
        Result

        Raises
        ------
        ValueError
            As `sact_core.taus.require_prices`.
        """
        before = torch.get_num_threads()
        torch.set_num_threads(self.num_threads or min(before, self._cores))
        try:
            return infer(self.network, x, keep_outputs, keep_seconds, taus)
        except RuntimeError as error:  # torch has no kind of its own for it
            told = memory_sentence(error)
            if told is None:
                raise
            raise MemoryError(str(error).split("\n")[0]) from None
        finally:
            torch.set_num_threads(before)


def infer(
    network: Network,
    x: np.ndarray,
    keep_outputs: bool = False,
    keep_seconds: bool = False,
    taus: np.ndarray | None = None,
) -> Result:
    """Run a batch, see `Engine.forward`; the network's mode and device are its own."""
    plan, size = network.plan, (x.shape[1], x.shape[2])
    device = next(network.parameters()).device
    with torch.inference_mode():
        batch = torch.from_numpy(np.ascontiguousarray(x)).to(device).permute(0, 3, 1, 2)
        tau = None if taus is None else torch.from_numpy(taus).to(device)
        logits, traces = network(batch, keep_outputs, keep_seconds, tau)
    positions = count_positions(plan, traces, len(x), size)
    counts = count_flops(plan, positions)
    blocks = tuple(
        _block_result(block, trace, counts.block(block.name))
        for block, trace in zip(plan.blocks, traces, strict=True)
    )
    return Result(_numpy(logits), counts.total, blocks, positions, size)


def _block_result(block: Block, trace: BlockTrace, flops: np.ndarray) -> BlockResult:
    seconds = tuple(trace.seconds) or None
    output = None if trace.output is None else _numpy(trace.output.permute(0, 2, 3, 1))
    if trace.num_units is None or trace.ponder_cost is None:
        return BlockResult(block.name, flops, trace.size, output=output, seconds=seconds)
    nothing = trace.ponder_cost.new_zeros((*trace.ponder_cost.shape, 0))
    probas = [
        torch.where(active, proba, torch.nan)
        for active, proba in zip(trace.actives, trace.probas, strict=False)
    ]
    return BlockResult(
        block.name,
        flops,
        trace.size,
        ponder_cost=_numpy(trace.ponder_cost),
        num_units=_numpy(trace.num_units),
        halting_distribution=_numpy(torch.stack(trace.weights, -1)),
        halting_proba=_numpy(torch.stack(probas, -1) if probas else nothing),
        output=output,
        seconds=seconds,
    )


def _numpy(value: Tensor) -> np.ndarray:
    return np.ascontiguousarray(value.cpu().numpy())


def count_positions(
    plan: Plan, traces: list[BlockTrace], n: int, input_size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Count the output positions that each convolution needed, per image.

    Parameters
    ----------
    plan : Plan
        The network.
    traces : list of BlockTrace
        What its blocks did.
    n : int
        Images in the batch.
    input_size : tuple of int
        Height and width of the network's input.

    Returns
    -------
    dict of str to np.ndarray [shape=(n,), int64]
        By convolution name; what `sact_core.flops.count_flops` takes.
    """
    ones = np.ones(n, np.int64)
    positions = {plan.logits.name: ones}
    size = plan.stem.output_size(input_size)
    positions[plan.stem.name] = ones * (size[0] * size[1])
    if plan.pool:
        size = (-(-size[0] // 2), -(-size[1] // 2))
    for block, trace in zip(plan.blocks, traces, strict=True):
        for u, unit in enumerate(block.units):
            ran = ones  # images that ran the unit: all but in ACT
            if plan.config.by_image:
                ran = trace.actives[u].cpu().numpy().astype(np.int64)
            halos = set(unit.halos) if unit.masked else ()
            grown = {halo: _count_grown(trace.actives[u], halo) for halo in halos}
            for conv, halo in zip(unit.convs, unit.halos, strict=True):
                size = conv.output_size(size)
                if unit.masked:
                    positions[conv.name] = grown[halo]
                else:
                    positions[conv.name] = ran * (size[0] * size[1])
            if isinstance(unit.shortcut, Conv):
                positions[unit.shortcut.name] = ran * (size[0] * size[1])
            if unit.halting is not None:
                positions[unit.halting.global_conv.name] = ran
                if unit.halting.local_conv is not None:
                    positions[unit.halting.local_conv.name] = positions[unit.convs[-1].name]
    if plan.head is not None:
        positions[plan.head.name] = ones * (size[0] * size[1])
    return positions


def _count_grown(active: Tensor, halo: int) -> np.ndarray:
    """Count the positions within ``halo`` pixels of an active one, per image."""
    mask = active[:, None].float()
    if halo:
        mask = F.max_pool2d(mask, 2 * halo + 1, 1, halo)
    counts: np.ndarray = mask.sum((1, 2, 3), dtype=torch.int64).cpu().numpy()
    return counts
