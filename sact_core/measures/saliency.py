"""How well ponder maps say where people look: scores of many photographs, and their intervals.

How a map is blurred and mixed with the centre is chosen on one half of the photographs and
scored on the other.

Source: after the experiment of Figurnov et al. 2017, arXiv:1612.02297, on CAT2000;
the grid that is tried, and which half is which, are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sact_core.measures.cat2000 import Stimulus, read_stimulus
from sact_core.measures.gaze import auc_judd, blur, centre_map, half_by_half, mix, post_process
from sact_core.measures.ranks import Estimate
from sact_core.texts import told

if TYPE_CHECKING:
    from sact_core.backends import Net

#: What is tried where neither is given.
BLURS = (0.0, 0.01, 0.02, 0.04, 0.08)
CENTRE_WEIGHTS = tuple(round(0.1 * i, 1) for i in range(11))
SCORES = ("map", "centre", "blurred", "processed", "people")
#: Differences of scores whose intervals are given too.
AHEAD = {f"{name}_over_centre": (name, "centre") for name in ("map", "blurred", "processed")}
RESAMPLES = 1000


@dataclass
class Saliency:
    """What was found.

    Attributes
    ----------
    blur, centre_weight : float
        The post-processing.
    num_chosen_on : int
        Photographs that it was chosen on; 0 where it was given.
    scores : dict of str to list
        By category, for every photograph its scores in the order of `SCORES`.
    skipped : dict of str to str
        What was left out, and why.
    blur_alone : float
        The blur of the map that is not mixed with the centre.
    """

    blur: float
    centre_weight: float
    num_chosen_on: int = 0
    scores: dict[str, list[tuple[float, ...]]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    blur_alone: float = 0.0

    @property
    def num_images(self) -> int:
        """How many photographs are scored."""
        return sum(map(len, self.scores.values()))

    def means(self, category: str | None = None) -> dict[str, float]:
        """Mean scores of a category, or of all photographs alike."""
        chosen = self.scores if category is None else {category: self.scores[category]}
        # Of a photograph with a single fixation nothing is known of people.
        means = np.nanmean([row for rows in chosen.values() for row in rows], axis=0)
        return dict(zip(SCORES, means.tolist(), strict=True))

    def intervals(self, seed: int = 0) -> dict[str, list[float | None]]:
        """Mean, low and high of each score over all photographs, and of `AHEAD`."""
        rows = np.array([row for rows in self.scores.values() for row in rows])
        columns = dict(zip(SCORES, rows.T, strict=True))
        columns |= {name: columns[a] - columns[b] for name, (a, b) in AHEAD.items()}
        drawn = np.random.default_rng(seed).integers(0, len(rows), (RESAMPLES, len(rows)))
        found = {}
        for name, values in columns.items():
            known = np.isfinite(values)
            resampled = np.where(known, values, 0)[drawn].sum(1) / known[drawn].sum(1)
            found[name] = Estimate.of(float(np.nanmean(values)), resampled).as_json()
        return found


def score(
    net: Net,
    found: Sequence[Stimulus],
    image_size: int | None = None,
    processing: tuple[float, float] | None = None,
    write: Callable[[Stimulus, np.ndarray, tuple[int, int]], object] = lambda *_: None,
    done: Callable[[], object] = lambda: None,
) -> Saliency:
    """Score a network's ponder maps.

    Parameters
    ----------
    net : Net
        A SACT network.
    found : sequence of Stimulus
        The photographs.
    image_size : int, optional
        Longer side of the input; the checkpoint's own where left out.
    processing : (float, float), optional
        Blur and share of the centre. Left out, they are chosen on every other
        photograph of each category.
    write : callable
        Given each scored photograph, its map after post-processing and the
        photograph's height and width.
    done : callable
        Told after each photograph.

    Raises
    ------
    ValueError
        If the network has no maps by position, no photograph can be used, or
        none is left to choose on.
    """
    if not net.config.by_position:
        raise ValueError(f"{net.config.name} has no map by position: it is no SACT network")
    from sact_core.backends import NotFinite

    net.preprocessing_for(image_size, "keep")
    skipped: dict[str, str] = {}

    def maps(some: Iterable[Stimulus]) -> Iterable[tuple[Stimulus, np.ndarray, np.ndarray]]:
        for stimulus in some:
            try:
                image, fixations = read_stimulus(stimulus)
                values = net.run([image], image_size, "keep")[0].map("ponder_cost")[0]
                yield stimulus, values, fixations
            except NotFinite:
                raise  # not this photograph's fault
            except (ValueError, OSError) as error:
                skipped[stimulus.name] = told(error).partition("\n")[0]
            done()

    rest, num_chosen_on, blur_alone = list(found), 0, processing[0] if processing else 0.0
    if processing is None:
        places = _places(found)
        rest = [s for s, place in zip(found, places, strict=True) if place % 2]
        chosen_on = [s for s, place in zip(found, places, strict=True) if not place % 2]
        processing, blur_alone, num_chosen_on = _choose(maps(chosen_on), skipped)
    result = Saliency(*processing, num_chosen_on, skipped=skipped, blur_alone=blur_alone)
    for stimulus, values, fixations in maps(rest):
        processed = post_process(values, *processing)
        all_maps = (values, centre_map(values.shape), blur(values, blur_alone), processed)
        rows = result.scores.setdefault(stimulus.category, [])
        scores = [auc_judd(one, fixations) for one in all_maps]
        rows.append((*scores, half_by_half(fixations)))
        write(stimulus, processed, fixations.shape)
    if not result.num_images:
        raise ValueError(_none_left(skipped))
    return result


def table(result: Saliency) -> str:
    """Lay out the scores for people."""
    wide = max(10, *map(len, result.scores))
    lines = [f"{'category':<{wide}}  images" + "".join(f"{name:>11}" for name in SCORES)]
    for category in [*sorted(result.scores), None]:
        means = result.means(category)
        count = len(result.scores[category]) if category is not None else result.num_images
        lines.append(
            f"{'total' if category is None else category:<{wide}}  {count:6,}"
            + "".join(f"{means[name]:11.4f}" for name in SCORES)
        )
    intervals = result.intervals()
    for place, what in ((1, "from"), (2, "to")):
        ends = [intervals[name][place] for name in SCORES]
        cells = "".join(" " * 11 if end is None else f"{end:11.4f}" for end in ends)
        lines.append(f"{what:>{wide}}        {cells}")
    chosen = (
        f"chosen on {result.num_chosen_on:,} other photographs" if result.num_chosen_on else "given"
    )
    lines.append("\nover the centre alone")
    for name, (one, _) in AHEAD.items():
        value, low, high = (math.nan if number is None else number for number in intervals[name])
        lines.append(f"  {one:<10}{value:+.4f} ({low:+.4f} to {high:+.4f})")
    lines.append(
        f"\nblurred by {result.blur_alone:g} of the longer side; processed: blurred by "
        f"{result.blur:g}, {result.centre_weight:.0%} centre; {chosen}\npeople: one half of the "
        f"fixations for the other"
    )
    return "\n".join(lines)


def _choose(
    maps: Iterable[tuple[Stimulus, np.ndarray, np.ndarray]], skipped: dict[str, str]
) -> tuple[tuple[float, float], float, int]:
    """Choose the post-processing that scores best, and the blur that does without the centre.

    Also on how many photographs. ``skipped`` names those that ``maps`` has left out.
    """
    totals = np.zeros((len(BLURS), len(CENTRE_WEIGHTS)))
    count = 0
    for _, values, fixations in maps:
        count += 1
        for i, width in enumerate(BLURS):
            blurred = blur(values, width)
            for j, weight in enumerate(CENTRE_WEIGHTS):
                totals[i, j] += auc_judd(mix(blurred, weight), fixations)
    if not count:
        raise ValueError(_none_left(skipped))
    best, weight_at = np.unravel_index(totals.argmax(), totals.shape)
    alone = BLURS[int(totals[:, 0].argmax())]
    return (BLURS[best], CENTRE_WEIGHTS[weight_at]), alone, count


def _places(found: Sequence[Stimulus]) -> list[int]:
    """Place of each photograph in its category."""
    seen: dict[str, int] = {}
    places = []
    for stimulus in found:
        places.append(seen.get(stimulus.category, 0))
        seen[stimulus.category] = places[-1] + 1
    return places


def _none_left(skipped: dict[str, str]) -> str:
    if not skipped:
        return (
            "one half of the photographs chooses the post-processing, the other is scored, and "
            "there are too few for both: give --blur and --centre-weight"
        )
    name, reason = next(iter(skipped.items()))
    return f"none of {len(skipped):,} photographs can be used; {name}: {reason}"
