"""What of a plan the engine computes; anything else is refused before it runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sact_core.network import Plan, Unit


@dataclass(frozen=True)
class Layout:
    """Units that the kernels know.

    ``strided`` is the convolution that may have a stride; ``front`` is what comes
    before the first block: side, stride and padding of the stem, and whether it is
    pooled.
    """

    strided: int
    padding: str
    shortcuts: frozenset[str]
    front: tuple[int, int, str, bool]


#: By the sides of a unit's convolutions.
LAYOUTS = {
    (3, 3): Layout(
        0, "same", frozenset({"identity", "preact", "pool"}), front=(3, 1, "same", False)
    ),
    (1, 3, 1): Layout(
        1, "explicit", frozenset({"identity", "convolution"}), front=(7, 2, "explicit", True)
    ),
}


def check_scope(plan: Plan) -> None:
    """Refuse a network that the engine would compute wrongly.

    Raises
    ------
    ValueError
        If it has a part that the engine does not know; one sentence names them all.
    """
    found = _foreign_parts(plan)
    if found:
        raise ValueError(
            f"the masked engine cannot run this {plan.config.name} ({plan.config.family} family), "
            f"which has {', '.join(found)}: use the dense or the reference backend"
        )


def _foreign_parts(plan: Plan) -> list[str]:
    units = plan.units
    parts = {
        "convolutions in groups": any(conv.groups > 1 for conv in plan.convs),
        "activations with a cap": any(bn.cap != math.inf for bn in plan.batch_norms),
        "units without a pre-activation": any(unit.preact is None for unit in units),
        "units without a shortcut": any(unit.shortcut is None for unit in units),
        "units that end in a normalisation": any(unit.convs[-1].bn is not None for unit in units),
        "convolutions without one before": any(
            conv.bn is None for unit in units for conv in unit.convs[:-1]
        ),
        "a normalisation after the stem": plan.stem.bn is not None,
        "a head": plan.head is not None,
        "no normalisation before the logits": plan.postnorm is None,
    }
    return [part for part, there in parts.items() if there] + _foreign_layout(plan)


def _foreign_layout(plan: Plan) -> list[str]:
    """What differs from the one layout that all units should have."""
    sides = {_sides(unit) for unit in plan.units}
    square = all(conv.weight_shape[0] == conv.weight_shape[1] for conv in plan.convs)
    if len(sides) != 1 or not sides <= LAYOUTS.keys() or not square:
        return ["units of other kernels than 3x3, 3x3 or 1x1, 3x3, 1x1"]
    layout = LAYOUTS[sides.pop()]
    stem = plan.stem
    strided = [
        (i, conv) for unit in plan.units for i, conv in enumerate(unit.convs) if conv.stride > 1
    ]
    steps = math.prod(unit.stride for unit in plan.units)
    kinds = {
        unit.shortcut if isinstance(unit.shortcut, str) else "convolution" for unit in plan.units
    }
    front = (stem.weight_shape[0], stem.stride, stem.padding, plan.pool)
    parts = {
        "another stem than those units come with": front != layout.front,
        "other shortcuts than those units come with": not kinds <= layout.shortcuts,
        "strides or paddings elsewhere than those units have them": any(
            i != layout.strided or conv.padding != layout.padding for i, conv in strided
        ),
        # The kernels pad behind only, which is right where sides are even.
        'strides with "same" padding on odd sides': layout.padding == "same"
        and plan.divisor % steps != 0,
    }
    return [part for part, there in parts.items() if there]


def _sides(unit: Unit) -> tuple[int, ...]:
    return tuple(conv.weight_shape[0] for conv in unit.convs)
