"""TensorFlow Datasets, loaded so that imports of other threads stay what they are.

It loads its modules lazily: while it does, ``import`` itself is replaced, for the whole
process. A server that answers somebody else at that moment gets modules that are none.
"""

from __future__ import annotations

import builtins
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

_one_at_a_time = threading.RLock()


def load_tfds() -> Any:
    """The module ``tensorflow_datasets``."""
    _confine()
    import tensorflow_datasets as tfds

    return tfds


@cache
def _confine() -> None:
    """Have lazy imports hold for the thread that asks for them."""
    from etils import epy
    from etils.epy import lazy_imports_utils

    confined = confined_to_thread(epy.lazy_imports)
    lazy_imports_utils.lazy_imports = epy.lazy_imports = confined


def confined_to_thread(
    lazy_imports: Callable[..., AbstractContextManager[None]],
) -> Callable[..., AbstractContextManager[None]]:
    """Make of a context that replaces ``import`` one that replaces it for its thread alone."""

    @contextmanager
    def confined(**how: Any) -> Iterator[None]:
        here = threading.get_ident()
        with _one_at_a_time:
            usual = builtins.__import__
            with lazy_imports(**how):
                lazy = builtins.__import__

                def chosen(*args: Any, **kwargs: Any) -> Any:
                    load = lazy if threading.get_ident() == here else usual
                    return load(*args, **kwargs)

                builtins.__import__ = chosen
                yield

    return confined
