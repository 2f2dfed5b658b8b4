"""What a network's costs have to do with people's doubt and with its own errors.

Everything is plain JSON values; a number with an interval is ``[value, low, high]``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sact_core.doubt.errors import errors
from sact_core.measures.passes import Pass
from sact_core.measures.people import Joined
from sact_core.measures.ranks import RESAMPLES, Estimate, Ranked, ranks, shuffled
from sact_core.measures.trust import blend

GROUPS = 10
SHOWN = 12  # images of a gallery
#: Beyond so many classes a class is no control.
MOST_CLASSES = 20
#: Controls under which correlations are given: of the image, then its class, then how sure
#: the network is itself.
GIVEN = {
    "plain": (),
    "given_busy": ("edges", "colours"),
    "given_busy_class": ("edges", "colours", "classes"),
    "given_busy_class_entropy": ("edges", "colours", "classes", "network_entropy"),
}
PEOPLE = ("people_entropy", "people_disagreement")


def find(one: Pass, people: Joined, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """Compute all that is known of one network, on the images that people answered on.

    Parameters
    ----------
    one : Pass
        The network's.
    people : Joined
        Answers to its images.
    resamples, seed : int
        Of the bootstrap; the seed is that of the null control's orders too.

    Returns
    -------
    dict
        ``correlations`` by what the network does and what it is set against; ``null`` what
        those with people's entropy are where answers are shuffled over the images
        (`sact_core.measures.ranks.Null`); ``by_people`` means over groups of people's entropy;
        ``errors`` areas under ROC curves, risk against coverage and calibration; ``galleries``.

    Raises
    ------
    ValueError
        If there are fewer than three such images.
    """
    kept = people.answered
    doubt = people.entropy[kept]
    columns = costs(one, kept)
    mine = list(columns)
    wrong = ~one.right[kept]
    columns |= {
        "people_entropy": doubt,
        "people_disagreement": people.disagreement[kept],
        "edges": one.edges[kept],
        "colours": one.colours[kept],
        "wrong": wrong,
        "unsure": 1 - one.confidence[kept],
    }
    if one.halts:
        odds = np.log(np.maximum(columns["unsure"], 1e-12))
        columns["both"] = blend(np.column_stack([odds, columns["ponder_cost"]]), wrong)
    classes = _class_columns(one.labels[kept])
    ranked = Ranked(columns | classes, resamples, seed, ["wrong"])

    def against(name: str, other: str) -> dict[str, Any]:
        found = {}
        for how, controls in GIVEN.items():
            if "classes" in controls and not classes:
                continue
            names = [c for each in controls for c in (classes if each == "classes" else [each])]
            if name not in names:
                found[how] = ranked.correlation(name, other, names).as_json()
        return found

    return {
        "images": int(kept.sum()),
        "agreement": people.agreement,
        "accuracy": float(one.right[kept].mean()),
        "flops": float(one.flops[kept].mean()),
        "share_of_dense": float((one.flops[kept] / one.dense[kept]).mean()),
        "dearest": _dearest(one),
        "correlations": {
            name: {other: against(name, other) for other in PEOPLE}
            | {
                other: {"plain": ranked.correlation(name, other).as_json()}
                for other in ("edges", "colours", "network_entropy")
                if other != name
            }
            for name in mine
        },
        "null": {
            name: null.as_json()
            for name, null in shuffled({n: columns[n] for n in mine}, doubt, seed=seed).items()
        },
        "by_people": by_people(one, people, resamples, seed),
        "errors": errors(one, kept, columns, ranked, resamples, seed),
        "galleries": galleries(one, people) if one.halts else {},
    }


def costs(one: Pass, kept: np.ndarray) -> dict[str, np.ndarray]:
    """What a network did with the images that are kept, by name [shape=(n,)]."""
    found: dict[str, np.ndarray] = {}
    if one.halts:
        blocks = one.ponder_cost[kept]
        found["ponder_cost"] = blocks.sum(1)
        found |= {f"block{i + 1}": blocks[:, i] for i in range(blocks.shape[1])}
        found["flops"] = one.flops[kept]
    return found | {"network_entropy": one.entropy[kept]}


def by_people(
    one: Pass, people: Joined, resamples: int = RESAMPLES, seed: int = 0
) -> list[dict[str, Any]]:
    """Means of what a network did, over tenths of the images by people's entropy.

    Images of one entropy stay together, so that the first group, on which all people agree,
    may be larger than a tenth.

    Returns
    -------
    list of dict
        From the least entropy: ``images``, ``people_entropy`` as mean, least and most, and
        ``[mean, low, high]`` of ``network_entropy``, ``wrong`` and, of a network that halts,
        ``ponder_cost`` and ``flops``.
    """
    kept = people.answered
    doubt = people.entropy[kept]
    place = ((ranks(doubt) - 0.5) * GROUPS / len(doubt)).astype(np.int64)
    values = costs(one, kept)
    wanted = [name for name in ("ponder_cost", "flops", "network_entropy") if name in values]
    shown = {name: values[name] for name in wanted} | {"wrong": ~one.right[kept]}
    rng, found = np.random.default_rng(seed), []
    for group in np.unique(place):
        here = np.flatnonzero(place == group)
        # The same draws for all columns; images of a group are drawn from that group.
        drawn = rng.integers(0, len(here), (resamples, len(here)))
        means = {
            name: Estimate.of(float(v[here].mean()), v[here][drawn].mean(1)).as_json()
            for name, v in shown.items()
        }
        those = doubt[here]
        entropies = [float(those.mean()), float(those.min()), float(those.max())]
        found.append({"images": len(here), "people_entropy": entropies, **means})
    return found


def galleries(one: Pass, people: Joined, count: int = SHOWN) -> dict[str, list[dict[str, Any]]]:
    """Images on which network and people differ most, by the ranks of cost and entropy.

    Returns
    -------
    dict of str to list
        ``dear_to_network``, easy for people, and ``dear_to_people``, cheap for the network:
        each image's ``name``, ``index`` in the split, ``ponder_cost`` and ``people_entropy``.
    """
    kept = np.flatnonzero(people.answered)
    cost, doubt = one.ponder_cost[kept].sum(1), people.entropy[kept]
    order = np.argsort(ranks(cost) - ranks(doubt), kind="stable")

    def told(places: np.ndarray) -> list[dict[str, Any]]:
        return [
            {
                "name": str(one.names[kept[i]]),
                "index": int(one.indices[kept[i]]),
                "ponder_cost": float(cost[i]),
                "people_entropy": float(doubt[i]),
            }
            for i in places
        ]

    return {"dear_to_network": told(order[::-1][:count]), "dear_to_people": told(order[:count])}


def _dearest(one: Pass) -> dict[str, Any]:
    at = int(one.flops.argmax())
    return {
        "name": str(one.names[at]),
        "index": int(one.indices[at]),
        "flops": int(one.flops[at]),
        "share_of_dense": float(one.flops[at] / one.dense[at]),
        "over_mean": float(one.flops[at] / one.flops.mean()),
    }


def _class_columns(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Columns that say of each image whether it is of a class, for all classes but one."""
    present = np.unique(labels)
    if len(present) > MOST_CLASSES:
        return {}
    return {f"class {c}": labels == c for c in present[1:].tolist()}
