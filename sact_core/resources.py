"""What of the machine this process may use: cores and memory; and that memory ran out.

A machine tells what it has; a container, a service or a shell may leave a process less.
Read are the cores that it may run on, the quotas and limits of its control groups, of
version 1 and 2, from its own up to the outermost that can be seen, and its ``ulimit``.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

#: Where the files of the system lie.
ROOT = Path("/")

#: What libraries say of memory that they do not get, in errors of other kinds.
_OUT_OF_MEMORY = re.compile(
    r"(can't|cannot) allocate memory|not enough memory|out of memory"
    r"|can't start new thread|failed to map segment",
    re.IGNORECASE,
)

#: What the system may give up to whoever asks, in KiB.
_AVAILABLE = re.compile(r"^MemAvailable: *(\d+) kB", re.MULTILINE)

#: Seconds for which groups with a limit are remembered; what they hold is read every time.
LIMITS_STAND = 10.0

_limited: tuple[float, list[Path]] | None = None

#: A limit beyond is none: version 1 writes "none" as a number of about this size.
NO_LIMIT = 1 << 60


def cores(root: Path | None = None) -> int:
    """Give the number of cores that this process may keep busy, at least one.

    A quota of time is counted in cores, rounded to the nearest: with more threads than
    that, a process stands still for the rest of every period.

    Parameters
    ----------
    root : Path, optional
        Where the files of the system lie.
    """
    root = root or ROOT
    try:
        found = len(os.sched_getaffinity(0))
    except AttributeError:  # no such call outside Linux
        found = os.cpu_count() or 1
    quotas = (_quota(group) for group in _groups(root, "cpu"))
    return max(1, int(min([found, *(quota + 0.5 for quota in quotas)])))


def available_memory(root: Path | None = None) -> int | None:
    """Give the bytes of memory that this process may still take; None where unknown.

    The least of what is free on the machine, in each of its control groups (what they
    hold of files can be given up), and below its ``ulimit``.

    Parameters
    ----------
    root : Path, optional
        Where the files of the system lie.
    """
    limited = _groups(root, "memory") if root else _limited_lately(time.monotonic())
    root = root or ROOT
    free = []
    told = _AVAILABLE.search(_text(root / "proc/meminfo"))
    if told is not None:
        free.append(1024 * int(told[1]))
    free += [left for group in limited for left in _left(group)]
    free += _below_ulimit(root)
    return max(min(free), 0) if free else None


def memory_sentence(error: BaseException) -> str | None:
    """Say that memory ran out, where that is what an error means; None where it is not.

    Parameters
    ----------
    error : BaseException
        NumPy's and Python's MemoryError; what torch, threads and the loader of
        libraries raise instead.
    """
    text = str(error).strip().split("\n")[0]
    if not isinstance(error, MemoryError):
        found = type(error).__name__ == "OutOfMemoryError" or (
            isinstance(error, RuntimeError | ImportError) and _OUT_OF_MEMORY.search(text)
        )
        if not found:
            return None
    detail = f" ({text[0].lower()}{text[1:]})" if text else ""
    return f"there is not enough memory{detail}; run fewer or smaller images at once"


def _quota(group: Path) -> float:
    """Cores that a group may keep busy."""
    words = _text(group / "cpu.max").split()  # version 2
    if not words:
        words = [_text(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    try:
        quota, period = map(int, words)
    except ValueError:  # "max", or no such file
        return float("inf")
    return quota / period if quota > 0 and period > 0 else float("inf")


def _left(group: Path) -> Iterator[int]:
    """Bytes that a group may still take, for each limit that it has."""
    held = _numbers(group / "memory.stat")
    files = sum(held.get(f"{name}_file", 0) for name in ("active", "inactive"))
    used = _number(group / "memory.current")
    # What version 2 calls "high" does not kill, but slows whoever is beyond.
    limits = [_number(group / f"memory.{name}") for name in ("max", "high")]
    if used is None:
        # Version 1: sums over a group and those in it; and the limit of all around it,
        # which a container cannot see itself.
        files = sum(held.get(f"total_{name}_file", 0) for name in ("active", "inactive"))
        used = _number(group / "memory.usage_in_bytes")
        limits = [_number(group / "memory.limit_in_bytes"), held.get("hierarchical_memory_limit")]
    for limit in limits:
        if limit is not None and used is not None and limit < NO_LIMIT:
            yield limit - max(used - files, 0)


def _limited_lately(now: float) -> list[Path]:
    """Groups that hold this process and have a limit of memory, as of some seconds ago.

    Most have none, and each takes some files to tell; this is asked before every run.
    """
    global _limited
    if _limited is None or now - _limited[0] > LIMITS_STAND:
        found = [group for group in _groups(ROOT, "memory") if list(_left(group))]
        _limited = now, found
    return _limited[1]


def _below_ulimit(root: Path) -> list[int]:
    """Bytes left of what the process may map, and of what it may hold of its own."""
    try:
        import resource
    except ImportError:  # not on this system
        return []
    limits = {
        name: resource.getrlimit(kind)[0]
        for kind, name in ((resource.RLIMIT_AS, "VmSize:"), (resource.RLIMIT_DATA, "VmData:"))
    }
    limits = {name: most for name, most in limits.items() if most != resource.RLIM_INFINITY}
    status = _numbers(root / "proc/self/status") if limits else {}
    return [most - 1024 * status[name] for name, most in limits.items() if name in status]


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the groups that hold this process, its own first, for one controller."""
    inside: dict[str, str] = {}  # by controller, "" being version 2
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = ([*line.split(":", 2), "", ""])[:3]
        inside |= dict.fromkeys(controllers.split(","), path)
    for line in _text(root / "proc/self/mountinfo").splitlines():
        where, _, kind = line.partition(" - ")
        words, kinds = where.split(), ([*kind.split(), "", "", ""])
        if len(words) < 5 or kinds[0] not in ("cgroup", "cgroup2"):
            continue
        name = "" if kinds[0] == "cgroup2" else controller
        if name not in inside or (name and name not in kinds[2].split(",")):
            continue
        top = root / _plain(words[4]).lstrip("/")
        yield from _up(top, _plain(words[3]), inside[name])


def _up(top: Path, mounted: str, path: str) -> Iterator[Path]:
    """Folders from a group's own up to that of the mount, which shows the tree from a group on."""
    inner = Path(path.lstrip("/"))
    outer = Path(mounted.lstrip("/"))
    if ".." in inner.parts or ".." in outer.parts or not inner.is_relative_to(outer):
        inner = outer  # as a container sees its own group where it does not know its name
    folder = top / inner.relative_to(outer)
    while True:
        if folder.is_dir():
            yield folder
        if folder == top:
            return
        folder = folder.parent


def _plain(text: str) -> str:
    """A path as mountinfo writes it: spaces and the like as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="surrogateescape")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _numbers(path: Path) -> dict[str, int]:
    """Read lines such as ``MemAvailable: 1024 kB``."""
    words = [line.split() for line in _text(path).splitlines()]
    return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdigit()}
