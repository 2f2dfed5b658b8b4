"""One network, three backends: load a checkpoint, run images.

``reference`` (NumPy) computes everything and masks; ``masked`` computes active
positions only; ``dense`` (PyTorch) computes everything, differentiably. Each is
a module with a class ``Engine`` and a function ``halt``; only the one that is
asked for is imported.
"""

from sact_core.backends.checks import NotFinite
from sact_core.backends.net import BACKENDS, Engine, Net, backend_module, load
from sact_core.backends.precision import PRECISIONS, precisions

__all__ = [
    "BACKENDS",
    "PRECISIONS",
    "Engine",
    "Net",
    "NotFinite",
    "backend_module",
    "load",
    "precisions",
]
