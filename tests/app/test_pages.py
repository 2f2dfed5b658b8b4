"""Every page alike, without a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app import families, loaders
from tests.app.conftest import ROOT
from tests.app.pages import PAGES, png, run_page, texts


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_page_loads(app_env, page):
    at = run_page(page.stem)

    assert not at.exception
    assert len(at.title) == 1
    assert at.title[0].value in page.read_text()  # no other page came instead


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_page_stands_alone(app_env, page):
    at = AppTest.from_file(str(page), default_timeout=60).run()

    assert not at.exception
    assert at.title


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_page_without_checkpoints_says_what_to_do(app_env, tmp_path, page):
    app_env.setenv("SACT_PRETRAINED_DIR", str(tmp_path / "empty"))
    at = run_page(page.stem)

    assert not at.exception
    assert at.title


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_widget_keys_start_with_the_page(app_env, page):
    at = run_page(page.stem)
    widgets = [
        *at.selectbox, *at.slider, *at.button, *at.toggle, *at.number_input, *at.text_input,
        *at.checkbox, *at.radio, *at.multiselect, *at.file_uploader, *at.select_slider,
        *at.button_group,
    ]  # fmt: skip

    for widget in widgets:
        assert widget.key, f"{widget.type} {widget.label!r} has no key"
        assert widget.key.startswith(page.stem + "_"), widget.key


def test_every_page_is_in_the_navigation():
    listed = (ROOT / "app" / "front.py").read_text()

    for page in PAGES:
        assert f'"app/pages/{page.name}"' in listed, page.name
    assert not (Path(ROOT) / "pages").exists()


def test_a_network_goes_by_one_name_on_every_page(photo_env):
    name = "zoo_photos_tau0.01"
    title = "ResNet-38 SACT, 1/16 width, τ = 0.01, on Caltech-101"
    for page in ("explore", "flops", "check", "data_set"):
        at = run_page(page, **{f"{page}_checkpoint": name})
        box = at.selectbox(key=f"{page}_checkpoint")

        assert not at.exception
        assert box.value == name
        assert box.options[box.index] == title
        assert at.query_params[f"{page}_checkpoint"] == name
        box.set_value("zoo_photos_tau0.02").run()
        assert at.query_params[f"{page}_checkpoint"] == "zoo_photos_tau0.02"
    at = run_page(explore_checkpoint=name)
    assert f"file {name}, {loaders.model(name).digest[:8]}" in texts(at)
    at = run_page("compare", compare_checkpoint_2=name)
    assert at.dataframe[-1].value["network"][1] == f"2  {title}"


def test_networks_of_one_title_have_their_files_too(app_env):
    names = ["tiny_sact_tau0.001", "tiny_sact_tau0.005"]
    first, second = (loaders.model(name) for name in names)
    found = families.titles({"a": first, "b": first, "c": second, "damaged": None})

    assert found["a"] == f"{families.title(first)} (a)"
    assert found["b"] == f"{families.title(first)} (b)"
    assert found["c"] == families.title(second)
    assert found["damaged"] == "damaged"


@pytest.mark.parametrize("page", ["explore", "sweep", "compare", "flops", "check"])
def test_memory_that_runs_out_in_the_engine_is_one_sentence(app_env, page):
    from sact_core.backends import Net

    def forward(*_, **__):
        raise MemoryError

    app_env.setattr(Net, "forward", forward)
    at = run_page(page)
    if page == "check":
        at.button(key="check_run").click().run()

    assert not at.exception
    assert [each.value.count(".") for each in at.error] == [1]
    assert "memory" in at.error[0].value


def test_an_upload_is_kept_once(app_env):
    """Streamlit keeps the file until the visit ends; the page has its pixels."""
    at = run_page()
    at.file_uploader(key="explore_upload").upload("mine.png", png(40, 60)).run()
    assert at.selectbox(key="explore_image").value == "mine.png"
    at.selectbox(key="explore_image").set_value("Coffee").run()
    at.selectbox(key="explore_image").set_value("mine.png").run()

    assert not at.exception
    assert not at.error
    assert "the whole 60 × 40 image" in texts(at)

    def test_a_network_that_does_not_halt_leads_to_one_that_does(self, app_env):
        at = run_page(explore_checkpoint="tiny_vanilla")

        assert not at.exception
        said = texts(at)
        assert "This network does not halt" in said
        assert "It decides" not in said
        assert "Bright positions" not in said
        assert "with and without halting" not in said
        at.button(key="explore_halting").click().run()

        assert not at.exception
        assert "It decides **for every position" in texts(at)
        assert len(at.header) > 2

    def test_act_decides_for_the_image(self, app_env):
        said = texts(run_page(explore_checkpoint="tiny_act"))

        assert "It decides **for an image as a whole**" in said
        assert "Bright positions" not in said
