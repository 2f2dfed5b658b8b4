"""Networks of PyTorch: as they are, compiled, with frozen weights, in either number format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sact_core.benchmark.sides.base import Built, require_threads
from sact_core.network import Plan


def prepare(threads: int) -> None:
    """Load PyTorch."""
    import torch

    torch.set_num_threads(threads)


def build_network(
    plan: Plan,
    params: Mapping[str, np.ndarray],
    x: np.ndarray,
    threads: int,
    taus: np.ndarray | None = None,
    *,
    number_format: str = "float32",
    compiled: bool = False,
    frozen: bool = False,
) -> Built:
    """Build PyTorch's network alone, without the result that a backend makes of it.

    Parameters
    ----------
    plan, params, x, threads, taus
        As `sact_core.benchmark.sides.base.Build`.
    number_format : str
        Of weights, activations and everything else: ``"float32"`` or ``"bfloat16"``.
    compiled, frozen : bool
        By ``torch.compile``; with its weights frozen, so that they may be folded and
        repacked.

    Raises
    ------
    ValueError
        If PyTorch takes another number of threads.
    """
    import torch

    from sact_core.backends.dense import Network

    torch.set_num_threads(threads)
    require_threads("PyTorch", torch.get_num_threads(), threads)
    kind = {"float32": torch.float32, "bfloat16": torch.bfloat16}[number_format]
    module = Network(plan, params).eval().to(kind)
    network: Any = module
    if compiled:
        import torch._inductor.config as inductor

        inductor.freezing = frozen
        network = torch.compile(LogitsOf(network))
    fed: dict[str, Any] = {}

    def feed(x: np.ndarray, taus: np.ndarray | None) -> None:
        fed["batch"] = torch.from_numpy(x).permute(0, 3, 1, 2).to(kind)  # channels last in memory
        fed["told"] = {} if taus is None else {"tau": torch.from_numpy(taus)}

    feed(x, taus)

    def run() -> np.ndarray:
        with torch.inference_mode():
            found = network(fed["batch"], **fed["told"])
        logits: np.ndarray = (found if compiled else found[0]).numpy()
        return logits

    (weights,) = {weight.dtype for weight in module.parameters()}
    return Built(run, str(weights).removeprefix("torch."), torch.get_num_threads(), feed)


class LogitsOf:
    """A network that gives its logits only."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def __call__(self, batch: Any) -> Any:
        return self.network(batch)[0]
