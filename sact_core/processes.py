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

from sact_core import rendezvous
from sact_core.resources import cores
from sact_core.texts import shown, told

T = TypeVar("T")

#: That of this process, while it works together with others.
_ALIVE: list[rendezvous.SignsOfLife] = []

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
        """Let the processes find each other: nccl for what is on GPUs, gloo elsewhere.

        Raises
        ------
        ValueError
            If they do not, within `sact_core.rendezvous.MEET` seconds.
        """
        if self.world > 1:
            from datetime import timedelta

            from torch import distributed
            from torch.distributed.distributed_c10d import _set_pg_timeout

            rendezvous.prepare(self.here == self.world)
            on_gpus = device.startswith("cuda")
            kind = "cpu:gloo,cuda:nccl" if on_gpus else "gloo"
            try:
                distributed.init_process_group(kind, timeout=timedelta(seconds=rendezvous.MEET))
            except RuntimeError as error:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise ValueError(
                    f"the {self.world} processes do not find one another at "
                    f"{os.environ['MASTER_ADDR']}, port {os.environ['MASTER_PORT']} ({reason}): "
                    f"give torchrun an address of the first machine that all reach with "
                    f"--master-addr, a free port with --master-port, and name the network "
                    f"interface in GLOO_SOCKET_IFNAME where there are several"
                ) from None
            # From now on whoever is gone is noticed; others may take their time.
            _set_pg_timeout(timedelta(hours=rendezvous.PATIENCE))
            _ALIVE.append(rendezvous.SignsOfLife(self.rank, self.world))

    def killed(self) -> list[int]:
        """Name the others that are gone and have not said why, where one has stopped."""
        return _ALIVE[0].silent() if _ALIVE else []

    def end(self) -> None:
        """Let them part."""
        if self.world > 1:
            from torch import distributed

            while _ALIVE:
                _ALIVE.pop().end()
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

        text = torch.frombuffer(bytearray(json.dumps(values).encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world)]
        try:
            distributed.all_gather(lengths, torch.tensor([len(text)]))
            longest = max(int(length) for length in lengths)
            texts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.world)]
            distributed.all_gather(texts, torch.nn.functional.pad(text, (0, longest - len(text))))
        except RuntimeError:
            raise Stopped("another process has stopped") from None
        return [
            json.loads(text[: int(length)].numpy().tobytes())
            for text, length in zip(texts, lengths, strict=True)
        ]

    def hand_out(self, data: bytes | None) -> bytes | None:
        """Give everybody what the first process has: bytes, or nothing.

        Raises
        ------
        Stopped
            If another process has stopped.
        """
        if self.world == 1:
            return data
        import torch
        from torch import distributed

        length = torch.tensor([-1 if data is None else len(data)])
        try:
            distributed.broadcast(length, 0)
            if length < 0:
                return None
            held = bytearray(data) if self.is_first and data else bytearray(int(length))
            sent = torch.frombuffer(held, dtype=torch.uint8) if held else torch.empty(0)
            distributed.broadcast(sent, 0)
        except RuntimeError:
            raise Stopped("another process has stopped") from None
        return bytes(held)

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
            problem = told(error)
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
            start = ["torchrun", f"--nproc-per-node={self.here}"]
            if self.here == self.world:  # whose machine's name need not resolve then
                start.append("--local-addr=127.0.0.1")
            else:
                start += [f"--nnodes={self.world // self.here}"]
                for flag, variable in (
                    ("node-rank", "GROUP_RANK"),
                    ("master-addr", "MASTER_ADDR"),
                    ("master-port", "MASTER_PORT"),
                ):
                    start += [f"--{flag}={os.environ.get(variable, '')}"]
            start.append("-m")
        return shown(shlex.join([*start, f"sact_core.{name}", *arguments]))
