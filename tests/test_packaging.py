"""``pip install .`` beside other packages: a wheel, its bounds, and the lock."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile

import numpy as np
import pytest
from packaging.requirements import Requirement

from sact_core import __version__
from sact_core.extras import EXTRAS
from tests.conftest import ROOT, need_registry

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CHECKPOINT = ROOT / "pretrained" / "cifar10_resnet32_sact_tau0.05.h5"
#: Modules whose package has another name.
MODULES = {
    "google-crc32c": "google_crc32c",
    "tensorflow-datasets": "tensorflow_datasets",
}

#: Runs a shipped network on the masked backend; says where it came from and what it found.
RUN = """
import json, sys, numpy, sact_core
images = numpy.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(numpy.uint8)
result = sact_core.load(sys.argv[1], backend="masked").run(images)
found = {"flops": result.flops.tolist(), "logits": result.logits.tolist()}
print(json.dumps(found | {"numpy": numpy.__version__, "file": sact_core.__file__}))
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
    pins = lock() | lock("requirements-bench.txt")
    for each in asked_for(extra):
        name = each.name.lower().replace("_", "-")
        assert name in pins, f"{each.name} is not in a file of requirements"
        assert each.specifier.contains(pins[name]), f"{each} against {pins[name]}"
        assert [part.operator for part in each.specifier] == [">="]


def test_everything_in_the_locks_is_asked_for():
    names = {
        extra: {each.name.lower().replace("_", "-") for each in asked_for(extra)}
        for extra in (None, "all", "bench", "onnx")
    }
    apps, rivals = lock(), lock("requirements-bench.txt")
    assert names[None] | names["all"] - names["onnx"] == set(apps)
    assert names["bench"] - set(apps) == set(rivals)
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
    with pytest.raises(
        outcome, match=r"there is no package registry to install from: .+setuptools"
    ):
        need_registry()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The package as pip builds it, from a copy without what a build would leave behind."""
    need_registry()
    folder = tmp_path_factory.mktemp("wheel")
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "sact_core", folder / "source" / "sact_core", ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
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


def test_a_wheel_carries_the_whole_core_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    sources = (ROOT / "sact_core").rglob("*")
    files = {str(path.relative_to(ROOT)) for path in sources if path.is_file()}
    assert names == {name for name in files if "__pycache__" not in name}
    assert "sact_core/py.typed" in names
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
