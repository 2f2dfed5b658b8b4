"""Functions that Numba compiles and keeps, so that only a machine's first run waits.

Numba's own cache looks at the file of a function alone, though its compiled code holds
that of all functions that it calls. Here the sources of all of them are part of the key.
What cannot be read is compiled anew, and what cannot be written is not kept: a cache
never stops anybody.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from llvmlite import binding
from numba import njit
from numba.core import config
from numba.core.caching import FunctionCache

SETTINGS: Any = config

#: True where functions run as plain Python, under ``NUMBA_DISABLE_JIT=1``.
INTERPRETED = bool(SETTINGS.DISABLE_JIT)


def cached(sources: Iterable[Path], **options: Any) -> Callable[..., Any]:
    """Make a decorator that compiles a function and keeps what comes of it.

    Where there is no folder that a cache could be written to, it is compiled in every
    process.

    Parameters
    ----------
    sources : iterable of Path
        Files whose code ends up in the function, its own aside; a change of any makes
        what was kept worthless.
    **options
        Of `numba.njit`.
    """
    version = source_version(sources)

    def compile_(function: Callable[..., Any]) -> Any:
        compiled = njit(**options)(function)
        if not INTERPRETED:
            # "No locator available": neither here nor in the home folder.
            with contextlib.suppress(RuntimeError):
                compiled._cache = _Cache(function, version)
        return compiled

    return compile_


def cpu_features() -> list[str]:
    """Name what the processor that Numba compiles for can do, such as ``"+avx2"``."""
    features = SETTINGS.CPU_FEATURES
    if features is None:
        features = binding.get_host_cpu_features().flatten()
    return str(features).split(",")


def source_version(sources: Iterable[Path]) -> str:
    """Text that changes with every change of the files."""
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _Cache(FunctionCache):
    """Numba's cache of one function, with a version in its keys."""

    def __init__(self, function: Callable[..., Any], version: str) -> None:
        super().__init__(function)
        self.version = version

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), self.version)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # whatever a cut or foreign file makes of unpickling
            self._give_up(error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Say why, and empty the index, so that the next process finds none of it."""
        name = self._py_func.__qualname__
        logging.getLogger(__name__).warning("%s is compiled anew: %s", name, error)
        with contextlib.suppress(OSError):
            self.flush()
