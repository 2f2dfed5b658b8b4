"""The app listens on this machine only, unless it is told otherwise."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import ROOT


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"the app did not start:\n{log.read_text(errors='replace')}")


@pytest.mark.parametrize(("told", "reached"), [((), False), (("0.0.0.0",), True)])
def test_who_reaches_the_app(told: tuple[str, ...], reached: bool, tmp_path: Path) -> None:
    """127.0.0.2 is another address of this machine, as one in its network would be."""
    if sys.platform != "linux":
        pytest.skip("elsewhere 127.0.0.2 is no address of this machine")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app.py"]
    command += ["--server.headless", "true", "--server.port", str(port)]
    command += [word for address in told for word in ("--server.address", address)]
    log = tmp_path / "log"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={k: v for k, v in os.environ.items() if not k.startswith("STREAMLIT_")},
            stdout=out,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            wait_for(port, process, log)
            with socket.socket() as other:
                other.settimeout(5)
                assert (other.connect_ex(("127.0.0.2", port)) == 0) == reached
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("told", "address"), [((), "127.0.0.1"), (("ADDRESS=192.0.2.7",), "192.0.2.7")]
)
def test_make_says_where(told: tuple[str, ...], address: str) -> None:
    done = subprocess.run(
        ["make", "-n", "app", *told], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert f"streamlit run streamlit_app.py --server.address {address} --server.port 8501\n" in (
        done.stdout
    )
