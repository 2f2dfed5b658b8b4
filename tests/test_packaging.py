"""``pip install .`` beside other packages: a wheel, its bounds, and the lock."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import tomllib
import urllib.request
import venv
import zipfile

import numpy as np
import pytest
from packaging.requirements import Requirement
from PIL import Image

import sact_core.app
import sact_core.ponder
from sact_core import __version__
from sact_core.__main__ import COMMANDS
from sact_core.extras import EXTRAS
from tests.conftest import ROOT, need_registry
from tests.test_imports import COMMANDS as MODULES_RUN

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CHECKPOINT = ROOT / "pretrained" / "cifar10_resnet32_sact_tau0.05.h5"
#: Modules whose package has another name.
MODULES = {
    "google-crc32c": "google_crc32c",
    "tensorflow-datasets": "tensorflow_datasets",
}

#: Folders that a wheel puts beside the core, in one of its own.
BESIDE = ("app", ".streamlit", "pretrained")

#: Runs a shipped network on the masked backend; says where it came from and what it found.
RUN = """
import json, sys, numpy, sact_core
images = numpy.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(numpy.uint8)
result = sact_core.load(sys.argv[1], backend="masked").run(images)
found = {"flops": result.flops.tolist(), "logits": result.logits.tolist()}
print(json.dumps(found | {"numpy": numpy.__version__, "file": sact_core.__file__}))
"""

#: Draws a page of the installed app; says which networks can be chosen there.
PAGE = """
import json, sys
from sact_core.shipped import home
sys.path.insert(0, str(home()))
from streamlit.testing.v1 import AppTest
page = AppTest.from_file(home() / "streamlit_app.py", default_timeout=60)
page.switch_page("app/pages/runs.py").run()
assert page.title and not page.exception and not page.error, (page.exception, page.error)
from app import loaders
print(json.dumps({name: str(path) for name, path in loaders.checkpoint_files().items()}))
"""


def lock(name="requirements.txt"):
    """Pinned packages of a file of requirements, as ``{name: version}``."""
    lines = (ROOT / name).read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name.lower().replace("_", "-"): version for name, version in pins}


def asked_for(extra=None):
    """What the package, or one extra of it, asks for; extras of extras followed."""
    given = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    for each in map(Requirement, given):
        if each.name == PROJECT["name"]:
            for other in sorted(each.extras):
                yield from asked_for(other)
        else:
            yield each


# --- what is asked for ---


@pytest.mark.parametrize("extra", [None, *PROJECT["optional-dependencies"]])
def test_the_locks_satisfy_what_is_asked_for(extra):
    pins = lock() | lock("requirements-bench.txt") | lock("requirements-notebook.txt")
    for each in asked_for(extra):
        name = each.name.lower().replace("_", "-")
        assert name in pins, f"{each.name} is not in a file of requirements"
        assert each.specifier.contains(pins[name]), f"{each} against {pins[name]}"
        assert [part.operator for part in each.specifier] == [">="]


def test_everything_in_the_locks_is_asked_for():
    names = {
        extra: {each.name.lower().replace("_", "-") for each in asked_for(extra)}
        for extra in (None, "all", "bench", "onnx", "notebook")
    }
    apps, rivals = lock(), lock("requirements-bench.txt")
    beside = names["onnx"] | set(lock("requirements-notebook.txt"))
    assert names[None] | names["all"] - beside == set(apps)
    assert names["bench"] - set(apps) == set(rivals)
    assert names["notebook"] - set(apps) == set(lock("requirements-notebook.txt"))
    assert not set(apps) & set(rivals)  # `make app` brings no rival


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_brings_what_the_program_says_it_brings(extra):
    brought = {MODULES.get(each.name, each.name) for each in asked_for(extra)}
    assert set(EXTRAS[extra]) <= brought


def test_every_extra_but_the_rivals_is_in_all():
    extras = set(PROJECT["optional-dependencies"])
    (everything,) = map(Requirement, PROJECT["optional-dependencies"]["all"])
    assert everything.extras == extras - {"all", "bench"}  # rivals are for measurements alone
    assert set(EXTRAS) == extras - {"all"}


# --- a wheel, installed ---


@pytest.mark.parametrize(
    ("required", "outcome"), [("0", pytest.skip.Exception), ("1", pytest.fail.Exception)]
)
def test_without_a_registry_it_is_said(monkeypatch, required, outcome):
    monkeypatch.setenv("SACT_REQUIRE_REGISTRY", required)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(outcome, match=r"there is no package registry to install from: .+hatchling"):
        need_registry()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The package as pip builds it, from a copy without what a build would leave behind."""
    need_registry()
    folder = tmp_path_factory.mktemp("wheel")
    skip = shutil.ignore_patterns("__pycache__")
    for name in ("sact_core", *BESIDE):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE", "streamlit_app.py"):
        shutil.copy(ROOT / name, folder / "source")
    pip("wheel", "--no-deps", "--wheel-dir", folder, folder / "source")
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """Python of a fresh environment with the wheel, the oldest packages it asks for, no extra."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "env", symlinks=True)
    python = folder / "env" / "bin" / "python"
    pins = {each.name: next(iter(each.specifier)).version for each in asked_for()}
    if sys.version_info >= (3, 13):  # which the oldest have no wheels for
        pins = {name: lock()[name.lower()] for name in pins} | {"numpy": "2.3.5"}
    oldest = [f"{name}=={version}" for name, version in pins.items()]
    pip("--python", python, "install", "--only-binary", ":all:", wheel, *oldest)
    return python


def pip(*arguments):
    """Run pip, quietly."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def run(python, *arguments):
    """Run the installed package from another folder; its kernels are compiled, with less care."""
    options = {"cwd": python.parent, "capture_output": True, "text": True, "timeout": 300}
    return subprocess.run([python, *arguments], env=os.environ | {"NUMBA_OPT": "0"}, **options)


def test_a_wheel_carries_the_whole_program_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    files = {"sact_explorer/streamlit_app.py"}
    for folder in ("sact_core", *BESIDE):
        for path in (ROOT / folder).rglob("*"):
            name = path.relative_to(ROOT).as_posix()
            if path.is_file() and "__pycache__" not in name:
                files.add(name if folder == "sact_core" else f"sact_explorer/{name}")
    scripts = {name for name in files if name.startswith("sact_explorer/pretrained/")}
    files -= {name for name in scripts if name.endswith((".py", ".png"))}
    assert names == files
    assert "sact_core/py.typed" in names
    assert "sact_explorer/pretrained/cifar10_resnet32_sact_anytau.h5" in names
    assert re.match(rf"sact_explorer-{re.escape(__version__)}-py3-none-any", wheel.name)


def test_an_installed_network_runs_as_here_with_another_numpy(python):
    done = run(python, "-c", RUN, CHECKPOINT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["file"].startswith(str(python.parents[1]))
    assert found["numpy"] != np.__version__
    here = subprocess.run(
        [sys.executable, "-c", RUN, CHECKPOINT], cwd=ROOT, capture_output=True, check=True
    )
    ref = json.loads(here.stdout)
    assert found["flops"] == ref["flops"]
    np.testing.assert_allclose(found["logits"], ref["logits"], rtol=0, atol=1e-4)


def test_installed_commands_run_or_name_the_extra(python):
    done = run(python, "-m", "sact_core.ponder", "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: python -m sact_core.ponder")
    done = run(python, "-m", "sact_core.train", "--dataset", "cifar10")
    assert done.returncode == 2
    assert done.stderr.startswith("error: training needs torch, which is not installed: ")
    code = "import sys, sact_core; sact_core.load(sys.argv[1], backend='dense')"
    done = run(python, "-c", code, CHECKPOINT)
    assert "pip install 'sact-explorer[train]' brings it" in done.stderr.splitlines()[-1]


def test_the_console_command_lists_every_command():
    assert {name.replace("-", "_") for name in COMMANDS} == set(MODULES_RUN) - {"__main__"}


# --- the whole program, installed beside what the app needs, used from another folder ---


@pytest.fixture(scope="module")
def program(wheel, tmp_path_factory):
    """Folder of the commands of an environment that has the wheel and sees the packages here."""
    folder = tmp_path_factory.mktemp("program")
    venv.create(folder / "env", symlinks=True)
    python = folder / "env" / "bin" / "python"
    pip("--python", python, "install", "--no-deps", wheel)
    sites = {name: sysconfig.get_path(name) for name in ("purelib", "platlib")}
    (core,) = (folder / "env").glob("lib/python*/site-packages/sact_core")
    (core.parent / "here.pth").write_text("\n".join(dict.fromkeys(sites.values())))
    return folder / "env" / "bin"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder that is not the repository, whose own ``app`` is not to be met."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SACT_PRETRAINED_DIR", raising=False)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("raise SystemExit('the wrong app')")
    return tmp_path


def sact(program, *arguments):
    """Run the console command."""
    command = list(map(str, (program / "sact", *arguments)))
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_console_command_is_the_modules(program, elsewhere):
    assert sact(program, "--version").stdout.strip() == __version__
    asked = sact(program, "export-maps", "--help")
    assert (asked.returncode, asked.stdout[:23]) == (0, "usage: sact export-maps")
    ran = subprocess.run([program / "python", "-m", "sact_core.ponder"], capture_output=True)
    done = sact(program, "ponder")
    assert done.returncode == ran.returncode == 2
    said = ran.stderr.decode().replace("python -m sact_core.ponder", "sact ponder")
    assert done.stderr == said
    done = sact(program, "pondr")
    assert done.returncode == 2
    assert done.stderr == "error: there is no command 'pondr': did you mean ponder?\n"


def test_a_shipped_network_is_found_by_name_from_anywhere(program, elsewhere):
    photo = str(ROOT / "app" / "examples" / "cat.jpg")
    words = [photo, "--checkpoint", "cifar10-anytau", "--backend", "reference"]
    done = sact(program, "ponder", *words, "--out", "maps")
    assert done.returncode == 0, done.stderr
    assert sact_core.ponder.main([*words, "--out", str(elsewhere / "ref")]) == 0
    for ending in ("overlay", "ponder"):
        drawn = [
            Image.open(folder / f"cat_{ending}.png")
            for folder in (elsewhere / "ref", elsewhere / "maps")
        ]
        assert drawn[0].tobytes() == drawn[1].tobytes()
        assert "cifar10-anytau" in str(drawn[1].info)


def test_the_installed_app_answers_and_lists_the_shipped_networks(program, elsewhere):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program / "sact", "app", "--no-browser", "--port", str(port), "--base-path", "see"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        try:
            page = subprocess.run([program / "python", "-c", PAGE], capture_output=True, text=True)
            assert health(f"http://127.0.0.1:{port}/see/_stcore/health", server) == b"ok"
        finally:
            server.terminate()
    assert page.returncode == 0, page.stderr
    found = json.loads(page.stdout.splitlines()[-1])
    assert set(found) == {path.stem for path in (ROOT / "pretrained").glob("*.h5")}
    assert all(path.startswith(str(program.parent)) for path in found.values())


def health(address, server):
    """What the app says of its health, once it answers."""
    for _ in range(600):
        if server.poll() is not None:
            break
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=2) as answer:
            return answer.read()
        time.sleep(0.1)
    pytest.fail(f"the app does not answer: {server.poll()}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "0"], "--port must be from 1 to 65535, got 0"),
        (["--address", "192.0.2.1"], "'192.0.2.1' is no address of this machine"),
        (["--base-path", "a b"], "--base-path must be a path such as sact, got 'a b'"),
        (["--port", "{taken}"], "is in use: choose another with --port"),
    ],
)
def test_where_the_app_cannot_listen_is_one_sentence(capsys, words, said):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        words = [word.format(taken=taken.getsockname()[1]) for word in words]
        assert sact_core.app.main(words) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.startswith("error: ")
    assert told.count("\n") == 1


def test_the_app_needs_its_extra(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "streamlit", None)
    assert sact_core.app.main([]) == 2
    assert "pip install 'sact-explorer[app]' brings it" in capsys.readouterr().err
