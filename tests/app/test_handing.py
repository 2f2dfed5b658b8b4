"""What pages hand on as one HTML file: what they show, and what its command gives."""

from __future__ import annotations

import json
import re
import shlex

import numpy as np
import pytest

from app import controls, loaders
from app.records import Look
from sact_core import ponder
from tests.app.conftest import ROOT
from tests.app.pages import ANY, ANY_FAMILY, run_page


def document(page: bytes) -> dict:
    """The data of a file."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.decode())
    return json.loads(found[1])


@pytest.fixture
def handed(monkeypatch):
    """What pages offer: names of files, and what makes them; the latest last."""
    found = []
    monkeypatch.setattr(controls, "hand_on", lambda page, file, make: found.append((file, make)))
    return found


def opened(page, handed, **state):
    """A page; the data of the file that it offers, and the file's name."""
    at = run_page(page, **state)
    assert not at.exception
    file, make = handed[-1]
    return document(make()), file


@pytest.mark.parametrize("metric", ["Ponder cost", "Units run"])
def test_explore_hands_on_what_its_command_makes(any_tau_env, any_tau, tmp_path, handed, metric):
    state = {
        "explore_checkpoint": ANY, "explore_tau": "0.0123", "explore_image": "Coffee",
        "explore_row": "20", "explore_column": "7", "explore_colours": "magma",
        "explore_metric": metric, "explore_opacity": "40", "explore_fit_cifar": "Square crop",
        "explore_side_cifar": "32",
    }  # fmt: skip
    found, file = opened("explore", handed, **state)
    (scene,) = found["scenes"]
    (side,) = scene["sides"]
    assert file == f"Coffee_{ANY}_tau0.0123_32x32.html"
    assert scene["position"] == [20, 7]
    assert found["opacity"] == 0.4
    assert side["taus"][side["at"]] == 0.0123
    assert len(side["taus"]) > 40
    words = shlex.split(found["command"])
    assert words[-2:] == ["--html", file]
    words[3] = str(ROOT / words[3])
    words[words.index("--checkpoint") + 1] = str(any_tau / f"{ANY}.h5")
    words[-1] = str(tmp_path / file)
    assert ponder.main(words[3:]) == 0
    made = document((tmp_path / file).read_bytes())
    for name in ("colours", "opacity", "metric"):
        assert made[name] == found[name]
    assert made["scenes"][0]["image"] == scene["image"]
    assert made["scenes"][0]["limits"] == scene["limits"]
    for name in ("taus", "at", "blocks", "flops", "dense", "says"):
        assert made["scenes"][0]["sides"][0][name] == side[name]


def test_sweep_hands_on_a_family_as_one_dial(any_tau_env, handed):
    found, _ = opened("sweep", handed, sweep_image="Astronaut", sweep_tau="0.01")
    (side,) = found["scenes"][0]["sides"]
    assert side["taus"] == sorted(side["taus"])
    assert len(found["command"].splitlines()) == len(side["taus"])
    hashes = [value for name, value in side["about"] if name == "Content hash"]
    assert len({*hashes}) == len(side["taus"])
    models = [loaders.model(name) for name in loaders.checkpoint_names()]
    for digest, flops in zip(hashes, side["flops"], strict=True):
        (model,) = [model for model in models if model.digest == digest]
        about = found["provenance"]["networks"][0]
        look = Look(model, loaders.example("Astronaut"), about["image_size"], about["fit"])
        assert sum(flops) == loaders.run(look).result.flops[0]


def test_sweep_hands_on_the_dial_of_a_network(any_tau_env, handed):
    state = {"sweep_family": ANY_FAMILY, "sweep_image": "Astronaut", "sweep_price": "0.02"}
    found, _ = opened("sweep", handed, **state)
    (side,) = found["scenes"][0]["sides"]
    assert side["taus"][side["at"]] == 0.02
    assert np.diff([sum(flops) for flops in side["flops"]]).min() < 0


def test_compare_hands_on_all_networks(any_tau_env, handed):
    chosen = [ANY, "tiny_act", "tiny_vanilla"]
    state = {f"compare_checkpoint_{i + 1}": name for i, name in enumerate(chosen)}
    found, _ = opened("compare", handed, compare_count="3", **state)
    sides = found["scenes"][0]["sides"]
    assert [side["halts"] for side in sides] == [True, True, False]
    assert [len(side["taus"]) > 1 for side in sides] == [True, False, False]
    assert len(found["command"].splitlines()) == 2  # the third has no maps
    assert sum(sides[2]["flops"][0]) == sum(sides[2]["dense"])
