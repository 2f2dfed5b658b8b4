"""Which class of a network a class of a data set is, by its name or its WordNet id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from sact_core.data.imagenet import imagenet_classes
from sact_core.texts import cut, shown

#: Classes that a message names.
MAX_NAMED = 3


def class_numbers(
    ours: Sequence[str], num_classes: int, theirs: Sequence[str], data_set: str
) -> np.ndarray:
    """Give the network's number of every class of a data set.

    Where both name their classes, names decide, capitals and ``_`` for spaces aside, or the
    WordNet id (``n02123045``) of one of ImageNet's classes. So a few class folders fit a
    network of many classes, in any order. Where they do not, as many classes as the network
    has are its own in their order, if it names none; one class less leaves out the
    background, class 0 of a network that calls it so or names none, as in the authors'
    ImageNet networks.

    Parameters
    ----------
    ours : sequence of str
        Names of the network's classes, or none where they are unknown.
    num_classes : int
        How many the network has.
    theirs : sequence of str
        Names of the data set's classes.
    data_set : str
        What it is called in messages.

    Returns
    -------
    np.ndarray [shape=(len(theirs),), int64]

    Raises
    ------
    ValueError
        If the classes do not fit.
    """
    in_order = np.arange(len(theirs), dtype=np.int64)
    if tuple(ours) == tuple(theirs) or (not ours and num_classes == len(theirs)):
        return in_order
    # As they stand, then loosely: ImageNet has a cardigan and a Cardigan.
    exact, loose = _numbers(ours), _numbers([_key(name) for name in ours])

    def number(name: str) -> int | None:
        return exact.get(name, loose.get(_key(name)))

    by_id = [imagenet_classes().get(name.strip().lower()) for name in theirs]
    numbers = [
        number(each) if name is None or number(each) is not None else number(name)
        for each, name in zip(theirs, by_id, strict=True)
    ]
    if theirs and None not in numbers:
        return np.array(numbers, np.int64)
    nameless = not ours or _key(ours[0]).startswith("background")
    if num_classes == len(theirs) + 1 and nameless:
        return in_order + 1
    if not ours or not theirs:
        raise ValueError(
            f"the network has {num_classes} classes, {data_set} has {len(theirs)}"
            + ("" if ours else ", and the network does not say what they are")
        )
    lacking = [name for name, number in zip(theirs, numbers, strict=True) if number is None]
    more = f" and {len(lacking) - MAX_NAMED} more" if len(lacking) > MAX_NAMED else ""
    named = ", ".join(repr(shown(cut(name, 60))) for name in lacking[:MAX_NAMED])
    raise ValueError(
        f"{data_set} has classes that are none of the network's {num_classes} by name or WordNet "
        f"id: {named}{more}"
    )


def _numbers(names: Sequence[str]) -> Mapping[str, int]:
    """Number of every name that stands once."""
    counts = Counter(names)
    return {name: i for i, name in enumerate(names) if counts[name] == 1}


def _key(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())
