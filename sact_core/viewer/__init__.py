"""Aligned maps over one image, drawn in a browser: one JavaScript module, several hosts.

`payload` turns arrays into plain JSON; `sources` gives the module, its style and what a
host adds. Pointing, zooming, swiping, playing and dragging tau happen in the browser.
"""

from sact_core.viewer.colours import colour_stops, colour_table
from sact_core.viewer.payload import Dial, Layer, Panel, Scale, Stage, image_url, payload

__all__ = [
    "Dial",
    "Layer",
    "Panel",
    "Scale",
    "Stage",
    "colour_stops",
    "colour_table",
    "image_url",
    "payload",
]
