"""Open an HDF5 file that may come from anybody: plain numbers and short texts only.

HDF5 can point at other files, at itself in a circle, at compressed bytes that
swell without bound and at plugins. Here a file is opened read-only, links other
than plain ones are never followed, sizes are told before memory is taken, and
whatever libhdf5 stumbles over is told as one error of the caller's own kind.

Checkpoints hold nothing but plain numbers: `find_datasets` and `storage_problem`
go through all of a file. Files of other programs hold what they like:
`numbers` and `texts` look at the one data set that is asked for.
"""

from sact_core.untrusted_hdf5.attributes import (
    floats_attribute,
    int_attribute,
    ints_attribute,
    text_attribute,
)
from sact_core.untrusted_hdf5.heap import Texts
from sact_core.untrusted_hdf5.opened import Opened, damage_told
from sact_core.untrusted_hdf5.pieces import children, holds, node, numbers, texts
from sact_core.untrusted_hdf5.plain import find_datasets, shape, storage_problem

__all__ = [
    "Opened",
    "Texts",
    "children",
    "damage_told",
    "find_datasets",
    "floats_attribute",
    "holds",
    "int_attribute",
    "ints_attribute",
    "node",
    "numbers",
    "shape",
    "storage_problem",
    "text_attribute",
    "texts",
]
