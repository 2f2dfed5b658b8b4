"""The widget for notebooks: what it sends, the traits that come back, and the tour."""

from __future__ import annotations

import base64
import io
import json
import sys

import nbformat
import numpy as np
import pytest
import traitlets
from nbclient import NotebookClient
from PIL import Image

from sact_core import extras, handout
from sact_core.backends import Net
from sact_core.checkpoint import Checkpoint
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests.conftest import ROOT
from tests.networks import any_tau_checkpoint


@pytest.fixture(scope="module")
def net():
    return Net.from_checkpoint(any_tau_checkpoint(), "reference")


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def sent(view):
    """What the browser gets, as `_data` [bytes]."""
    state = view.get_state()
    assert isinstance(state["_data"], bytes)  # a binary buffer, not numbers in a list
    return json.loads(state["_data"])


def test_what_is_sent_is_what_a_file_holds(net, image):
    view = net.explore(image, 16, "keep", tau=0.02, colour_map="magma", opacity=0.3)
    seen = net.see(image, 16, "keep")
    thought = handout.think(net, seen.x, net.forward(seen.x, tau=0.02), tau=0.02)
    found = sent(view)
    (ref,) = handout.scene("Image", seen.pixels, [thought])["sides"]
    (side,) = found["scenes"][0]["sides"]
    assert side | {"about": []} == ref | {"about": []}
    assert found["opacity"] == 0.3
    assert found["colours"] == handout.document([], colour_map="magma")["colours"]
    assert (view.position, view.unit) == ((seen.x.shape[1] // 2, seen.x.shape[2] // 2), 1)


def test_traits_can_be_read_and_set(net, image):
    view = net.explore(image, 16, "keep", tau=0.02)
    assert view.tau == 0.02
    assert view.result.flops == net.forward(net.see(image, 16, "keep").x, tau=0.02).flops
    view.tau = 0.0301
    assert view.tau == min(view.taus, key=lambda tau: abs(tau - 0.0301))
    assert view.result.flops == net.forward(net.see(image, 16, "keep").x, tau=view.tau).flops
    view.set_state({"position": [3, 5], "tau": view.taus[0], "unit": 6})  # as a browser does
    assert (view.position, view.tau, view.unit) == ((3, 5), 0.001, 6)
    for name, value in (
        ("position", (16, 0)), ("position", (0, -1)), ("position", "ab"), ("unit", 0),
        ("unit", 7), ("tau", -1.0), ("tau", float("nan")), ("tau", None),
    ):  # fmt: skip
        with pytest.raises(traitlets.TraitError, match=name):
            setattr(view, name, value)
    assert (view.position, view.tau, view.unit) == ((3, 5), 0.001, 6)


def test_a_page_without_widgets_gets_a_picture(net, image):
    view = net.explore(image, tau=0.02, colour_map="magma")
    bundle, _ = view._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    data = bundle["image/png"]
    picture = Image.open(io.BytesIO(data if isinstance(data, bytes) else base64.b64decode(data)))
    assert picture.size == (16, 16)


@pytest.mark.parametrize("halting", ["act", "none"])
def test_every_kind_of_network(image, halting, tmp_path):
    config = NetworkConfig("cifar", (2, 1, 1), 2, 3, halting)
    made = Checkpoint(
        config, init_params(build_plan(config), 0), Preprocessing("cifar", 16), (), {"tau": 0.01}
    )
    view = Net.from_checkpoint(made, "reference").explore(image)
    assert view.taus == [view.tau] == [0.01]
    assert sent(view)["scenes"][0]["sides"][0]["halts"] is (halting == "act")
    view._repr_mimebundle_()
    view.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_bytes().startswith(b"<!doctype html>")


def test_mistakes_are_one_sentence(net, image, monkeypatch):
    for options, said in (
        ({"tau": 5.0}, "tau"), ({"colour_map": "rainbow"}, "colour_map must be one of"),
        ({"metric": "flops"}, "metric must be one of"), ({"opacity": 2}, "opacity must lie"),
        ({"fit": "no"}, "fit"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            net.explore(image, **options)
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(extras.MissingPackage, match=r"sact-explorer\[notebook\]"):
        net.explore(image)


def test_the_tour_runs(tmp_path):
    path = ROOT / "notebooks" / "tour.ipynb"
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)  # none is kept
    client = NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [output.data for output in outputs if output.output_type != "stream"]
    assert any("application/vnd.jupyter.widget-view+json" in data for data in shown)
    assert any("image/png" in data for data in shown)
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert "(40, 60), 3)" in "".join(data.get("text/plain", "") for data in shown)
    assert str(sys.version_info.major) == notebook.metadata.language_info.version[0]
