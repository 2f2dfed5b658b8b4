"""Networks that overflow: every page says so, none breaks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sact_core.checkpoint import read, write
from tests.app.pages import PAGES, run_page, texts

#: Pages that run a network as soon as they are opened.
RUN_AT_ONCE = {"explore", "compare", "sweep", "flops"}


@pytest.fixture(scope="module")
def broken(any_tau, tmp_path_factory):
    """All networks of a folder, each with a unit that overflows."""
    folder = tmp_path_factory.mktemp("broken")
    for path in Path(any_tau).glob("*.h5"):
        made = read(path)
        params = {name: value.copy() for name, value in made.params.items()}
        params["stem/weight"] = np.where(params["stem/weight"] < 0, -3e38, 3e38).astype(np.float32)
        write(folder / path.name, replace(made, params=params))
    return folder


@pytest.fixture
def broken_env(app_env, broken):
    app_env.setenv("SACT_PRETRAINED_DIR", str(broken))
    return app_env


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
@pytest.mark.parametrize("name", ["tiny_sact_anytau", "tiny_act", "tiny_vanilla"])
def test_every_page_says_what_is_wrong(broken_env, page, name):
    at = run_page(page.stem, **{f"{page.stem}_checkpoint": name})

    assert not at.exception
    assert at.title
    if page.stem in RUN_AT_ONCE:
        assert "are not finite" in texts(at)


def test_checking_it_is_a_message_too(broken_env):
    at = run_page("check")
    at.button(key="check_run").click().run()

    assert not at.exception
    assert "are not finite" in texts(at)
