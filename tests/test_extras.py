"""What may be missing is named with the extra that brings it, before any work is done."""

from __future__ import annotations

import runpy
import sys
from importlib import import_module

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from sact_core import extras
from sact_core.backends import load
from sact_core.checkpoint import Checkpoint, write
from sact_core.commands import run
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.data.splits import open_split
from sact_core.maps import drawing
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests.conftest import ROOT

MAPS = ("--checkpoint", "{net}", "--backend", "reference")
#: Command and flags, what is not installed, and the extra to be named.
COMMANDS = [
    (("train", "--dataset", "cifar10"), "torch", "train"),
    (("train", "--dataset", "cifar10"), "google_crc32c", "train"),
    (("figure", "maps", "{image}", *MAPS, "--out", "{out}.svg"), "matplotlib", "plots"),
    (("average", "{net}", "{net}", "--out", "{out}.h5"), "torch", "train"),
    (("ponder", *MAPS, "--out", "{out}", "{image}"), "matplotlib", "plots"),
    (("ponder", *MAPS, "--backend", "dense", "--out", "{out}", "{image}"), "torch", "train"),
    (("draw_maps", "{out}.h5", "--out", "{out}"), "matplotlib", "plots"),
    (("evaluate", *MAPS, "--dataset", "cifar10"), "tensorflow_datasets", "data"),
    (("evaluate", *MAPS, "--dataset", "cifar10"), "array_record", "data"),
    (("evaluate", *MAPS, "--sizes", "16", "--plot", "{out}.png"), "matplotlib", "plots"),
    (("evaluate", "--watch", "{out}"), "google_crc32c", "train"),
    (("export_maps", *MAPS, "--dataset", "cifar10", "--out", "{out}.h5"), "array_record", "data"),
    (("import_tf", "{net}", "--out", "{out}.h5"), "cramjam", "import-tf"),
    (("import_tf", "{net}", "--out", "{out}.h5"), "google_crc32c", "import-tf"),
    (("import_torch", "{net}", "--as", "mobile", "--out", "{out}.h5"), "torch", "train"),
    (("export_onnx", "{net}", "--out", "{out}.onnx"), "onnx", "onnx"),
    (("benchmark", "infer", "--out", "{out}"), "torch", "train"),
    (("benchmark", "infer", "--out", "{out}"), "plotly", "plots"),
    (("benchmark", "halting", "--out", "{out}"), "torch", "train"),
    (("benchmark", "family", "{net}", "--out", "{out}"), "torch", "train"),
    (("benchmark", "train", "--out", "{out}"), "torch", "train"),
    (("benchmark", "report", "--out", "{out}"), "plotly", "plots"),
]


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A small SACT network on disk."""
    config = NetworkConfig(units_per_block=(2, 1, 1), base_channels=4, halting="sact")
    path = tmp_path_factory.mktemp("net") / "net.h5"
    params = init_params(build_plan(config))
    write(path, Checkpoint(config, params, Preprocessing("cifar", 16)))
    return path


@pytest.mark.parametrize(
    ("argv", "absent", "extra"), COMMANDS, ids=[f"{c[0]}-{p}" for c, p, _ in COMMANDS]
)
def test_a_command_names_the_extra(net, tmp_path, monkeypatch, capsys, argv, absent, extra):
    command, *argv = argv
    monkeypatch.setitem(sys.modules, absent, None)  # as if it were not installed
    monkeypatch.chdir(tmp_path)
    package = (ROOT / "sact_core" / command).is_dir()
    main = import_module(
        f"sact_core.{command}.__main__" if package else f"sact_core.{command}"
    ).main
    given = {"net": net, "out": tmp_path / "out", "image": ROOT / "app/examples/cat.jpg"}
    assert main([each.format(**given) for each in argv]) == 2
    said = capsys.readouterr()
    assert f"needs {absent}, which is not installed: " in said.err
    assert f"pip install 'sact-explorer[{extra}]'" in said.err
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("absent", "call"),
    [
        ("torch", lambda net: load(net, "dense")),
        ("tensorflow_datasets", lambda net: open_split("cifar10", "test")),
        ("matplotlib", lambda net: drawing.colour(np.zeros((2, 2)), (0, 1), "viridis")),
    ],
)
def test_a_call_raises_a_sentence(net, monkeypatch, absent, call):
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(extras.MissingPackage, match=f"needs {absent}, which is not installed"):
        call(net)


def test_the_app_names_the_extra_on_its_page(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    page = AppTest.from_file(str(ROOT / "streamlit_app.py")).run(timeout=60)
    assert [each.value for each in page.error] == [
        "the app needs plotly, which is not installed: pip install 'sact-explorer[app]' brings it"
    ]
    assert not page.exception


def test_the_app_without_streamlit_ends_in_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "streamlit", None)
    with pytest.raises(SystemExit, match="error: the app needs streamlit, which is not installed"):
        runpy.run_path(str(ROOT / "streamlit_app.py"))


def test_the_other_backends_need_nothing(net, monkeypatch):
    for names in extras.EXTRAS.values():
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)
    for backend in ("reference", "masked"):
        assert load(net, backend).run(np.zeros((1, 16, 16, 3), np.uint8)).logits.shape == (1, 10)


def test_an_import_that_nobody_foresaw_is_a_sentence_too(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)

    def work():
        import plotly.graph_objects  # noqa: F401

    assert run(work) == 2
    assert "sact-explorer[plots]" in capsys.readouterr().err


def test_a_module_of_no_extra_is_a_bug_and_stays_one():
    def work():
        import sact_core.no_such_module  # noqa: F401

    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        run(work)
