"""Tables of what was found, for people and for papers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

HEADER = (
    *("network", "tau", "MFLOPs", "accuracy, %"),
    *("cost, people's entropy", "given edges, colours", "and class", "and its own entropy"),
    *("own entropy, people's entropy", "cost, shuffled answers", "p"),
    *("errors by cost, AUROC", "by confidence", "by both"),
    *("wrong at 80 % coverage by cost, %", "at 80 % by confidence, %", "at 80 % by both, %"),
    *("calibration error, %", "of the cheapest fifth, %", "of the dearest fifth, %"),
)
_SCORED = ("ponder_cost", "unsure", "both")


def rows(found: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The table's cells, one row for each network and tau; see `HEADER`."""
    return [
        [
            one["network"],
            "" if one["tau"] is None else f"{one['tau']:.4g}",
            f"{one['flops'] / 1e6:.1f}",
            f"{one['accuracy']:.2%}".rstrip("%"),
            *(_correlation(one, "ponder_cost", how) for how in _HOW),
            _correlation(one, "network_entropy", "plain"),
            said(null.get("shuffled")),
            _p(null.get("p")),
            *(said(one["errors"]["auroc"].get(s), "") for s in _SCORED),
            *(percent(one["errors"]["risk_at_80"].get(s)) for s in _SCORED),
            percent(one["errors"]["calibration_error"]),
            *(percent(fifth) for fifth in _ends(one["errors"])),
        ]
        for one in found
        for null in [one["null"].get("ponder_cost", {})]
    ]


def _ends(errors: dict[str, Any]) -> list[Sequence[float | None] | None]:
    """Calibration errors of the cheapest fifth and of the dearest."""
    fifths = errors.get("by_cost")
    return [fifths[i]["calibration_error"] if fifths else None for i in (0, -1)]


def _p(p: float | None) -> str:
    return "–" if p is None else f"{p:.3f}"


def _correlation(one: dict[str, Any], name: str, how: str) -> str:
    return said(one["correlations"].get(name, {}).get("people_entropy", {}).get(how))


_HOW = ("plain", "given_busy", "given_busy_class", "given_busy_class_entropy")


def said(numbers: Sequence[float | None] | None, sign: str = "+") -> str:
    """A value and its interval: ``+0.123 (+0.101 to +0.145)``; a dash where there is none."""
    if numbers is None or None in numbers:
        return "–"
    value, low, high = (f"{number:{sign}.3f}" for number in numbers)
    return f"{value} ({low} to {high})"


def percent(numbers: Sequence[float | None] | None) -> str:
    """A share and its interval in per cent, ``7.00 (6.51 to 7.49)``; a dash where there is none."""
    if numbers is None or None in numbers:
        return "–"
    value, low, high = (f"{100 * number:.2f}" for number in numbers if number is not None)
    return f"{value} ({low} to {high})"


def summary(one: dict[str, Any]) -> str:
    """What was found of one network, in lines."""
    tau = "" if one["tau"] is None else f", tau {one['tau']:.4g}"
    lines = [
        f"{one['network']}, {one['file']}{tau}: {one['accuracy']:.2%} right, "
        f"{one['flops'] / 1e6:,.1f} MFLOPs ({one['share_of_dense']:.1%} of dense), dearest image "
        f"{one['dearest']['name']} {one['dearest']['share_of_dense']:.1%} of dense",
        "",
        f"{'rank correlation with people’s entropy':<44}{'plain':>28}{'given edges, colours':>28}"
        f"{'and class':>28}",
    ]
    for name, found in one["correlations"].items():
        cells = [said(found["people_entropy"].get(how)) for how in _HOW[:3]]
        lines.append(f"  {name.replace('_', ' '):<42}" + "".join(f"{each:>28}" for each in cells))
    for name, null in one["null"].items():
        if name in ("ponder_cost", "network_entropy"):
            lines.append(
                f"  {name.replace('_', ' ') + ', shuffled answers':<42}"
                f"{said(null['shuffled']):>28}, p {_p(null['p'])}"
            )
    lines += ["", f"{'finds errors (AUROC)':<44}"]
    for name, numbers in one["errors"]["auroc"].items():
        lines.append(f"  {_SCORES.get(name, name.replace('_', ' ')):<42}{said(numbers, ''):>28}")
    if "gain_of_cost" in one["errors"]:
        gain = one["errors"]["gain_of_cost"]
        lines.append(f"  {'gain of cost over confidence alone':<42}{said(gain):>28}")
    lines += ["", f"{'wrong at 80 % coverage, %':<44}"]
    for name, numbers in one["errors"]["risk_at_80"].items():
        lines.append(f"  {_SCORES.get(name, name.replace('_', ' ')):<42}{percent(numbers):>28}")
    whole = percent(one["errors"]["calibration_error"])
    lines += ["", f"{'expected calibration error, %':<44}{whole:>28}"]
    for fifth, part in zip(_FIFTHS, one["errors"].get("by_cost", []), strict=False):
        lines.append(
            f"  {fifth:<42}{percent(part['calibration_error']):>28}, sure of "
            f"{part['confidence']:.1%}, right on {part['accuracy']:.1%}"
        )
    for name, images in one["galleries"].items():
        listed = ", ".join(str(image["index"]) for image in images)
        lines.append(f"\n{name.replace('_', ' ')}, images {listed}")
    return "\n".join(lines)


_SCORES = {"unsure": "confidence", "both": "both, cross-fitted"}
_FIFTHS = ("cheapest fifth", "second", "third", "fourth", "dearest fifth")
