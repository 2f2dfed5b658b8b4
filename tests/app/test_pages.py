"""Every page in every state, without a browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from app import loaders
from tests.app.conftest import ROOT

PAGES = sorted((ROOT / "app" / "pages").glob("*.py"))


def run_page(page: str = "", **query: str) -> AppTest:
    """Open the whole app at a page."""
    at = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=60)
    for key, value in query.items():
        at.query_params[key] = value
    at.run()
    if page:
        at.switch_page(f"app/pages/{page}.py").run()
    return at


def texts(at: AppTest) -> str:
    """Everything that is written on the page."""
    parts = [at.title, at.header, at.subheader, at.markdown, at.caption]
    alerts = [at.info, at.warning, at.error, at.success]
    return "\n".join(str(element.value) for group in parts + alerts for element in group)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_page_loads(app_env, page):
    at = run_page(page.stem)

    assert not at.exception
    assert len(at.title) == 1


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


class TestExplore:
    def test_shows_a_map_and_why_it_stopped(self, app_env):
        at = run_page()

        assert not at.exception
        assert at.title[0].value == "Where does the network think?"
        assert [metric.label for metric in at.metric][:2] == ["It says", "FLOPs"]
        assert "stopped after" in texts(at) or "ran all" in texts(at)
        assert len(at.get("plotly_chart")) >= 5

    @pytest.mark.parametrize("name", ["tiny_act", "tiny_vanilla", "zoo_photos"])
    def test_every_kind_of_network(self, app_env, name):
        at = run_page(explore_checkpoint=name)

        assert not at.exception
        assert at.selectbox(key="explore_checkpoint").value == name

    def test_no_checkpoint(self, app_env, tmp_path):
        app_env.setenv("SACT_PRETRAINED_DIR", str(tmp_path / "empty"))
        at = run_page()

        assert not at.exception
        assert "Put a checkpoint" in at.info[0].value

    def test_damaged_checkpoint(self, app_env, pretrained, tmp_path):
        folder = tmp_path / "damaged"
        folder.mkdir()
        whole = (pretrained / "tiny_act.h5").read_bytes()
        (folder / "cut.h5").write_bytes(whole[: len(whole) // 2])
        app_env.setenv("SACT_PRETRAINED_DIR", str(folder))
        at = run_page()

        assert not at.exception
        assert len(at.error) == 1
        assert str(folder) not in at.error[0].value

    def test_link_to_what_is_not_here(self, app_env):
        at = run_page(explore_checkpoint="nowhere", explore_image="Dragon")

        assert not at.exception
        assert sorted(w.value for w in at.warning) == [
            "The link asks for Dragon, which is not here.",
            "The link asks for nowhere, which is not here.",
        ]
        assert len(at.metric) == 4

    def test_link_restores_every_setting(self, app_env):
        at = run_page(
            explore_checkpoint="tiny_sact_tau0.01",
            explore_image="Coffee",
            explore_row="3",
            explore_column="30",
            explore_opacity="20",
            explore_colours="magma",
        )

        assert at.selectbox(key="explore_checkpoint").value == "tiny_sact_tau0.01"
        assert at.selectbox(key="explore_image").value == "Coffee"
        assert at.number_input(key="explore_row").value == 3
        assert at.number_input(key="explore_column").value == 30
        assert at.slider(key="explore_opacity").value == 20
        assert at.selectbox(key="explore_colours").value == "magma"

    def test_colours_never_run_the_network_again(self, app_env):
        at = run_page()
        before = loaders.num_runs()
        at.slider(key="explore_opacity").set_value(10).run()
        at.selectbox(key="explore_colours").set_value("inferno").run()

        assert loaders.num_runs() == before
        at.selectbox(key="explore_image").set_value("Rocket").run()
        assert loaders.num_runs() == before + 1
        at.number_input(key="explore_row").set_value(1).run()
        assert loaders.num_runs() == before + 1

    def test_upload_of_an_image(self, app_env):
        at = run_page()
        at.file_uploader(key="explore_upload").upload("odd.png", png(3, 200)).run()

        assert not at.exception
        assert not at.error
        assert at.selectbox(key="explore_image").value == "odd.png"

    def test_upload_of_a_fake_image(self, app_env):
        at = run_page()
        at.file_uploader(key="explore_upload").upload("fake.png", b"no image at all").run()

        assert not at.exception
        assert len(at.error) == 1
        assert at.error[0].value.startswith("fake.png is no image")
        assert len(at.metric) == 4

    def test_upload_of_a_checkpoint(self, app_env, pretrained):
        at = run_page()
        data = (pretrained / "tiny_act.h5").read_bytes()
        at.file_uploader(key="explore_upload_checkpoint").upload("mine.h5", data).run()

        assert not at.exception
        assert at.selectbox(key="explore_checkpoint").value == "uploaded: mine"

    def test_upload_of_a_bad_checkpoint(self, app_env):
        at = run_page()
        at.file_uploader(key="explore_upload_checkpoint").upload("bad.h5", b"\x89HDF").run()

        assert not at.exception
        assert len(at.error) == 1
        assert len(at.metric) == 4


def png(height: int, width: int) -> bytes:
    """A small image of an odd shape."""
    import io

    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_every_page_is_in_the_navigation():
    listed = (ROOT / "streamlit_app.py").read_text()

    for page in PAGES:
        assert f'"app/pages/{page.name}"' in listed, page.name
    assert not (Path(ROOT) / "pages").exists()
