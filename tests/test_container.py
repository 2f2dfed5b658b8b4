"""The Dockerfile: what it copies is there, what it is built of, and how its command starts.

All of its steps, in a root of their own: ``python -m tests.containers``.
"""

from __future__ import annotations

import fnmatch
import itertools
import os
import shlex
import socket
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT
from tests.containers import read_dockerfile

BUILD, LAST = read_dockerfile()


def copied(stage):
    """The files and folders of the repository that a stage copies."""
    for words in stage.all("COPY"):
        if not words.startswith("--from="):
            yield from words.split()[:-1]


def test_what_is_copied_is_there_and_sent_to_the_builder():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    sent = [line[1:] for line in lines if line.startswith("!")]
    assert lines[1] == "*"
    assert set(copied(BUILD)) == set(sent)
    assert not list(copied(LAST))
    for name in sent:
        assert (ROOT / name).exists(), name
        assert not any(fnmatch.fnmatch(name, line) for line in lines[2:] if line[0] not in "#!")


def test_it_is_built_of_the_files_of_requirements_that_make_uses():
    (install,) = (words for words in BUILD.all("RUN") if " -r " in words)
    words = shlex.split(install)
    asked = [file for flag, file in itertools.pairwise(words) if flag == "-r"]
    assert asked == ["requirements.txt", "requirements-bench.txt"]
    package = BUILD.all("RUN")[-1].split()
    assert package[-2:] == ["--no-deps", "."]  # no other version of anything comes with it


def test_it_runs_as_nobody_in_particular_and_writes_to_its_volumes_only():
    volumes = LAST.last("VOLUME").split()
    user, group = LAST.last("USER").split(":")
    assert int(user) > 0
    assert int(group) > 0
    (makes,) = (words for words in LAST.all("RUN") if "useradd" in words)
    assert f"--uid {user}" in makes
    assert makes.endswith(" ".join(volumes))  # made before, and given to that user
    written = ("HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "SACT_RUNS_DIR")
    for name in (*written, "TFDS_DATA_DIR"):
        assert LAST.env[name].startswith(tuple(volumes)), name
    kinds = [kind for kind, _ in LAST.steps]
    assert kinds.index("USER") > max(i for i, kind in enumerate(kinds) if kind in ("RUN", "COPY"))


def test_its_command_starts_and_its_health_check_tells(tmp_path):
    """In a folder that may not be written to, as any user may start it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    volumes = {name: tmp_path / name.strip("/") for name in LAST.last("VOLUME").split()}
    env = {k: v for k, v in os.environ.items() if not k.startswith(("STREAMLIT_", "SACT_"))}
    for name, value in LAST.env.items():
        for volume, folder in volumes.items():
            folder.mkdir(exist_ok=True)
            value = value.replace(volume, str(folder))
        if name != "PATH":
            env[name] = value
    env |= {"STREAMLIT_SERVER_PORT": str(port), "STREAMLIT_SERVER_ADDRESS": "127.0.0.1"}
    env |= {"STREAMLIT_SERVER_BASE_URL_PATH": "see", "PYTHONPATH": str(ROOT)}
    python = os.path.dirname(sys.executable)
    env["PATH"] = f"{python}{os.pathsep}{env['PATH']}"
    command = LAST.command
    assert command[0] == "sact"
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)

    def health():
        return subprocess.run(LAST.health, shell=True, env=env, capture_output=True).returncode

    assert health() != 0
    start = [sys.executable, "-m", "sact_core", *command[1:]]
    with subprocess.Popen(start, cwd=closed, env=env, stdout=subprocess.DEVNULL) as server:
        try:
            end = time.monotonic() + 60
            while server.poll() is None and health() != 0:
                assert time.monotonic() < end, "it does not get well"
            assert server.poll() is None
        finally:
            server.terminate()
    assert health() != 0


@pytest.mark.parametrize("name", ["Dockerfile", "docs/serving.md"])
def test_ports_and_paths_are_those_of_the_app(name):
    text = (ROOT / name).read_text()
    assert LAST.last("EXPOSE") == LAST.env["STREAMLIT_SERVER_PORT"] == "8501"
    assert "-p 127.0.0.1:8501:8501" in text
    for volume in LAST.last("VOLUME").split():
        assert f":{volume}" in text
