"""The viewer of `sact_core.viewer` on a page of the app.

A component of our own, because Streamlit draws a Plotly figure anew at every
change: zoom would be lost, and a film would flicker. Here pointing, zooming,
swiping, playing and dragging tau happen in the browser; only a click, a pause and
where a slider was let go come back.

`payload` turns arrays into plain JSON and can be tested without Streamlit;
`component.show` puts it on the page.
"""

from sact_core.viewer import Dial, Layer, Panel, Scale, Stage, payload

__all__ = ["Dial", "Layer", "Panel", "Scale", "Stage", "payload"]
