"""What networks did with photographs, to hand on: one HTML file that needs nothing else.

`Thought` is one network over one image, at one price of a unit or at many; `scene` packs
thoughts about one image, and `page` scenes, into a file that opens from a disk or a mail
without a network and can be looked into: `sact_core.viewer` is inside.
"""

from sact_core.handout.gathering import Gathering
from sact_core.handout.page import MAX_BYTES, Options, document, page, write_page
from sact_core.handout.scenes import about_rows, scene
from sact_core.handout.thought import Thought, think

__all__ = [
    "MAX_BYTES",
    "Gathering",
    "Options",
    "Thought",
    "about_rows",
    "document",
    "page",
    "scene",
    "think",
    "write_page",
]
