"""Whether a network's cost foretells its errors: areas, risk over coverage, calibration by cost.

Everything is plain JSON values; a number with an interval is ``[value, low, high]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sact_core.measures.passes import Pass
from sact_core.measures.ranks import Estimate, Ranked, ranks
from sact_core.measures.trust import BINS, calibration_error, reliability, risks

FIFTHS = 5
COVERAGES = tuple(round(0.01 * i, 2) for i in range(1, 101))
#: Share of the images that are answered, at which risk is told with its interval.
TOLD_COVERAGE = 0.8
#: Resamples that are counted at a time.
_LOT = 50


def errors(
    one: Pass,
    kept: np.ndarray,
    columns: Mapping[str, np.ndarray],
    ranked: Ranked,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Tell how well scores find a network's errors, and whether it is as sure as it is right.

    Parameters
    ----------
    one : Pass
        The network's.
    kept : np.ndarray [shape=(n,), bool]
        Images that count.
    columns : mapping of str to np.ndarray
        Of these: ``unsure``, and of a network that halts ``ponder_cost`` and ``both``.
    ranked : Ranked
        Of them and more, and of ``wrong``.
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        ``auroc`` by score; ``risk`` by score at each ``coverage``; ``risk_at_80``,
        ``calibration_error`` with intervals; ``reliability``; of a network that halts
        ``gain_of_cost``, and ``by_cost`` the calibration of each fifth of the images.
    """
    right, confidence = one.right[kept], one.confidence[kept]
    scores = [name for name in ("ponder_cost", "unsure", "both") if name in columns]
    groups = _fifths(columns["ponder_cost"]) if one.halts else []
    everyone = np.ones(len(right), bool)
    resampled = _resampled(
        {name: columns[name] for name in scores},
        confidence,
        right,
        [everyone, *groups],
        resamples,
        seed,
    )
    risk = {name: risks(columns[name], right) for name in scores}
    found: dict[str, Any] = {
        "auroc": {
            name: ranked.area(name, "wrong").as_json()
            for name in (*scores, "network_entropy", "people_entropy", "edges", "colours")
        },
        "risk": {name: _thinned(each) for name, each in risk.items()}
        | {"ideal": _thinned(risks(~right, right))},
        "coverage": list(COVERAGES),
        "risk_at_80": {
            name: Estimate.of(float(each[_place(len(right))]), resampled[name]).as_json()
            for name, each in risk.items()
        },
        **_calibration(confidence, right, everyone, resampled["calibration"][:, 0]),
    }
    if one.halts:
        cost = columns["ponder_cost"]
        found["gain_of_cost"] = ranked.gain("both", "unsure", "wrong").as_json()
        found["by_cost"] = [
            {
                "images": int(here.sum()),
                "ponder_cost": [float(cost[here].min()), float(cost[here].max())],
                "accuracy": float(right[here].mean()),
                "confidence": float(confidence[here].mean()),
                **_calibration(confidence, right, here, resampled["calibration"][:, i + 1]),
            }
            for i, here in enumerate(groups)
        ]
    return found


def _calibration(
    confidence: np.ndarray, right: np.ndarray, here: np.ndarray, resampled: np.ndarray
) -> dict[str, Any]:
    value = calibration_error(confidence[here], right[here])
    return {
        "calibration_error": Estimate.of(value, resampled).as_json(),
        "reliability": [vars(each) for each in reliability(confidence[here], right[here])],
    }


def _fifths(cost: np.ndarray) -> list[np.ndarray]:
    """Images from the cheapest fifth to the dearest [shape=(n,), bool]."""
    place = ((ranks(cost) - 0.5) * FIFTHS / len(cost)).astype(np.int64)
    return [place == group for group in np.unique(place)]


def _resampled(
    scores: Mapping[str, np.ndarray],
    confidence: np.ndarray,
    right: np.ndarray,
    groups: list[np.ndarray],
    resamples: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Risk at `TOLD_COVERAGE` by score, and calibration errors of groups, of each resample.

    A resample is how often each image is drawn, so nothing is sorted anew.

    Returns
    -------
    dict of str to np.ndarray
        By score [shape=(resamples,)], and ``calibration`` [shape=(resamples, groups)]; NaN
        where no image of a group is drawn.
    """
    n, rng = len(right), np.random.default_rng(seed)
    orders = {name: _ordered(score, right) for name, score in scores.items()}
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    # What an image adds to the distance of its bin; a bin of no image is as right as sure.
    apart = np.zeros((n, len(groups) * BINS))
    for i, group in enumerate(groups):
        apart[np.flatnonzero(group), i * BINS + bins[group]] = (confidence - right)[group]
    members = np.stack(groups, 1).astype(np.float64)
    found: dict[str, list[np.ndarray]] = {name: [] for name in (*scores, "calibration")}
    for begin in range(0, resamples, _LOT):
        lot = min(_LOT, resamples - begin)
        drawn = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(lot)])
        for name, (order, wrong) in orders.items():
            counts = drawn[:, order]
            upto, errors = counts.cumsum(1), (counts * wrong).cumsum(1)
            wanted = _place(n) + 1
            at = (upto < wanted).sum(1)  # the image of which some copies are still answered
            rows = np.arange(lot)
            beyond = upto[rows, at] - wanted
            found[name].append((errors[rows, at] - beyond * wrong[at]) / wanted)
        weights = drawn.astype(np.float64)
        with np.errstate(invalid="ignore"):
            distances = np.abs((weights @ apart).reshape(lot, len(groups), BINS)).sum(2)
            found["calibration"].append(distances / (weights @ members))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _ordered(score: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images from the least doubted, and how often each is wrong: the mean of its score."""
    _, places = np.unique(score, return_inverse=True)
    wrong = np.bincount(places, ~right) / np.bincount(places)
    order = np.argsort(places, kind="stable")
    return order, wrong[places[order]]


def _place(n: int) -> int:
    return max(1, round(TOLD_COVERAGE * n)) - 1


def _thinned(risk: np.ndarray) -> list[float]:
    places = np.maximum(1, np.rint(np.array(COVERAGES) * len(risk)).astype(np.int64)) - 1
    return [float(each) for each in risk[places]]
