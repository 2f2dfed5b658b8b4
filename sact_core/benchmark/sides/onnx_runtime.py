"""ONNX Runtime on the network without halting, in float32: on CPUs it has no bfloat16."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sact_core.benchmark.sides.base import Built, Kind, Side, require_threads
from sact_core.network import Plan

PACKAGES = ("onnx", "onnxruntime")


def prepare(threads: int) -> None:
    """Load ONNX Runtime."""
    import onnxruntime

    onnxruntime.get_available_providers()


def build_session(
    plan: Plan,
    params: Mapping[str, np.ndarray],
    x: np.ndarray,
    threads: int,
    taus: np.ndarray | None = None,
    *,
    early_exit: bool = False,
) -> Built:
    """Open a session on the exported network.

    Raises
    ------
    ValueError
        If it takes another number of threads.
    """
    from sact_core.export_onnx import make_model

    model = make_model(plan, params, early_exit=early_exit)
    # It computes in what the graph says.
    return open_session(model.SerializeToString(), x, threads, "float32")


def open_session(model: bytes, x: np.ndarray, threads: int, number_format: str) -> Built:
    """Open a session on a model that computes in this number format.

    The number of threads is always said: by itself ONNX Runtime counts the cores of the
    machine, not those that it may use. Its workers sleep between runs, for other sides
    would have their turn beside them.

    Raises
    ------
    ValueError
        If it takes another number of threads.
    """
    import onnxruntime

    from sact_core.export_onnx import INPUT

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    before = _num_threads()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    # It tells no more than what it was told; so its workers are counted, where that can be.
    found = threads if before is None else 1 + (_num_threads() or 0) - before
    require_threads("ONNX Runtime", found, threads)
    batch: dict[str, np.ndarray] = {}

    def feed(x: np.ndarray, taus: np.ndarray | None) -> None:
        batch[INPUT] = np.ascontiguousarray(x.transpose(0, 3, 1, 2))  # [n, 3, h, w]

    feed(x, None)

    def run() -> np.ndarray:
        logits: np.ndarray = session.run(["logits"], batch)[0]
        return logits

    return Built(run, number_format, found, feed)


def _num_threads() -> int | None:
    """Threads of this process; None where the system does not list them."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else None


SIDE = Side(
    "onnxruntime",
    "ONNX Runtime",
    Kind.DENSE,
    build_session,
    packages=PACKAGES,
    prepare=prepare,
)
