"""What a figure draws of what was found, whoever draws it: groups, names, shades, curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sact_core.viewer import colour_stops

Found = Mapping[str, Any]

#: Networks that halt in no way, which have no tau and no cost to tell of.
NEVER = "never halts"
#: Images that a point of a reliability diagram stands for at least, and of few images how many.
LEAST_IN_BIN, LEAST_OF_FEW = 20, 3
#: Shares of the colour map within which lines are told from light and dark paper.
_FROM, _TO = 0.28, 0.88
#: Scores that errors are found by, as figures call them.
SCORES = {"ponder_cost": "by cost", "unsure": "by confidence", "both": "by both"}


@dataclass(frozen=True)
class Group:
    """Networks that are drawn together: one at several taus, or all that never halt.

    Attributes
    ----------
    name : str
    entries : list of dict
        Of `sact_core.doubt.findings.find`, with ``network``, ``file`` and ``tau``; tau rising.
    labels : list of str
        Tell them apart.
    """

    name: str
    entries: list[Found]
    labels: list[str]

    @property
    def colours(self) -> list[str]:
        """A shade for each of them, the lowest tau darkest."""
        return shades(len(self.entries))

    @property
    def measure(self) -> str:
        """What is set against people's doubt: ``ponder_cost``, or else ``network_entropy``."""
        return "network_entropy" if self.name == NEVER else "ponder_cost"


def groups(found: Sequence[Found]) -> list[Group]:
    """Put networks together that differ in tau alone, and those that never halt."""
    together: dict[str, list[Found]] = {}
    for one in found:
        halts = "ponder_cost" in one["correlations"]
        name = str(one["network"]).removesuffix(" any tau") + (
            " for any tau" if str(one["network"]).endswith(" any tau") else ""
        )
        together.setdefault(name if halts else NEVER, []).append(one)
    made = []
    for name, entries in sorted(together.items(), key=lambda pair: pair[0] == NEVER):
        entries = sorted(entries, key=lambda one: one["tau"] or 0.0)
        labels = [_label(one) for one in entries]
        often = Counter(labels)
        labels = [
            f"{label} ({one['file']})" if often[label] > 1 else label
            for label, one in zip(labels, entries, strict=True)
        ]
        made.append(Group(name, entries, labels))
    return made


def shades(count: int) -> list[str]:
    """Colours from dark to light, seen on light and on dark paper; one is blue."""
    if count == 1:
        return ["#0072b2"]
    stops = colour_stops("viridis")
    places = [_FROM + (_TO - _FROM) * i / (count - 1) for i in range(count)]
    return [stops[round(place * (len(stops) - 1))] for place in places]


def by_people(one: Found, measure: str) -> tuple[list[float], list[list[float]], list[int]]:
    """Means over groups of people's entropy, over the network's own mean.

    Returns
    -------
    x : list of float
        Mean entropy of people's answers in each group, in bits.
    curves : list of three lists of float
        Mean, low and high of the measure.
    counts : list of int
        Images of each group.
    """
    parts = one["by_people"]
    counts = [part["images"] for part in parts]
    mean = sum(part["images"] * part[measure][0] for part in parts) / sum(counts) or 1.0
    curves = [[part[measure][k] / mean for part in parts] for k in range(3)]
    return [part["people_entropy"][0] for part in parts], curves, counts


def calibration(one: Found, fifths: bool = True) -> dict[str, list[Mapping[str, float]]]:
    """Bins of reliability diagrams by what images they are of, few images left out.

    These are the cheapest and the dearest fifth, unless that is not wanted or nothing halts.
    """
    errors = one["errors"]
    curves = {"all images": errors["reliability"]}
    if fifths and "by_cost" in errors:
        parts = errors["by_cost"]
        curves = {"cheapest fifth": parts[0]["reliability"]}
        curves["dearest fifth"] = parts[-1]["reliability"]
    found = {}
    for name, bins in curves.items():
        total = sum(int(each["count"]) for each in bins)
        least = max(LEAST_OF_FEW, min(LEAST_IN_BIN, total // 25))
        found[name] = [each for each in bins if each["count"] >= least] or bins
    return found


#: What is drawn over tau: a title, and by name where it stands in what was found.
OVER_TAU: tuple[tuple[str, dict[str, tuple[str | int, ...]]], ...] = (
    (
        "rank correlation with people's entropy",
        {
            "cost": ("correlations", "ponder_cost", "people_entropy", "plain"),
            "its own entropy": ("correlations", "network_entropy", "people_entropy", "plain"),
        },
    ),
    (
        "finds errors, AUROC",
        {"cost": ("errors", "auroc", "ponder_cost"), "confidence": ("errors", "auroc", "unsure")},
    ),
    (
        "calibration error",
        {
            "cheapest fifth": ("errors", "by_cost", 0, "calibration_error"),
            "dearest fifth": ("errors", "by_cost", -1, "calibration_error"),
        },
    ),
)


def spaced(taus: Sequence[float], ratio: float) -> list[float]:
    """Those of some rising taus that are so far apart that their ticks do not meet."""
    found: list[float] = []
    for tau in taus:
        if not found or tau >= ratio * found[-1]:
            found.append(tau)
    return found


def value(one: Found, place: Sequence[str | int]) -> list[float] | None:
    """``[value, low, high]`` at a place of `OVER_TAU`; None where it is not known."""
    found: Any = one
    for key in place:
        if isinstance(found, Mapping) and key not in found:
            return None
        found = found[key]
    return None if None in found else [float(each) for each in found]


def _label(one: Found) -> str:
    if "ponder_cost" not in one["correlations"]:
        return str(one["network"])
    return str(one["network"]) if one["tau"] is None else f"τ = {one['tau']:.3g}"
