"""What a network did with every image beside what people answered on it, as rows of a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sact_core.measures.passes import Pass
from sact_core.measures.people import Joined

_FIRST = ("network", "file", "tau", "number", "image", "label", "prediction", "sure", "right")
_SECOND = ("flops", "share", "network_entropy", "people_entropy", "people_disagreement")
_THIRD = ("edges", "colours", "ponder_cost")


def header(passes: Sequence[Pass]) -> list[str]:
    """Names of the columns: those of every network, then the cost of each of its blocks."""
    blocks = max(one.ponder_cost.shape[1] for one in passes)
    return [*_FIRST, *_SECOND, *_THIRD, *(f"block{i + 1}/ponder_cost" for i in range(blocks))]


def rows(record: Mapping[str, Any], one: Pass, people: Joined, blocks: int) -> list[list[Any]]:
    """One row for each image, see `header`.

    Parameters
    ----------
    record : mapping
        Names the network: ``network``, ``file`` and ``tau``.
    one : Pass
        What it did.
    people : Joined
        Answers on its images; empty cells where nobody answered.
    blocks : int
        For how many there are columns; empty where the network halts in fewer.
    """
    whose = [record["network"], record["file"], record["tau"]]
    asked, doubts, others = people.answered, people.entropy, people.disagreement
    found = []
    for i, costs in enumerate(one.ponder_cost.tolist()):
        answers = [float(doubts[i]), float(others[i])] if asked[i] else [None, None]
        found.append(
            [
                *(*whose, int(one.indices[i]), str(one.names[i])),
                *(int(one.labels[i]), int(one.predictions[i]), float(one.confidence[i])),
                *(bool(one.right[i]), int(one.flops[i]), float(one.flops[i] / one.dense[i])),
                *(float(one.entropy[i]), *answers),
                *(float(one.edges[i]), float(one.colours[i]), sum(costs) if costs else None),
                *(costs + [None] * (blocks - len(costs))),
            ]
        )
    return found
