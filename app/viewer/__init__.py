"""Aligned maps over one image, drawn in the browser.

A component of our own, because Streamlit draws a Plotly figure anew at every
change: zoom would be lost, and a film would flicker. Here pointing, zooming,
swiping and playing happen in the browser; only a click and a pause come back.

`payload` turns arrays into plain JSON and can be tested without Streamlit;
`show` puts it on the page.
"""

from app.viewer.payload import Layer, Panel, Scale, Stage, payload

__all__ = ["Layer", "Panel", "Scale", "Stage", "payload"]
