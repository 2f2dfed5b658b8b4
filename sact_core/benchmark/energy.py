"""Energy that processors took, where the system tells it (RAPL)."""

from __future__ import annotations

from pathlib import Path

#: Where Linux lists domains of energy: a package and, below it, its parts.
POWERCAP = Path("/sys/class/powercap")


class Meter:
    """Counts the energy of all processor packages from when it is made.

    Whatever else the machine does is in it. Often only root may read the counters.
    """

    def __init__(self) -> None:
        self._before = _read()

    def joules(self) -> float | None:
        """Energy so far; None where it cannot be read, or a counter went round."""
        after = _read()
        if not self._before or after.keys() != self._before.keys():
            return None
        spent = [after[name] - self._before[name] for name in after]
        return None if min(spent) < 0 else sum(spent) / 1e6


def _read() -> dict[str, int]:
    """Microjoules by package; empty where a counter cannot be read."""
    try:
        return {
            path.name: int((path / "energy_uj").read_text())
            for path in sorted(POWERCAP.glob("intel-rapl:*"))
            if path.name.count(":") == 1  # a package, not a part of one
        }
    except (OSError, ValueError):
        return {}
