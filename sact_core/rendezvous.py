"""How processes on one machine or several find one another, and notice that one is gone.

``torchrun`` says where the first machine is (``MASTER_ADDR``, ``MASTER_PORT``). Two things
it leaves open decide whether that is enough: from which of its addresses a process is
reached, which its machine's name need not tell; and what becomes of the others when a
machine dies without a word, for which the network would wait for hours.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import sys
import threading
import time
from typing import Any

#: Seconds that processes wait for one another at the start, between two signs of life, and
#: without one until a process counts as gone.
MEET, BEAT, GONE = 300, 3, 30

#: What torch's errors say of a connection that is no more.
_LOST = re.compile(r"gloo|connection (closed|reset|refused)|broken pipe|nccl", re.IGNORECASE)

#: Hours that a process may be at something that others wait for.
PATIENCE = 48


def prepare(everyone_is_here: bool) -> None:
    """Make sure that the first machine has a name that leads to it, and choose the way there.

    Parameters
    ----------
    everyone_is_here : bool
        Whether all processes are on this machine, which then needs no name.

    Raises
    ------
    ValueError
        If its name leads nowhere.
    """
    host, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
    try:
        socket.getaddrinfo(host, int(port))
    except (OSError, ValueError, UnicodeError):
        if not everyone_is_here or not port.isdigit():
            raise ValueError(
                f"the machine of the first process cannot be found at {host!r}, port {port!r}: "
                f"give torchrun its address, as in --master-addr 192.168.0.1 --master-port 29500"
            ) from None
        host = os.environ["MASTER_ADDR"] = "127.0.0.1"
    if "GLOO_SOCKET_IFNAME" not in os.environ:
        name = interface_towards(host, int(port))
        if name is not None:
            os.environ["GLOO_SOCKET_IFNAME"] = name


def interface_towards(host: str, port: int) -> str | None:
    """Name the network interface whose address leads to a machine; None where unknown.

    Parameters
    ----------
    host : str
        Name or address of the machine.
    port : int
        Any port; nothing is sent.
    """
    try:
        import fcntl

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
            way.connect((host, port))
            mine = way.getsockname()[0]
            for _, name in socket.if_nameindex():
                asked = struct.pack("256s", name.encode()[:15])
                with contextlib.suppress(OSError):  # it has no such address
                    told = fcntl.ioctl(way.fileno(), 0x8915, asked)  # Linux' SIOCGIFADDR
                    if socket.inet_ntoa(told[20:24]) == mine:
                        return name
    except (ImportError, OSError, AttributeError):  # not on this system; no way there
        pass
    return None


def is_lost(error: BaseException) -> bool:
    """Tell whether an error of torch says that the network or another process is gone."""
    return isinstance(error, RuntimeError) and _LOST.search(str(error)) is not None


class SignsOfLife:
    """A thread that tells the others every few seconds that this process is there.

    Where another one tells nothing for `GONE` seconds, though it has not said that it is
    done, or the first machine cannot be reached for as long, the process ends with one
    sentence and exit code 2: whatever it waits for in the network will not come.

    Parameters
    ----------
    rank, world : int
        Number of this process, and of all.
    """

    def __init__(self, rank: int, world: int) -> None:
        self._rank = rank
        self._done = threading.Event()
        now = time.monotonic()
        self._reached = now  # when the first machine answered last
        self._heard = dict.fromkeys((r for r in range(world) if r != rank), now)
        self._store = self._reach()
        self._threads = [
            threading.Thread(target=work, name="signs of life", daemon=True)
            for work in (self._tell, self._watch)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Say that this process is done, and look no more."""
        self._done.set()
        for thread in self._threads:
            thread.join(timeout=BEAT)

    def silent(self) -> list[int]:
        """Wait for two signs of life; name the processes that gave none and did not say goodbye."""
        time.sleep(BEAT + 1)  # the last that a process said before its end is still to be heard
        before = dict(self._heard)
        time.sleep(2 * BEAT + 1)
        return [rank for rank, since in list(self._heard.items()) if since == before[rank]]

    def _reach(self) -> Any:
        from datetime import timedelta

        from torch import distributed

        store: Any = distributed  # whose types leave it out
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        return store.TCPStore(host, port, is_master=False, timeout=timedelta(seconds=GONE))

    def _tell(self) -> None:
        """Tell, and hear what the others tell; each call may take as long as the network does."""
        last: dict[int, bytes] = {}
        beat, over = 0, False
        while not over:
            over = self._done.wait(BEAT)
            beat += 1
            with contextlib.suppress(RuntimeError):  # torch's errors of the network are such
                self._store.set(self._key(self._rank), "done" if over else str(beat))
                for rank in () if over else list(self._heard):
                    key = self._key(rank)
                    # What is not there would be waited for.
                    said = self._store.get(key) if self._store.check([key]) else b""
                    if said == b"done":
                        del self._heard[rank]
                    elif said != last.get(rank):
                        last[rank], self._heard[rank] = said, time.monotonic()
                self._reached = time.monotonic()

    def _watch(self) -> None:
        """End this process where one of the others, or the way to them, is gone."""
        while not self._done.wait(BEAT):
            if time.monotonic() - self._reached > GONE:
                self._give_up("the machine of the first process cannot be reached any more")
            for rank, since in list(self._heard.items()):
                if self._reached - since > GONE:
                    self._give_up(f"process {rank} has given no sign of life for {GONE} seconds")

    def _key(self, rank: int) -> str:
        return f"sact/alive/{rank}"

    def _give_up(self, why: str) -> None:
        who = f" (process {self._rank})" if self._rank else ""
        if self._done.is_set():
            return
        print(
            f"error{who}: {why}, so this one has ended too; start all again to go on",
            file=sys.stderr,
            flush=True,
        )
        os._exit(2)  # the others' part of a sum is waited for where no exception gets to
