"""A network of a thousand classes whose first and last blocks have one unit and never halt."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from app import families, loaders, stated, views
from app.controls.sizes import describe
from app.records import Look
from sact_core.backends import Net
from sact_core.checkpoint import write
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.data.imagenet import imagenet_classes
from tests.app.conftest import make_checkpoint
from tests.app.pages import run_page, texts

SHAPE = {"units_per_block": (1, 2, 1, 1, 3, 2, 1), "base_channels": 2, "num_classes": 1000}
TAUS = {"halting": "sact", "tau_conditioned": True, "tau_low": 0.001, "tau_high": 0.1}
DECIDING = [1, 4, 5]


@pytest.fixture
def imagenet_env(app_env, photographs, tmp_path):
    """Networks of 102 classes, and of 1,000, one of which takes any tau."""
    folder = tmp_path / "networks"
    folder.mkdir()
    for path in photographs.glob("zoo_photos*.h5"):
        (folder / path.name).write_bytes(path.read_bytes())
    for name, kind in (("mobile_anytau", TAUS), ("mobile", {})):
        made = make_checkpoint(NetworkConfig("mobile", **SHAPE, **kind), 1, bias=0.0)
        about = {"data_set": {"name": "imagenet2012"}}
        made = replace(
            made,
            class_names=tuple(imagenet_classes().values()),
            preprocessing=Preprocessing("mobile", 64, 0.875),
            provenance=about,
        )
        write(folder / f"{name}.h5", made)
    app_env.setenv("SACT_PRETRAINED_DIR", str(folder))
    return folder


def test_photographs_go_to_the_network_that_knows_most(imagenet_env):
    assert loaders.first_checkpoint() == "mobile_anytau"
    assert loaders.first_checkpoint(images="photographs") == "mobile_anytau"
    assert "zoo_photos_tau0.01" in loaders.checkpoint_names()


def test_a_line_says_what_a_network_knows(imagenet_env):
    cat = loaders.example("Cat")
    assert "knows 1,000 ImageNet classes" in describe(Look(loaders.model("mobile_anytau"), cat))
    other = loaders.model("zoo_photos_tau0.01")
    assert stated.knows(other) == "knows 102 Caltech-101 classes"
    ours = replace(other, source=imagenet_env / "caltech101_resnet50w16.h5")
    ours.header.provenance["recipe"] = {}
    assert stated.knows(ours).endswith(", trained here from nothing")


def test_explore_leaves_out_blocks_that_never_halt(imagenet_env):
    at = run_page("explore")

    assert not at.exception
    assert not at.error
    assert at.selectbox(key="explore_checkpoint").value == "mobile_anytau"
    said = texts(at)
    for i in range(7):
        assert (f"**Block {i + 1}** · " in said) == (i in DECIDING), i
    assert "of 1 units" not in said
    assert "and of the 4 of one unit, which never halt" in said
    film = next(s for s in at.slider if s.key == "explore_unit")
    assert film.max == 7


def test_the_film_is_of_blocks_that_decide(imagenet_env):
    model = loaders.model("mobile_anytau")
    run = loaders.run(Look(model, loaders.example("Cat"), 64))

    assert views.deciding(model.config) == DECIDING
    stages, active = views.film(run.result, DECIDING)
    assert [stage.layer for stage in stages] == [1, 1, 4, 4, 4, 5, 5]
    assert len(active) == 7
    assert views.cost(run, model.plan)[0][0] == "stem, head, logits"


def test_the_sweep_shows_the_rival_that_costs_nothing(imagenet_env):
    dense = loaders.model("mobile")
    rows = [
        {"image_size": side, "Total Flops/mean": 1e4 * side, "eval/Accuracy": side / 500}
        for side in (64, 32)
    ]
    beside = imagenet_env / "mobile.sizes.json"
    stored = {"content_hash": dense.digest, "sizes": rows}
    beside.write_text(json.dumps({"networks": [stored]}))

    family = families.any_tau([loaders.model("mobile_anytau")])[0]
    found = [p for p in families.points(family, loaders.shipped_models()) if "sizes" in p.group]
    assert [(p.short, p.flops, p.accuracy) for p in found] == [
        ("32 px", 32e4, 0.064),
        ("64 px", 64e4, 0.128),
    ]
    stored["content_hash"] = "another"
    beside.write_text(json.dumps({"networks": [stored]}))
    assert not stated.sizes(dense)


def test_an_image_is_made_ready_once_for_its_map_and_for_every_tau(imagenet_env, monkeypatch):
    look = Look(loaders.model("mobile_anytau"), loaders.example("Rocket"), 96)
    seen = []
    made = Net.see

    def see(self, *args, **options):
        seen.append(args)
        return made(self, *args, **options)

    monkeypatch.setattr(Net, "see", see)
    first = loaders.run(look)
    loaders.dial(look)
    loaders.run(replace(look, tau=0.05))
    assert len(seen) == 1
    other = loaders.run(replace(look, image_size=64))
    assert len(seen) == 2
    assert other.seen.pixels.shape != first.seen.pixels.shape


def test_every_class_can_be_looked_up(imagenet_env):
    at = run_page("explore")
    names = at.selectbox(key="explore_class")
    assert len(names.options) == 1000

    names.set_value("tabby").run()
    assert "tabby: " in texts(at)
    assert "% sure, number " in texts(at)
    at.selectbox(key="explore_checkpoint").set_value("zoo_photos_tau0.01").run()
    assert not at.exception
    assert at.selectbox(key="explore_class").value is None
