"""What commands have in common: flags of the network and of its images, progress, refusals.

Bad input and Ctrl-C are one sentence and an exit code. Nothing here is imported that
``--help`` could do without.
"""

from sact_core.commands.class_names import read_class_names
from sact_core.commands.flags import (
    BACKENDS,
    PRECISIONS,
    add_data_set,
    add_network,
    build_network,
    find_budget,
    open_data_set,
    open_network,
    spend_target,
)
from sact_core.commands.numbers import at_least_one, parse
from sact_core.commands.origin import origin
from sact_core.commands.running import (
    progress,
    refuse_existing,
    refuse_unwritable,
    run,
    run_together,
)

__all__ = [
    "BACKENDS",
    "PRECISIONS",
    "add_data_set",
    "add_network",
    "at_least_one",
    "build_network",
    "find_budget",
    "open_data_set",
    "open_network",
    "origin",
    "parse",
    "progress",
    "read_class_names",
    "refuse_existing",
    "refuse_unwritable",
    "run",
    "run_together",
    "spend_target",
]
