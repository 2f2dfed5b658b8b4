"""What of a plan the engine computes; anything else is refused before it runs."""

from __future__ import annotations

import math

from sact_core.network import Conv, Plan, Unit


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
    convs = [conv for unit in units for conv in unit.convs]
    ends = [plan.stem, plan.logits, *([plan.head] if plan.head is not None else [])]
    ends += [unit.convs[-1] for unit in units]
    square = all(conv.weight_shape[0] == conv.weight_shape[1] for conv in plan.convs)
    sides = {conv.weight_shape[0] for conv in convs}
    parts = {
        "convolutions in groups of several channels": any(map(_is_grouped, plan.convs)),
        "stems, heads or unit ends in groups": any(conv.groups > 1 for conv in ends),
        "units that end in an activation": any(not _ends_plainly(unit) for unit in units),
        "a head that is wider than 1x1": plan.head is not None and plan.head.weight_shape[0] > 1,
        "kernels that are no square of 1, 3 or 5": not square or not sides <= {1, 3, 5},
        "units of more than two wide convolutions": any(_reaches(unit) > 1 for unit in units),
        "units whose convolutions do not stride as the unit does": any(map(_strides_oddly, units)),
        "pooling shortcuts on odd sides": _pools(plan) and plan.divisor % _steps(plan) != 0,
    }
    return [part for part, there in parts.items() if there]


def _is_grouped(conv: Conv) -> bool:
    depthwise = conv.weight_shape[2] == 1 and conv.in_channels == conv.out_channels
    return conv.groups > 1 and not depthwise


def _ends_plainly(unit: Unit) -> bool:
    bn = unit.convs[-1].bn
    return bn is None or (bn.slope, bn.cap) == (1.0, math.inf)


def _reaches(unit: Unit) -> int:
    return len({halo for halo in unit.halos if halo})


def _strides_oddly(unit: Unit) -> bool:
    return math.prod(conv.stride for conv in unit.convs) != unit.stride


def _pools(plan: Plan) -> bool:
    return any(unit.shortcut == "pool" for unit in plan.units)


def _steps(plan: Plan) -> int:
    """How many pixels of the input a step on the last map is."""
    return (1 + plan.pool) * plan.stem.stride * math.prod(unit.stride for unit in plan.units)
