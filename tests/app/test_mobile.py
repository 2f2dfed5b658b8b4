"""Networks of the mobile family, blocks that never halt among them, on every page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sact_core.checkpoint import write
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.data.imagenet import imagenet_classes
from tests.app.conftest import make_checkpoint
from tests.app.pages import PAGES, run_page, texts

SHAPE = {"units_per_block": (1, 2, 2, 1, 3, 2, 1), "base_channels": 2, "num_classes": 1000}
TAUS = {"tau_conditioned": True, "tau_low": 0.001, "tau_high": 0.1}


@pytest.fixture
def mobile_env(app_env, tmp_path):
    """The app sees networks of the mobile family alone."""
    folder = tmp_path / "mobile"
    folder.mkdir()
    kinds = {"none": {}, "act": {"halting": "act"}, "sact": {"halting": "sact"}}
    kinds["anytau"] = {"halting": "sact", **TAUS}
    for name, kind in kinds.items():
        made = make_checkpoint(NetworkConfig("mobile", **SHAPE, **kind), 1, bias=0.0)
        names = tuple(imagenet_classes().values())
        made = replace(made, class_names=names, preprocessing=Preprocessing("mobile", 64, 0.875))
        write(folder / f"{name}.h5", made)
    app_env.setenv("SACT_PRETRAINED_DIR", str(folder))
    return app_env


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_page_loads(mobile_env, page):
    at = run_page(page.stem)

    assert not at.exception
    assert not at.error
    assert len(at.title) == 1


@pytest.mark.parametrize("name", ["none", "act", "sact", "anytau"])
def test_every_kind_tells_its_flops(mobile_env, name):
    at = run_page("flops", flops_checkpoint=name)

    assert not at.exception
    assert not at.error
    assert "EfficientNet-Lite 1_2_2_1_3_2_1" in texts(at)
