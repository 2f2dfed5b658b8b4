"""The thousand classes of ImageNet: WordNet's ids and first names, in order."""

from __future__ import annotations

import functools
from importlib import resources


@functools.cache
def imagenet_classes() -> dict[str, str]:
    """Give the name of every class by its WordNet id, such as ``n02123045`` for tabby.

    The order is that of the classes' numbers, from 0. Source and licence of the list stand
    in ``imagenet_classes.txt``.
    """
    text = resources.files("sact_core.data").joinpath("imagenet_classes.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    pairs = (line.partition(" ") for line in lines)
    return {wordnet_id: name for wordnet_id, _, name in pairs}
