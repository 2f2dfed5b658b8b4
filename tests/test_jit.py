"""What Numba compiled is kept, made anew with its sources, and never in anybody's way."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sact_core.backends import jit
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(jit.INTERPRETED, reason="nothing is compiled")

#: A module whose function holds the code of another file, and says whether it was kept.
FUNCTION = """
from pathlib import Path
from numba import njit
from sact_core.backends import jit
from words import number

@jit.cached([Path(__file__).with_name("words.py")], nogil=True)
def add(x):
    return x + number()

print(add(1), sum(add.stats.cache_hits.values()))
"""
WORDS = """
from numba import njit

@njit
def number():
    return {}
"""


@pytest.fixture
def run(tmp_path):
    """Run the module in a fresh process; give what it printed and what it complained about."""
    (tmp_path / "function.py").write_text(FUNCTION)
    (tmp_path / "words.py").write_text(WORDS.format(10))

    def go(**environment):
        done = subprocess.run(
            [sys.executable, str(tmp_path / "function.py")],
            env={**os.environ, "PYTHONPATH": f"{ROOT}", **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split(), done.stderr

    return go


def test_a_second_process_compiles_nothing(run, tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert run(**cache) == (["11", "0"], "")
    assert run(**cache) == (["11", "1"], "")


def test_a_change_of_what_it_calls_makes_it_anew(run, tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    run(**cache)
    (tmp_path / "words.py").write_text(WORDS.format(20))
    assert run(**cache)[0] == ["21", "0"]
    assert run(**cache)[0] == ["21", "1"]


@pytest.mark.parametrize("kind", ["*.nbi", "*.nbc"])
@pytest.mark.parametrize("left", [0, 40])
def test_a_cut_file_is_told_and_made_anew(run, tmp_path, kind, left):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    run(**cache)
    (path,) = (tmp_path / "cache").rglob(kind)
    path.write_bytes(path.read_bytes()[:left])
    printed, told = run(**cache)
    assert printed == ["11", "0"]
    assert "add is compiled anew" in told
    assert "Traceback" not in told
    assert run(**cache) == (["11", "1"], "")


def test_runs_where_nothing_can_be_kept(monkeypatch):
    """No folder for the cache must not mean no engine."""

    def refuse(*args):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(jit, "_Cache", refuse)
    assert jit.cached([], nogil=True)(lambda x: x + 1)(2) == 3


def test_a_full_disk_is_told_once(monkeypatch, caplog):
    def full(*args):
        raise OSError(28, "No space left on device")

    @jit.cached([], nogil=True)
    def twice(x):
        return 2 * x

    monkeypatch.setattr(jit.FunctionCache, "save_overload", full)
    monkeypatch.setattr(jit.FunctionCache, "load_overload", lambda *args: None)
    assert twice(3) == 6
    assert len(caplog.records) == 1
    assert "No space left" in caplog.text
