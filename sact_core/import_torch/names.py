"""Tables of names: ours on the left, those of a state dict on the right.

A row names a layer (``"block2/unit3/conv1": "layers.1.2.conv1"``) or a parameter of it
(``"stem/weight": "kernel"``), which comes first where both are there. In both texts
``{block}`` and ``{unit}`` stand for numbers from 1, ``{block0}`` and ``{unit0}`` for the same
from 0, and ``{index}``, ``{index0}`` for the unit's place in the whole network. Behind a
layer's name stand PyTorch's names of its parts: ``.weight``, ``.bias``, ``.running_mean`` and
``.running_var``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from sact_core.files import read_small
from sact_core.network import BATCH_NORM_PARAMS, Plan
from sact_core.untrusted_json import from_json

#: Parts of a layer: ours, and PyTorch's.
PARTS = {"weight": "weight", "bias": "bias"} | dict(
    zip(BATCH_NORM_PARAMS, ("weight", "bias", "running_mean", "running_var"), strict=True)
)
#: What a state dict holds besides, which no network needs.
LEFT_OUT = "num_batches_tracked"
MAX_TABLE_BYTES = 1 << 20

#: Names of ``efficientnet-lite-pytorch``.
EFFICIENTNET = {
    "stem": "_conv_stem",
    "stem/bn": "_bn0",
    "block{block}/unit{unit}/expand": "_blocks.{index0}._expand_conv",
    "block{block}/unit{unit}/expand/bn": "_blocks.{index0}._bn0",
    "block{block}/unit{unit}/depthwise": "_blocks.{index0}._depthwise_conv",
    "block{block}/unit{unit}/depthwise/bn": "_blocks.{index0}._bn1",
    "block{block}/unit{unit}/project": "_blocks.{index0}._project_conv",
    "block{block}/unit{unit}/project/bn": "_blocks.{index0}._bn2",
    "head": "_conv_head",
    "head/bn": "_bn1",
    "logits": "_fc",
}

_NUMBERED = re.compile(r"block(\d{1,9})/unit(\d{1,9})/(.+)")
_PLACE = re.compile(r"\{(block|unit|index)(0?)\}")


@dataclass(frozen=True)
class Table:
    """What the parameters of a network are called elsewhere.

    Attributes
    ----------
    rows : mapping of str to str, optional
        As told above; None where they are called as ours.
    """

    rows: Mapping[str, str] | None = None

    def names(self, plan: Plan) -> dict[str, str]:
        """Give the other name of every parameter of a network, by ours.

        Raises
        ------
        ValueError
            If the table has none for some of them; all are listed.
        """
        found = self.known(plan)
        lacking = [name for name in plan.param_shapes if name not in found]
        if lacking:
            raise ValueError(f"the table of names has none for {', '.join(lacking)}")
        return found

    def known(self, plan: Plan) -> dict[str, str]:
        """As `names`, of the parameters that it has a name for."""
        places = {unit.name: i for i, unit in enumerate(plan.units, start=1)}
        found = {name: self._name(name, places) for name in plan.param_shapes}
        return {name: theirs for name, theirs in found.items() if theirs is not None}

    def _name(self, name: str, places: Mapping[str, int]) -> str | None:
        if self.rows is None:
            return name
        numbers: dict[str, int] = {}
        template = name
        if match := _NUMBERED.fullmatch(name):
            place = places[f"block{match[1]}/unit{match[2]}"]
            numbers = {"block": int(match[1]), "unit": int(match[2]), "index": place}
            template = "block{block}/unit{unit}/" + match[3]
        for whole in (name, template):
            if whole in self.rows:
                return _filled(self.rows[whole], numbers)
        for whole in (name, template):
            layer, _, part = whole.rpartition("/")
            if layer in self.rows and part in PARTS:
                return f"{_filled(self.rows[layer], numbers)}.{PARTS[part]}"
        return None

    def units(self, names: Collection[str], num_blocks: int) -> tuple[int, ...] | None:
        """Count the units of each block that names speak of; None where they do not tell.

        Parameters
        ----------
        names : collection of str
            Of a state dict.
        num_blocks : int
            Blocks of the family.
        """
        rows = self.rows
        if rows is None:
            rows = {"block{block}/unit{unit}/": "block{block}/unit{unit}/"}
        counts = [0] * num_blocks
        for ours, theirs in rows.items():
            places = {match[1]: match[2] for match in _PLACE.finditer(theirs)}
            if "{unit}" not in ours or "block" not in places or "unit" not in places:
                continue
            pattern = re.compile(_pattern(theirs))
            for match in filter(None, map(pattern.match, names)):
                block, unit = (int(match[k]) + bool(places[k]) for k in ("block", "unit"))
                if 1 <= block <= num_blocks:
                    counts[block - 1] = max(counts[block - 1], unit)
        return tuple(counts) if all(counts) else None


def read_table(path: str | Path) -> Table:
    """Read a table from a JSON file.

    Raises
    ------
    ValueError
        If it is no JSON object of texts, or too large.
    OSError
        If it cannot be read.
    """
    text = read_small(path, MAX_TABLE_BYTES, "names")
    try:
        rows = from_json(text)
    except ValueError as error:
        raise ValueError(f"{path} is no table of names, which is a JSON object: {error}") from None
    if not isinstance(rows, dict) or not all(isinstance(v, str) for v in rows.values()):
        raise ValueError(
            f"{path} is no table of names: it must be a JSON object of texts, such as "
            '{"stem": "conv1", "block{block}/unit{unit}/conv1": "layer{block}.{unit0}.conv1"}'
        )
    return Table(rows)


def _filled(template: str, numbers: Mapping[str, int]) -> str:
    """Put numbers into their places; a place without one stays as it is."""

    def number(match: re.Match[str]) -> str:
        value = numbers.get(match[1])
        return match[0] if value is None else str(value - bool(match[2]))

    return _PLACE.sub(number, template)


def _pattern(template: str) -> str:
    """A pattern of names that begin as a template does, its numbers named groups."""
    seen: set[str] = set()
    parts, end = [], 0
    for match in _PLACE.finditer(template):
        parts.append(re.escape(template[end : match.start()]))
        parts.append(r"\d{1,9}" if match[1] in seen else rf"(?P<{match[1]}>\d{{1,9}})")
        seen.add(match[1])
        end = match.end()
    return "".join(parts) + re.escape(template[end:])
