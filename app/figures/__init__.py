"""Arrays in, Plotly figures out; no Streamlit.

``style`` holds the palette and the common layout; ``maps`` draws over an image,
``halting`` the rule, ``cost`` FLOPs and predictions, ``paying`` where halting pays,
``curves`` everything over tau, over images and over epochs.
"""

from app.figures.cost import active_share, flops_by_block, predictions, times, treemap, units
from app.figures.curves import (
    Point,
    accuracy_against_flops,
    accuracy_by_cost,
    cost_by_class,
    cost_histogram,
    over_tau,
    training,
)
from app.figures.doubt import MOST_NAMED, doubted, reliability, risk
from app.figures.doubt import limits as doubt_limits
from app.figures.doubt import over_tau as networks_over_tau
from app.figures.halting import cost_against_score, distribution, gradient, why_stopped
from app.figures.maps import picture, ponder_map
from app.figures.style import CATEGORIES, COLOUR_MAPS, si
from app.figures.where_pays import accuracy_against_ms, paying

__all__ = [
    "CATEGORIES",
    "COLOUR_MAPS",
    "MOST_NAMED",
    "Point",
    "accuracy_against_flops",
    "accuracy_against_ms",
    "accuracy_by_cost",
    "active_share",
    "cost_against_score",
    "cost_by_class",
    "cost_histogram",
    "distribution",
    "doubt_limits",
    "doubted",
    "flops_by_block",
    "gradient",
    "networks_over_tau",
    "over_tau",
    "paying",
    "picture",
    "ponder_map",
    "predictions",
    "reliability",
    "risk",
    "si",
    "times",
    "training",
    "treemap",
    "units",
    "why_stopped",
]
