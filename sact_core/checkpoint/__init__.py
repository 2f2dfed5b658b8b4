"""The HDF5 checkpoint: a config, its parameters and where they come from.

Layout of a file, format version 1::

    /                    attributes: format, format_version, content_hash and, as
                         JSON text, config, preprocessing, class_names, provenance
    /params/block2/unit3/conv1/weight      little-endian float32, stored plainly

``content_hash`` is the SHA-256 of all of the other attributes and of the name,
shape, type and bytes of every parameter, in sorted order. It is verified on
reading.

A file that was calibrated for int8 says so in one more attribute, ``int8``, JSON text:
method, images, and hashes of the weights and of the scales, which are attributes of each
weight, float32: ``int8_scales``, one a channel, ``int8_input``, scale and zero of what it
multiplies, and ``int8_shifts``, what rounding it adds to every channel on the average, which
older files do not have. The content hash does not cover them, and whoever does not know them reads
the file as it was before.

A checkpoint may come from anybody, so a file is hostile until proven: it is
opened read-only; nothing in it is executed; links out of the file, links to
elsewhere in it, external, virtual, compressed and partly written storage are
refused; sizes are checked against the config before memory is taken.
"""

from sact_core.checkpoint.reading import read, read_hashed, read_header
from sact_core.checkpoint.records import Checkpoint, CheckpointError, Header
from sact_core.checkpoint.writing import content_hash, write

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Header",
    "content_hash",
    "read",
    "read_hashed",
    "read_header",
    "write",
]
