"""Fixtures: one seeded generator, and the folder of reference numbers.

Some tests compare with numbers computed with the authors' code, or read real
data. A part of these numbers lies in ``tests/golden``. The rest, and the data,
are in a folder named by ``SACT_SHARED``, by default ``../shared`` beside the
repository; tests that need it skip with a reason where it is absent. Where
``SACT_REQUIRE_SHARED=1`` (continuous integration) such a skip is a failure, and
where ``SACT_REQUIRE_REGISTRY=1`` that of a test that finds no package registry, or not
a package that ``requirements-dev.txt`` brings from it.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
SHARED = Path(os.environ.get("SACT_SHARED", ROOT.parent / "shared"))

#: Files that take longest, or wait; they begin first, so that none is left over in the end.
LONGEST = (
    *("test_machines.py", "app/test_layout_shift.py", "app/test_browser_uploads.py"),
    *("app/test_browser.py", "app/test_lecture_browser.py", "fuzz/test_fuzz.py", "test_train.py"),
    *("app/test_browser_addresses.py", "test_packaging.py", "app/test_explore_page.py"),
    *("app/test_data_set_page.py", "app/test_handed_on.py", "test_masked_bfloat16.py"),
    *("app/test_any_tau_pages.py", "app/test_lecture.py", "app/test_origin.py", "test_ops.py"),
    *("test_masked.py", "test_masked_int8.py", "test_many_photographs.py", "app/test_loaders.py"),
    *("app/test_damaged_runs.py", "test_memory.py", "test_benchmark.py", "test_peaks.py"),
    *("app/test_links.py", "app/test_timing.py", "test_tf_bundle.py", "test_evaluate.py"),
    *("test_benchmark_sides.py", "test_train_family.py", "test_calibrate.py"),
    *("export_maps/test_processes.py", "test_benchmark_map.py", "app/test_stated.py"),
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    order = {ROOT / "tests" / name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path, len(LONGEST)))


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed, fresh for every test."""
    return np.random.default_rng(1612_02297)


@pytest.fixture
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let as many threads of the masked engine work as are asked for, on any machine."""
    from sact_core.backends.masked import engine

    monkeypatch.setattr(engine, "cores", lambda: 1024)


def need_shared(*parts: str) -> Path:
    """Give a path below the shared folder, or skip (fail where it is required)."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        reason = f"{path} is absent: it holds the reference numbers that this test compares with"
        if os.environ.get("SACT_REQUIRE_SHARED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def need_reference(name: str) -> Path:
    """Give a file of the authors' numbers: the repository's, else the shared folder's."""
    path = GOLDEN / name
    return path if path.exists() else need_shared("reference", name)


def need_registry() -> None:
    """Skip (fail where it is required) if pip finds no package registry."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--retries", "1"]
    with tempfile.TemporaryDirectory() as folder:
        command += ["--dest", folder, "--only-binary", ":all:", "hatchling>=1.27"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:]
        reason = f"there is no package registry to install from: {' '.join(said)}"
        if os.environ.get("SACT_REQUIRE_REGISTRY") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


def need_package(name: str) -> Any:
    """Import what only tests compare with, or skip (fail where packages are required)."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        reason = f"{name} is not installed, with which this test compares: requirements-dev.txt"
        if os.environ.get("SACT_REQUIRE_REGISTRY") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


class ReferenceFiles:
    """Numbers computed with the authors' code: ``files / name`` is the path of one."""

    def __truediv__(self, name: str) -> Path:
        """As `need_reference`."""
        return need_reference(name)

    def glob(self, pattern: str) -> list[Path]:
        """Files of the whole set, which lies in the shared folder."""
        return sorted(need_shared("reference").glob(pattern))


@pytest.fixture
def reference_dir() -> ReferenceFiles:
    """Numbers computed with the authors' code."""
    return ReferenceFiles()


@pytest.fixture
def data_dir() -> Path:
    """Folder of prepared TFDS data sets."""
    return need_shared("tensorflow_datasets")


@pytest.fixture(scope="session")
def noise_data_set(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of class folders with 96 tiny training images."""
    from tests.training import write_data_set

    return write_data_set(tmp_path_factory.mktemp("noise"), 96)
