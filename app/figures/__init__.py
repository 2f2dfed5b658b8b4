"""Arrays in, Plotly figures out; no Streamlit.

``style`` holds the palette and the common layout; ``maps`` draws over an image,
``halting`` the rule, ``cost`` FLOPs and predictions.
"""

from app.figures.cost import active_share, flops_by_block, predictions, times, treemap, units
from app.figures.halting import cost_against_score, distribution, gradient, why_stopped
from app.figures.maps import image_url, picture, ponder_map
from app.figures.style import CATEGORIES, COLOUR_MAPS, colour_table, si

__all__ = [
    "CATEGORIES",
    "COLOUR_MAPS",
    "active_share",
    "colour_table",
    "cost_against_score",
    "distribution",
    "flops_by_block",
    "gradient",
    "image_url",
    "picture",
    "ponder_map",
    "predictions",
    "si",
    "times",
    "treemap",
    "units",
    "why_stopped",
]
