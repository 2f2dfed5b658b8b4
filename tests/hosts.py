"""Two hosts for tests of several machines: network namespaces, joined by a cable."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.conftest import ROOT

_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Hosts:
    """The names of two network namespaces, and the address of each."""

    names: tuple[str, str]
    addresses: tuple[str, str]

    def start(
        self, module: str, argvs: tuple[list[str], list[str]], torchrun: bool = True
    ) -> list[subprocess.Popen[str]]:
        """Start a command on both, a process each.

        Parameters
        ----------
        module : str
            Such as ``sact_core.evaluate``, or the path of a script.
        argvs : pair of list of str
            Its flags on either host.
        torchrun : bool
            Under it; else as it starts a process itself, which loads torch half as often.
        """
        what = [module] if module.endswith(".py") else ["-m", module]
        port = "29511"
        starter = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
        starter += [f"--master-addr={self.addresses[0]}", f"--master-port={port}"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        if not torchrun:
            environment |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0"}
            environment |= {"MASTER_ADDR": self.addresses[0], "MASTER_PORT": port}
        return [
            subprocess.Popen(
                [
                    *("unshare", "--uts", "ip", "netns", "exec", self.names[node], "sh", "-c"),
                    'hostname "$0.invalid"; exec "$@"',  # as of a machine without a name
                    self.names[node],
                    sys.executable,
                    *([*starter, f"--node-rank={node}"] if torchrun else []),
                    *what,
                    *argv,
                ],
                cwd=ROOT,
                env=environment | ({} if torchrun else {"RANK": str(node)}),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for node, argv in enumerate(argvs)
        ]

    def cut(self) -> None:
        """Take the cable out: nobody is told."""
        _ip("-n", self.names[0], "link", "set", "cable", "down")

    def kill(self, node: int) -> None:
        """Kill every process of a host."""
        done = subprocess.run(
            ["ip", "netns", "pids", self.names[node]], check=True, capture_output=True, text=True
        )
        for number in done.stdout.split():
            os.kill(int(number), signal.SIGKILL)


@contextlib.contextmanager
def two_hosts() -> Iterator[Hosts]:
    """Make them, or skip the test where this machine does not let us."""
    number = f"{os.getpid()}-{next(_NUMBERS)}"
    names = (f"sact-a-{number}", f"sact-b-{number}")
    addresses = ("10.213.77.1", "10.213.77.2")
    try:
        for name in names:
            _ip("netns", "add", name)
        _ip("link", "add", "cable", "netns", names[0], "type", "veth",
            "peer", "name", "cable", "netns", names[1])  # fmt: skip
        for name, address in zip(names, addresses, strict=True):
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "cable")
            for link in ("lo", "cable"):
                _ip("-n", name, "link", "set", link, "up")
        subprocess.run(["unshare", "--uts", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        _remove(names)
        pytest.skip(f"network namespaces cannot be made here: {error}")
    try:
        yield Hosts(names, addresses)
    finally:
        _remove(names)


def _remove(names: tuple[str, str]) -> None:
    for name in names:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            _ip("netns", "del", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
