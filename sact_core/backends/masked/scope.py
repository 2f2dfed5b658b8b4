"""What of a plan the engine computes; anything else is refused before it runs."""

from __future__ import annotations

import math

from sact_core.network import Plan, Unit

#: Sides of a unit's convolutions, and what comes before the first block with them:
#: side and stride of the stem, and whether it is pooled.
LAYOUTS = {(3, 3): (3, 1, False), (1, 3, 1): (7, 2, True)}


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
    inner = [conv for unit in units for conv in unit.convs[:-1]]
    norms = [bn for bn in plan.batch_norms if bn.cap != math.inf]
    sides = {_sides(unit) for unit in units}
    front = (plan.stem.weight_shape[0], plan.stem.stride, plan.pool)
    square = all(conv.weight_shape[0] == conv.weight_shape[1] for conv in plan.convs)
    known = len(sides) == 1 and sides <= LAYOUTS.keys() and square
    parts = {
        "convolutions in groups": any(conv.groups > 1 for conv in plan.convs),
        "activations with a cap": bool(norms),
        "units without a pre-activation": any(unit.preact is None for unit in units),
        "units without a shortcut": any(unit.shortcut is None for unit in units),
        "units that end in a normalisation": any(unit.convs[-1].bn is not None for unit in units),
        "convolutions without one before": any(conv.bn is None for conv in inner),
        "a normalisation after the stem": plan.stem.bn is not None,
        "a head": plan.head is not None,
        "no normalisation before the logits": plan.postnorm is None,
        "units of other kernels than 3x3, 3x3 or 1x1, 3x3, 1x1": not known,
        "another stem than those units come with": known and front != LAYOUTS[sides.pop()],
    }
    return [part for part, there in parts.items() if there]


def _sides(unit: Unit) -> tuple[int, ...]:
    return tuple(conv.weight_shape[0] for conv in unit.convs)
