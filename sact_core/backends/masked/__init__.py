"""Masked backend: pay for active positions only.

`engine` lays arrays out, starts the threads and runs a batch; `packing` turns a
plan into the flat tables that `kernels`, the compiled loops, read; `results` turns
flat results into blocks.

Source: Figurnov et al. 2017, arXiv:1612.02297, and the authors' published
networks.
"""

from sact_core.backends.masked.engine import Engine
from sact_core.backends.masked.halting import halt
from sact_core.backends.masked.threads import thread_count

__all__ = ["Engine", "halt", "thread_count"]
