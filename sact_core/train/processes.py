"""The processes that train one network together, as ``torchrun`` starts them.

Each takes an equal share of every batch. Gradients and metrics are averaged
over all of them; the first one alone writes. With a single process nothing here
does anything.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Processes:
    """Number of this process, ``rank`` from 0, and of all, ``world``."""

    rank: int = 0
    world: int = 1

    @classmethod
    def from_environment(cls) -> Processes:
        """Read what ``torchrun`` says; a single process without it."""
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    @property
    def is_first(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def start(self, device: str) -> None:
        """Let the processes find each other: nccl between GPUs, gloo elsewhere."""
        if self.world > 1:
            from torch import distributed

            distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")

    def end(self) -> None:
        """Let them part."""
        if self.world > 1:
            from torch import distributed

            if distributed.is_initialized():
                distributed.destroy_process_group()

    def mean(self, values: Sequence[float], device: Any = "cpu") -> list[float]:
        """Average numbers over the processes."""
        if self.world == 1:
            return list(values)
        import torch

        together = torch.tensor(values, dtype=torch.float64, device=device)
        torch.distributed.all_reduce(together)
        return (together / self.world).tolist()

    def command(self, arguments: Sequence[str]) -> str:
        """What to type to start them with these arguments."""
        start = ["python", "-m"]
        if self.world > 1:
            start = ["torchrun", f"--nproc-per-node={self.world}", "-m"]
        return shlex.join([*start, "sact_core.train", *arguments])
