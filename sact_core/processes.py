"""The processes that work together, as ``torchrun`` starts them.

In training each takes an equal share of every batch, and gradients and metrics
are averaged over all of them; in evaluation the batches are dealt out, and the
counts are collected; in an export the parts of the file are. The first one alone
joins and speaks. With a single process nothing here does anything.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sact_core.resources import cores
from sact_core.texts import shown

T = TypeVar("T")

#: Threads that a process may be asked to use: more than any machine has cores. Each takes
#: memory of its own before it does anything.
MAX_THREADS = 1024


class Agreed(ValueError):
    """What every process knows to be wrong, so that the first one alone says it."""


class Stopped(OSError):
    """Another process has stopped; it, or ``torchrun`` if it was killed, has said why."""


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

    @property
    def who(self) -> str:
        """What tells this process's words from the first one's, whose need nothing."""
        return "" if self.is_first else f" (process {self.rank})"

    def start(self, device: str) -> None:
        """Let the processes find each other: nccl for what is on GPUs, gloo elsewhere."""
        if self.world > 1:
            from torch import distributed

            on_gpus = device.startswith("cuda")
            distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo")

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

    def gather(self, values: Any) -> list[Any]:
        """Collect plain JSON values of all processes, in the order of their numbers.

        Raises
        ------
        Stopped
            If another process has stopped.
        """
        if self.world == 1:
            return [values]
        import torch
        from torch import distributed

        text = torch.tensor(list(json.dumps(values).encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world)]
        try:
            distributed.all_gather(lengths, torch.tensor([len(text)]))
            longest = max(int(length) for length in lengths)
            texts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.world)]
            distributed.all_gather(texts, torch.nn.functional.pad(text, (0, longest - len(text))))
        except RuntimeError:
            raise Stopped("another process has stopped") from None
        return [
            json.loads(bytes(text[: int(length)].tolist()))
            for text, length in zip(texts, lengths, strict=True)
        ]

    def wait(self) -> None:
        """Wait until all processes are here.

        Raises
        ------
        Stopped
            If another process has stopped.
        """
        self.gather(None)

    def agree(self, prepare: Callable[[], T]) -> T:
        """Let every process make ready; go on only if all of them can.

        Raises
        ------
        Agreed
            In all of them, if ``prepare`` raises ValueError or OSError in any.
        Stopped
            If another process has stopped.
        """
        made, problem = [], None
        try:
            made.append(prepare())
        except (ValueError, OSError) as error:
            problem = str(error)
        problems = [text for text in self.gather(problem) if text is not None]
        if problems:
            raise Agreed(problems[0])
        return made[0]

    @property
    def here(self) -> int:
        """How many of them are on this machine."""
        return 1 if self.world == 1 else int(os.environ.get("LOCAL_WORLD_SIZE", self.world))

    def num_threads(self) -> int | None:
        """Give this process its share of the machine's cores; None where it is alone."""
        if self.world == 1:
            return None
        return max(1, cores() // self.here)

    def command(self, name: str, arguments: Sequence[str]) -> str:
        """What to type to start a command of ``sact_core`` in them, with these arguments."""
        start = ["python", "-m"]
        if self.world > 1:
            start = ["torchrun", f"--nproc-per-node={self.world}", "-m"]
        return shown(shlex.join([*start, f"sact_core.{name}", *arguments]))
