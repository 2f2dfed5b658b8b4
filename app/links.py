"""What may stand in a link: every setting that the address of a page can carry; no Streamlit.

A link may come from anybody. What no widget could have written is left out, and said,
before a page is drawn. Whether a checkpoint, an image or a position is there only its
page knows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from app import figures, views
from app.texts import MAX_NAME, plain
from sact_core.families import FAMILIES

#: Whether a text may stand there.
Rule = Callable[[str], bool]
MAX_VALUE = 400  # characters


def one_of(*texts: object) -> Rule:
    """One of some texts."""
    return frozenset(map(str, texts)).__contains__


def number(low: float = -math.inf, high: float = math.inf, whole: bool = False) -> Rule:
    """A finite number in a range."""

    def fits(text: str) -> bool:
        try:
            value = float(text)
        except ValueError:
            return False
        return math.isfinite(value) and low <= value <= high and (not whole or value.is_integer())

    return fits


def name(text: str) -> bool:
    """The name of something, which its page looks up."""
    return 0 < len(text) <= MAX_VALUE


FLAG = one_of("true", "false", "True", "False")
INDEX = number(0, 1e9, whole=True)
TAU = number(0, 1e15)
METRIC, SCALE = one_of(*views.METRICS.values()), one_of(*views.SCALES.values())
COLOURS = one_of(*figures.COLOUR_MAPS)
SHARE = number(0, 100)
#: What a page has that shows a checkpoint and an image.
_FITTED: dict[str, Rule] = {"image": name, "index": INDEX}
for _kind in (*FAMILIES, "as_trained", "small"):
    _FITTED[f"fit_{_kind}"] = one_of("Square crop", "Whole image", "As evaluated")
    _FITTED[f"side_{_kind}"] = number(1, 8192, whole=True)
_NETWORK: dict[str, Rule] = {
    "checkpoint": name,
    "kind": one_of("Photographs", "Small images"),
    "tau": TAU,
}
_DRAWN: dict[str, Rule] = {"metric": METRIC, "colours": COLOURS}

#: Rules of every page, by what follows its name in a key.
RULES: dict[str, dict[str, Rule]] = {
    "explore": {
        **_FITTED,
        **_NETWORK,
        **_DRAWN,
        "scale": SCALE,
        "opacity": SHARE,
        "row": INDEX,
        "column": INDEX,
        "unit": number(1, 1e9, whole=True),
    },
    "sweep": {**_FITTED, **_DRAWN, "family": name, "tau": TAU, "price": TAU},
    "compare": {
        **_FITTED,
        **_DRAWN,
        "count": one_of(2, 3, 4),
        "view": one_of("Side by side", "Swipe", "Difference"),
        "opacity": SHARE,
        **{f"checkpoint_{i}": name for i in range(1, 5)},
        **{f"tau_{i}": TAU for i in range(1, 5)},
    },
    "halting_lab": {
        "scores": name,
        "kind": one_of("SACT: every position", "ACT: every image"),
        "row": number(1, 8, whole=True),
        "eps": number(0, 0.5),
        "step": number(0, 12, whole=True),
    },
    "flops": {**_FITTED, **_NETWORK, "count": one_of("FLOPs", "Multiply-adds")},
    "data_set": {
        **_NETWORK,
        "count": one_of("200", "1,000", "5,000", "All"),
        "data": name,
        "family": FLAG,
        "order": one_of("Cheapest first", "Dearest first", "Flips soonest"),
        "which": one_of("All", "Mistakes", "Change with τ"),
        "class": name,
        "page": number(1, 1e9, whole=True),
        "view": one_of("What it costs", "Where people doubt"),
        "beside": name,
        "differ": one_of(
            "Dear to the network, easy for people", "Cheap for the network, hard for people"
        ),
    },
    "photographs": {**_FITTED, **_NETWORK, "place": name},
    "runs": {"chosen": name},
    "check": {**_FITTED, **_NETWORK},
}
#: What may stand in the link to any page: a step of the guided path, and large type.
ANYWHERE: dict[str, Rule] = {"lecture": number(1, 99, whole=True), "present": FLAG}
#: Settings that may stand in a link several times.
LISTS = {"runs_chosen", "data_set_beside"}


def check(page: str, values: Mapping[str, Sequence[str]]) -> tuple[dict[str, list[str]], list[str]]:
    """Part the settings of a link into those that a page takes and those to say something of.

    Parameters
    ----------
    page : str
        Name of the page. What is not one of its settings is none of its business.
    values : mapping of str to sequence of str
        Every value of every key of the link.

    Returns
    -------
    dict
        The link without what cannot be.
    list of str
        A sentence, as Markdown, for each that was left out.
    """
    kept: dict[str, list[str]] = {}
    said: list[str] = []
    for key, texts in values.items():
        own = RULES.get(page, {}) if key.startswith(f"{page}_") else {}
        rule = own.get(key.removeprefix(f"{page}_"), ANYWHERE.get(key))
        if rule is None:
            kept[key] = list(texts)
            continue
        good = [text for text in texts if rule(text)]
        good = good if key in LISTS else good[-1:]
        if good:
            kept[key] = good
        else:
            asked = plain(texts[-1] if texts else "", MAX_NAME) or "nothing"
            said.append(f"The link asks for {asked} as {plain(key)}, which cannot be.")
    return kept, said
