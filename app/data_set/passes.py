"""One or several passes of networks over a test split, under one bar with the time left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from app.controls.basics import progress
from app.loaders import dataset, warming
from app.loaders.dataset import Outcomes
from app.records import Model
from app.texts import plain
from sact_core.texts import lasting

#: What stands there until the first part has run; the second before the engine is there.
READY, COMPILING = (
    "Getting ready …",
    "The masked engine is being compiled, which takes a minute once on every machine …",
)
#: Seconds from which a part was run rather than read from where it was kept.
RAN = 0.02


@dataclass(frozen=True)
class Pass:
    """A network over the first images of its split.

    Attributes
    ----------
    model : Model
    label : str
        For people.
    tau : float, optional
        Price of a unit, where it takes any.
    """

    model: Model
    label: str
    tau: float | None = None


def missing(passes: Sequence[Pass], count: int) -> int:
    """How many images have not run, of all passes together."""
    each_once = {(each.model.key, each.tau): each for each in passes}.values()
    return sum(dataset.missing(each.model, count, each.tau) for each in each_once)


def run_all(passes: Sequence[Pass], count: int) -> list[Outcomes]:
    """Run all passes; what has run is kept.

    Raises
    ------
    InputError
        As `dataset.run`.
    """
    totals = [min(count, len(dataset.source(each.model))) for each in passes]
    waiting, ran, taken, before = missing(passes, count), 0, 0.0, 0
    found = []
    with progress(READY if warming.ready() else COMPILING) as bar:
        for i, each in enumerate(passes):
            parts, began, last = [], time.monotonic(), 0
            for done, part in dataset.run(each.model, count, each.tau):
                seconds = time.monotonic() - began
                if seconds > RAN:
                    ran, taken = ran + done - last, taken + seconds
                parts.append(part)
                number = f", pass {i + 1} of {len(passes)}" if len(passes) > 1 else ""
                left = taken / ran * (waiting - ran) if ran else 0.0
                bar.progress(
                    (before + done) / sum(totals),
                    f"{plain(each.label)}{number}: {done:,} of {totals[i]:,} images"
                    + (f", {lasting(left)} left" if left > 1 else ""),
                )
                began, last = time.monotonic(), done
            before += totals[i]
            found.append(dataset.join(parts))
    return found
