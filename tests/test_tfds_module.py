"""TFDS replaces ``import`` while it loads: for its own thread alone."""

from __future__ import annotations

import sys
import threading
from types import ModuleType

import pytest

from sact_core.data.tfds_module import confined_to_thread


def test_other_threads_import_as_ever():
    epy = pytest.importorskip("etils.epy")
    lazy_imports = confined_to_thread(sys.modules["etils.epy.lazy_imports_utils"].lazy_imports)
    found = {}

    def elsewhere():
        from json import decoder

        found["elsewhere"] = decoder

    with lazy_imports():
        from json import decoder

        found["here"] = decoder
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join(30)
    import json

    assert isinstance(found["elsewhere"], ModuleType)
    assert isinstance(found["here"], epy.lazy_imports_utils.LazyModule)
    assert isinstance(json, ModuleType)
