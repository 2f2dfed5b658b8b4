"""What anybody would write in PyTorch: gather active positions, multiply, scatter.

Only the units after the first of a block are gathered, as in the masked engine: a
1x1 convolution is a product of the rows of active positions, a 3x3 one of nine such
rows side by side, and a depthwise one a sum of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sact_core.benchmark.sides.base import Built, Kind, Side, require_threads
from sact_core.benchmark.sides.pytorch import prepare
from sact_core.network import Block, Conv, HaltingBranch, Plan, Unit


def build(
    plan: Plan,
    params: Mapping[str, np.ndarray],
    x: np.ndarray,
    threads: int,
    taus: np.ndarray | None = None,
) -> Built:
    """The network with its later units gathered.

    Raises
    ------
    ValueError
        If PyTorch takes another number of threads, or the network is conditioned on tau.
    """
    import torch

    if taus is not None:
        raise ValueError("gathering in PyTorch knows no tau")
    torch.set_num_threads(threads)
    require_threads("PyTorch", torch.get_num_threads(), threads)
    network = gathering_network(plan, params)
    fed: dict[str, Any] = {}

    def feed(x: np.ndarray, taus: np.ndarray | None) -> None:
        fed["batch"] = torch.from_numpy(x).permute(0, 3, 1, 2)

    feed(x, taus)

    def run() -> np.ndarray:
        with torch.inference_mode():
            logits: np.ndarray = network(fed["batch"])[0].numpy()
        return logits

    (kind,) = {weight.dtype for weight in network.parameters()}
    return Built(run, str(kind).removeprefix("torch."), torch.get_num_threads(), feed)


def gathering_network(plan: Plan, params: Mapping[str, np.ndarray]) -> Any:
    """Make the dense backend's network with blocks that gather."""
    import torch
    import torch.nn.functional as F
    from torch import Tensor

    from sact_core.backends.dense import Network
    from sact_core.halting import halting_threshold

    class Gathering(Network):
        """A network whose later units are computed at active positions only."""

        def __init__(self) -> None:
            super().__init__(plan, params)
            self.eval()
            self.matrices: dict[str, Tensor] = {}

        def matrix(self, conv: Conv) -> Tensor:
            """A convolution's weights, as its gathered rows meet them."""
            if conv.name not in self.matrices:
                weight = torch.from_numpy(np.asarray(params[f"{conv.name}/weight"]))
                # [taps x in, out]; depthwise, where in is 1, [taps, out].
                self.matrices[conv.name] = weight.flatten(0, 2).contiguous()
            return self.matrices[conv.name]

        def product(self, conv: Conv, rows: Tensor) -> Tensor:
            """Convolve gathered rows [p, taps, in]; give [p, out]."""
            if conv.groups == 1:
                y = rows.flatten(1) @ self.matrix(conv)
            else:
                y = (rows * self.matrix(conv)).sum(1)
            if conv.bias:
                y = y + self._parameter(f"{conv.name}/bias")
            return y if conv.bn is None else self._bn(y, conv.bn)

        def residual(self, unit: Unit, x: Tensor, active: Tensor) -> Tensor:
            """Give a unit's residual at the active positions [p, out]; x is [n, h, w, c]."""
            first = unit.convs[0]
            before = unit.halos[0] + first.weight_shape[0] // 2
            at = positions(active, before)
            rows = x.flatten(0, 2)[at]
            if unit.preact is not None:
                rows = self._bn(rows, unit.preact)
            for conv, halo in zip(unit.convs, unit.halos, strict=True):
                wanted = at if conv.weight_shape[0] == 1 else positions(active, halo)
                rows = self.product(conv, around(rows, at, wanted, active.shape, conv))
                at = wanted
            return rows

        def scores(self, branch: HaltingBranch, x: Tensor, active: Tensor, at: Tensor) -> Tensor:
            """Give halting probabilities at the active positions [p]."""
            assert branch.local_bn is not None
            assert branch.local_conv is not None
            mean = x.mean((1, 2))[:, :, None, None]
            image = self._conv(self._bn(mean, branch.global_bn), branch.global_conv).flatten()
            near = positions(active, branch.local_conv.weight_shape[0] // 2)
            rows = self._bn(x.flatten(0, 2)[near], branch.local_bn)
            rows = around(rows, near, at, active.shape, branch.local_conv)
            local = self.product(branch.local_conv, rows)[:, 0]
            return torch.sigmoid(local + image[at // active[0].numel()])

        def _block(
            self, block: Block, x: Tensor, trace: Any, keep_seconds: bool, pieces: Tensor | None
        ) -> Tensor:
            first, *later = block.units
            preact = x if first.preact is None else self._bn(x, first.preact)
            shortcut, residual = self._unit(first, x, preact)
            x = residual if shortcut is None else shortcut + residual
            x = x.permute(0, 2, 3, 1).contiguous()  # [n, h, w, c]
            output = x.clone()
            threshold = float(halting_threshold(plan.config.eps))
            active = torch.ones(x.shape[:3], dtype=torch.bool)
            cumsum, left = torch.zeros(active.numel()), torch.ones(active.numel())
            at = torch.arange(active.numel())
            before = first
            for unit in later:
                assert before.halting is not None
                proba = self.scores(before.halting, x, active, at)
                cumsum[at] += proba
                goes_on = cumsum[at] < threshold
                left[at[goes_on]] -= proba[goes_on]
                active.view(-1)[at[~goes_on]] = False
                at = at[goes_on]
                if not len(at):
                    break
                residual = self.residual(unit, x, active)
                x.flatten(0, 2).index_add_(0, at, residual)
                output.flatten(0, 2).index_add_(0, at, residual * left[at, None])
                before = unit
            return output.permute(0, 3, 1, 2)

    def positions(active: Tensor, halo: int) -> Tensor:
        """Flat numbers of the positions within so many pixels of an active one."""
        if halo:
            grown = F.max_pool2d(active[:, None].float(), 2 * halo + 1, 1, halo)
            active = grown[:, 0] > 0
        return active.flatten().nonzero()[:, 0]

    def around(rows: Tensor, at: Tensor, wanted: Tensor, shape: Any, conv: Conv) -> Tensor:
        """Gather what a convolution reads at wanted positions [p, taps, c]; zeros outside."""
        side = conv.weight_shape[0]
        if side == 1:
            return rows[:, None] if at is wanted else rows[torch.searchsorted(at, wanted)][:, None]
        n, h, w = shape
        pad = side // 2
        wide = torch.zeros(n, h + 2 * pad, w + 2 * pad, rows.shape[1])
        wide.flatten(0, 2)[padded(at, h, w, pad, pad)] = rows
        taps = (torch.arange(side)[:, None] * (w + 2 * pad) + torch.arange(side)).flatten()
        return wide.flatten(0, 2)[padded(wanted, h, w, pad, 0)[:, None] + taps]

    def padded(at: Tensor, h: int, w: int, pad: int, shift: int) -> Tensor:
        """Numbers of positions in maps that are padded on every side, ``shift`` further in."""
        image, place = at // (h * w), at % (h * w)
        row, column = place // w + shift, place % w + shift
        return (image * (h + 2 * pad) + row) * (w + 2 * pad) + column

    return Gathering()


SIDE = Side(
    "gather",
    "PyTorch, gathered positions",
    Kind.SPARSE,
    build,
    packages=("torch",),
    prepare=prepare,
)
