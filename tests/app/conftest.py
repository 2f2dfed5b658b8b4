"""Fixtures of the app's tests: tiny random checkpoints, one server, one browser."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sact_core.backends import Net
from sact_core.checkpoint import Checkpoint, write
from sact_core.config import NetworkConfig, Preprocessing, default_preprocessing
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests.app.browser import Tab

# Exact numbers; tests of other formats ask for them.
os.environ["SACT_PRECISION"] = "float32"

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CHROMIUM = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def make_checkpoint(
    config: NetworkConfig, seed: int = 0, bias: float = -1.0, tau: float | None = None
) -> Checkpoint:
    """A random network whose positions stop at different units."""
    rng = np.random.default_rng(seed)
    params = init_params(build_plan(config), seed)
    for name, values in params.items():
        if "/halting_proba/" in name and name.endswith("conv/bias"):
            values[:] = bias
        elif name.endswith("/local_conv/weight"):
            values[:] = rng.normal(0, 0.35, values.shape)
    provenance: dict = {}
    if tau is not None:
        provenance = {
            "tau": tau,
            "data_set": {"name": "cifar10", "train_split": "train", "train_count": 50000},
            "command": "python -m sact_core.train --preset fast",
            "metrics": {
                "split": "test",
                "count": 10000,
                "eval/Accuracy": 0.9 - tau,
                "Total Flops/mean": 4e6 * (1 - 10 * tau),
                "Total Flops/std": 2e5,
                "flops_share": 0.8 - 10 * tau,
            },
        }
    names = CLASSES if config.num_classes == len(CLASSES) else ()
    return Checkpoint(config, params, default_preprocessing(config.family), names, provenance)


def write_family(folder: Path) -> Path:
    """Small checkpoints of every halting kind, and one damaged file."""
    folder.mkdir(parents=True, exist_ok=True)
    small = {"base_channels": 4, "units_per_block": (3, 3, 3)}
    for tau, bias in ((0.001, -1.4), (0.005, -0.9), (0.01, -0.4)):
        made = make_checkpoint(NetworkConfig(halting="sact", **small), 1, bias, tau)
        write(folder / f"tiny_sact_tau{tau}.h5", made)
    write(
        folder / "tiny_act.h5",
        make_checkpoint(NetworkConfig(halting="act", **small), 2, -0.5, 0.005),
    )
    write(folder / "tiny_vanilla.h5", make_checkpoint(NetworkConfig(**small), 3))
    return folder


def write_any_tau(folder: Path) -> Path:
    """A small network that takes any tau, besides those of `write_photographs`."""
    write_photographs(folder)
    shape = {"base_channels": 4, "units_per_block": (3, 3, 3)}
    network = NetworkConfig(
        halting="sact", tau_conditioned=True, tau_low=0.0005, tau_high=0.05, **shape
    )
    made = make_checkpoint(network, 1, -2.5, network.tau_default)
    # A random network has a favourite class; without it answers vary, with tau too.
    noise = np.random.default_rng(0).integers(0, 255, (16, 32, 32, 3), np.uint8)
    mean = Net.from_checkpoint(made, "reference").run(noise).logits.mean(axis=0)
    made.params["logits/bias"][:] -= mean
    write(folder / "tiny_sact_anytau.h5", made)
    return folder


def write_photographs(folder: Path) -> Path:
    """Small checkpoints for photographs, of 102 classes, besides those for small images."""
    write_family(folder)
    shape = {"units_per_block": (3, 3, 3, 3), "base_channels": 4, "num_classes": 102}
    network = NetworkConfig("imagenet", halting="sact", **shape)
    names = [("background_google", "windsor_chair")[i % 2] + f"_{i}" for i in range(102)]
    about = {"name": "caltech101", "train_split": "train+test[:60%]", "train_count": 6710}
    for tau, bias in ((0.005, -0.6), (0.01, 0.0), (0.02, 0.6)):
        made = make_checkpoint(network, 5, bias, tau)
        metrics = made.provenance["metrics"] | {
            "split": "test[60%:]",
            "count": 2434,
            "eval/Recall@5": 0.95,
            "flops_share": 0.75 - 10 * tau,
        }
        made = replace(
            made,
            class_names=tuple(names),
            preprocessing=Preprocessing("imagenet", 128, 0.875),
            provenance=made.provenance | {"data_set": about, "metrics": metrics},
        )
        write(folder / f"zoo_photos_tau{tau}.h5", made)
    return folder


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of tiny checkpoints."""
    return write_family(tmp_path_factory.mktemp("app") / "pretrained")


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of tiny checkpoints, some of them for photographs."""
    return write_photographs(tmp_path_factory.mktemp("photographs") / "pretrained")


@pytest.fixture(scope="session")
def any_tau(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of tiny checkpoints, one of which takes any tau."""
    return write_any_tau(tmp_path_factory.mktemp("any_tau") / "pretrained")


@pytest.fixture
def bfloat16(app_env: pytest.MonkeyPatch) -> Iterator[None]:
    """The app takes bfloat16, as it does where the processor has it; here on any."""
    from app.loaders import warming

    app_env.setenv("SACT_PRECISION", "bfloat16")
    app_env.setenv("SACT_FORCE_PRECISION", "1")
    warming.precision.cache_clear()
    yield
    warming.precision.cache_clear()


@pytest.fixture(scope="session")
def compiled() -> None:
    """The masked engine is ready: no test waits for the compiler, or runs without it."""
    from app.loaders import ready

    assert ready(600), "the masked engine was not compiled"


@pytest.fixture
def app_env(
    compiled: None, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """The app sees the tiny checkpoints, no runs and no data sets; caches are empty."""
    import streamlit as st

    from app.loaders import running

    monkeypatch.setenv("SACT_PRETRAINED_DIR", str(pretrained))
    monkeypatch.setenv("SACT_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SACT_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("SACT_CHECKPOINT_DIRS", "SACT_PHOTOS"):
        monkeypatch.delenv(name, raising=False)
    st.cache_data.clear()
    st.cache_resource.clear()
    running._seconds.clear()
    return monkeypatch


@pytest.fixture
def photo_env(app_env: pytest.MonkeyPatch, photographs: Path) -> pytest.MonkeyPatch:
    """As `app_env`, with networks for photographs."""
    app_env.setenv("SACT_PRETRAINED_DIR", str(photographs))
    return app_env


@pytest.fixture
def any_tau_env(app_env: pytest.MonkeyPatch, any_tau: Path) -> pytest.MonkeyPatch:
    """As `photo_env`, with a network that takes any tau."""
    app_env.setenv("SACT_PRETRAINED_DIR", str(any_tau))
    return app_env


# --- the browser ---


def browser_program() -> str:
    """Path of a Chromium, or skip loudly (fail where one is required)."""
    for path in CHROMIUM:
        if Path(path).exists():
            return path
    found = shutil.which("chromium")
    if found:
        return found
    reason = "no Chromium: the browser tests did not run (apt-get install chromium)"
    if os.environ.get("SACT_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = browser_program()
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the app, served for all browser tests."""
    browser_program()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("served")
    environment = os.environ | {
        "SACT_PRETRAINED_DIR": str(pretrained),
        "SACT_RUNS_DIR": str(folder / "runs"),
        "TFDS_DATA_DIR": str(folder / "data"),
        "SACT_CACHE_DIR": str(folder / "cache"),
    }
    for name in ("SACT_CHECKPOINT_DIRS", "SACT_PHOTOS"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app.py"]
    options = {
        "server.headless": "true",
        "server.address": "127.0.0.1",
        "server.port": str(port),
        "server.fileWatcherType": "none",
    }
    for name, value in options.items():
        command += [f"--{name}", value]
    log = folder / "server.log"
    address = f"http://127.0.0.1:{port}"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            _wait_for(address, process, log)
            yield address
        finally:
            process.kill()


@pytest.fixture
def tab(browser: Any, server: str) -> Iterator[Tab]:
    """A wide tab; what it remembers fails the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, accept_downloads=True)
    tab = Tab(context.new_page(), server)
    yield tab
    errors = list(tab.errors)
    context.close()
    assert errors == []


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"the app did not start:\n{log.read_text(errors='replace')}")
