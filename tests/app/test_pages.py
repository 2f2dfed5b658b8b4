"""Every page in every state, without a browser."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from app import families, figures, loaders, times
from app.compare import maps
from app.folders import InputError
from app.records import Look
from sact_core.checkpoint import write
from sact_core.config import NetworkConfig
from tests.app.conftest import CLASSES, ROOT, make_checkpoint

ANY = "tiny_sact_anytau"
PAGES = sorted((ROOT / "app" / "pages").glob("*.py"))


def run_page(page: str = "", **query: str) -> AppTest:
    """Open the whole app at a page, as its link does: no other page is drawn before."""
    at = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=60)
    for key, value in query.items():
        at.query_params[key] = value
    if page:
        at.switch_page(f"app/pages/{page}.py")
    return at.run()


def texts(at: AppTest) -> str:
    """Everything that is written on the page."""
    parts = [at.title, at.header, at.subheader, at.markdown, at.caption]
    alerts = [at.info, at.warning, at.error, at.success]
    return "\n".join(str(element.value) for group in parts + alerts for element in group)


def viewers(at: AppTest) -> list[Any]:
    """The viewers of the page; what surrounds every page is a component too."""
    found = at.get("bidi_component")
    return [each for each in found if "sact_viewer" in each.proto.component_name]


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


class TestExplore:
    def test_shows_a_map_and_why_it_stopped(self, app_env):
        at = run_page()

        assert not at.exception
        assert at.title[0].value == "Where does the network think?"
        assert [metric.label for metric in at.metric][:2] == ["It says", "FLOPs"]
        assert "stopped after" in texts(at) or "ran all" in texts(at)
        assert len(at.get("plotly_chart")) >= 5

    @pytest.mark.parametrize("name", ["tiny_act", "tiny_vanilla", "zoo_photos_tau0.01"])
    def test_every_kind_of_network(self, photo_env, name):
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

    @pytest.mark.parametrize(
        ("kind", "key", "value"),
        [
            ("slider", "explore_opacity", 10),
            ("selectbox", "explore_colours", "inferno"),
            ("button_group", "explore_metric", "num_units"),
            ("button_group", "explore_scale", "stretched"),
            ("slider", "explore_unit", 5),
            ("number_input", "explore_row", 1),
        ],
    )
    def test_looking_never_runs_the_network_again(self, app_env, kind, key, value):
        at = run_page()
        before = loaders.num_runs()
        getattr(at, kind)(key=key).set_value(value).run()

        assert not at.exception
        assert loaders.num_runs() == before

    def test_another_image_runs_it_once(self, app_env):
        at = run_page()
        before = loaders.num_runs()
        at.selectbox(key="explore_image").set_value("Coffee").run()

        assert loaders.num_runs() == before + 1

    @pytest.mark.parametrize("name", ["tiny_sact_tau0.005", "tiny_act"])
    def test_downloads_follow_the_settings(self, app_env, name):
        at = run_page(explore_checkpoint=name)
        at.selectbox(key="explore_colours").set_value("magma").run()

        assert not at.exception
        assert "--colour-map magma" in at.code[0].value

    @pytest.mark.parametrize(
        ("fit", "said", "flag"),
        [
            ("Square crop", "the central square of the middle 87.5%", "--fit square"),
            ("As evaluated", "stretched to 192 × 192 pixels", "--fit crop"),
            ("Whole image", "image at 192 pixels on its longer side", "--fit keep"),
        ],
    )
    def test_a_square_crop_of_a_photograph_crops(self, photo_env, fit, said, flag):
        at = run_page(explore_fit_imagenet=fit, explore_image="Coffee")

        assert not at.exception
        assert said in texts(at)
        assert ("stretched" in texts(at)) == (fit == "As evaluated")
        assert flag in at.code[0].value

    @pytest.fixture
    def marks(self, monkeypatch):
        """Positions that the viewer frames, the latest last."""
        from app.explore import maps as explore_maps

        found, payload = [], explore_maps.payload

        def spy(*args, mark=None, **more):
            found.append(mark)
            return payload(*args, mark=mark, **more)

        monkeypatch.setattr(explore_maps, "payload", spy)
        return found

    def test_a_linked_position_is_marked_and_explained(self, app_env, marks):
        at = run_page(explore_row="20", explore_column="21", explore_image="Coffee")

        assert not at.exception
        assert marks[0] == (20, 21)  # as soon as it is opened
        assert at.number_input(key="explore_row").value == 20
        assert at.number_input(key="explore_column").value == 21

    @pytest.mark.parametrize("text", ["", "-5", "9" * 30, "nan", "1.5", "x", "٣"])
    def test_a_linked_position_beyond_the_image(self, app_env, marks, text):
        at = run_page(explore_row=text, explore_column="3")

        assert not at.exception
        row = at.number_input(key="explore_row").value
        assert 0 <= row <= 127
        assert marks[-1] == (row, 3)

    def test_a_position_stays_where_it_is_in_the_image(self, photo_env, marks):
        at = run_page(explore_side_imagenet="128", explore_row="31", explore_column="100")
        before = at.session_state["explore_size"]
        at.select_slider(key="explore_side_imagenet").set_value(256).run()
        after = at.session_state["explore_size"]

        assert not at.exception
        assert after != before
        row, column = (at.number_input(key=f"explore_{side}").value for side in ("row", "column"))
        assert row == int(31.5 * after[0] / before[0])
        assert column == int(100.5 * after[1] / before[1])
        assert marks[-1] == (row, column)
        at.select_slider(key="explore_side_imagenet").set_value(128).run()
        assert at.number_input(key="explore_row").value == 31
        assert at.number_input(key="explore_column").value == 100
        assert marks[-1] == (31, 100)

    @pytest.mark.parametrize("name", [ANY, "tiny_sact_tau0.005"])
    @pytest.mark.parametrize("metric", ["ponder_cost", "num_units"])
    @pytest.mark.parametrize("scale", ["fixed", "stretched"])
    def test_downloads_have_the_limits_of_the_screen(
        self, any_tau_env, monkeypatch, name, metric, scale
    ):
        from app import exports
        from app.explore import maps as explore_maps

        drawn, shown, payload = [], [], explore_maps.payload

        def spy(image, layers, panels, scales=(), **more):
            drawn.extend(scales)
            return payload(image, layers, panels, scales, **more)

        monkeypatch.setattr(explore_maps, "payload", spy)
        command = exports.command
        monkeypatch.setattr(
            exports,
            "command",
            lambda look, made, *more: shown.append(made) or command(look, made, *more),
        )
        at = run_page(explore_checkpoint=name, **({"explore_tau": "0.02"} if name == ANY else {}))
        at.button_group(key="explore_metric").set_value(metric).run()
        at.button_group(key="explore_scale").set_value(scale).run()

        assert not at.exception
        assert shown[-1].limits == (drawn[-1].low, drawn[-1].high)
        assert (shown[-1].metric, shown[-1].scale) == (metric, scale)
        assert "--opacity 0.65" in at.code[0].value
        assert ("--tau 0.02" in at.code[0].value) == (name == ANY)

    def test_settings_that_do_not_fit_the_next_network(self, photo_env):
        at = run_page(explore_side_imagenet="256", explore_row="150", explore_column="9")
        assert at.number_input(key="explore_row").value == 150
        at.slider(key="explore_unit").set_value(12).run()
        at.button_group(key="explore_kind").set_value("small").run()

        assert not at.exception
        assert at.select_slider(key="explore_side_cifar").value == 128
        assert at.number_input(key="explore_row").value <= 127

    def test_upload_of_an_image(self, app_env):
        at = run_page()
        at.file_uploader(key="explore_upload").upload("odd.png", png(3, 200)).run()

        assert not at.exception
        assert not at.error
        assert at.selectbox(key="explore_image").value == "odd.png"

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("a.jfif", "JPEG"),
            ("A.JPG", "JPEG"),
            ("a.avif", "AVIF"),
            ("a.jp2", "JPEG2000"),
            ("IMG1", "JPEG"),
        ],
    )
    def test_upload_of_any_suffix(self, app_env, name, kind):
        import io

        from PIL import Image

        out = io.BytesIO()
        Image.new("RGB", (20, 16), "red").save(out, kind)
        at = run_page()
        uploader = at.file_uploader(key="explore_upload")
        assert not uploader.proto.type  # no suffix is kept out before it is looked at
        uploader.upload(name, out.getvalue()).run()

        assert not at.exception
        assert not at.error
        assert at.selectbox(key="explore_image").value == name

    def test_upload_of_a_fake_image(self, app_env):
        at = run_page()
        at.file_uploader(key="explore_upload").upload("fake.png", b"no image at all").run()

        assert not at.exception
        assert len(at.error) == 1
        assert at.error[0].value.startswith("fake.png is no image")
        assert len(at.metric) == 4

    def test_a_later_upload_says_nothing_of_an_earlier_one(self, app_env):
        at = run_page()
        at.file_uploader(key="explore_upload").upload("fake.png", b"no image at all").run()
        uploader = at.file_uploader(key="explore_upload")
        uploader._files = uploader._get_files_to_register()  # it keeps them, as a browser does
        assert [name for _, name, *_ in uploader._files] == ["fake.png"]
        uploader.upload("good.png", png(40, 30)).run()

        assert not at.error
        assert at.selectbox(key="explore_image").value == "good.png"
        at.selectbox(key="explore_image").set_value("Cat").run()
        uploader = at.file_uploader(key="explore_upload")
        uploader._files = uploader._get_files_to_register()[1:]
        uploader.upload("other fake.png", b"no image either").run()  # good.png is there still

        assert [error.value.split(" is")[0] for error in at.error] == ["other fake.png"]
        assert at.selectbox(key="explore_image").value == "Cat"

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
        assert [error.value for error in at.error] == ["bad.h5 is no HDF5 file."]
        assert len(at.metric) == 4


def png(height: int, width: int, seed: int = 0) -> bytes:
    """A small image of an odd shape."""
    import io

    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


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


class TestFit:
    def test_photographs_are_shown_larger_and_small_images_as_trained(self, app_env):
        at = run_page()
        assert "at 128 pixels on its longer side (trained at 32)" in texts(at)
        at.file_uploader(key="explore_upload").upload("small.png", png(32, 32)).run()

        assert "sees 32 × 32 pixels, as it is" in texts(at)

    def test_link_restores_the_fit(self, app_env):
        at = run_page(explore_side_cifar="32", explore_fit_cifar="Square crop")

        assert "the central square of the 451 × 300 image, resized to 32 × 32" in texts(at)


class TestPhotographs:
    """Networks for photographs beside those for small images."""

    def test_page_opens_on_a_photograph_network_and_its_price(self, photo_env):
        at = run_page()

        assert at.button_group(key="explore_kind").value == "photographs"
        assert at.selectbox(key="explore_checkpoint").value == "zoo_photos_tau0.005"
        assert at.select_slider(key="explore_side_imagenet").value == 192
        assert "at 192 pixels on its longer side (trained at 128)" in texts(at)
        said = next(c.value for c in at.caption if "**192 × 128 pixels" in c.value)
        assert "of dense; 70%, the mean of its test images at 128 pixels, was expected" in said
        assert said.endswith("ms**")

    def test_without_one_nothing_is_asked(self, app_env):
        at = run_page()

        assert not [group for group in at.button_group if group.key == "explore_kind"]
        assert at.selectbox(key="explore_checkpoint").value.startswith("tiny")

    def test_small_networks_are_one_click_away_and_in_the_link(self, photo_env):
        at = run_page()
        at.button_group(key="explore_kind").set_value("small").run()
        assert at.selectbox(key="explore_checkpoint").value == "tiny_sact_tau0.01"
        options = at.selectbox(key="explore_checkpoint").options
        assert all("caltech101" not in title for title in options)
        assert at.query_params["explore_kind"] == "Small images"
        again = run_page(explore_kind="Small images")

        assert again.selectbox(key="explore_checkpoint").value == "tiny_sact_tau0.01"

    def test_upload_goes_to_the_kind_that_it_is_for(self, photo_env):
        at = run_page(explore_checkpoint="tiny_sact_tau0.001")
        at.file_uploader(key="explore_upload").upload("large.png", png(100, 150)).run()
        assert at.selectbox(key="explore_checkpoint").value == "zoo_photos_tau0.005"
        at.file_uploader(key="explore_upload").upload("small.png", png(32, 32)).run()
        assert at.selectbox(key="explore_checkpoint").value == "tiny_sact_tau0.001"
        assert "sees 32 × 32 pixels, as it is" in texts(at)
        at.selectbox(key="explore_image").set_value("Cat").run()

        assert at.selectbox(key="explore_checkpoint").value == "zoo_photos_tau0.005"

    def test_a_click_back_is_remembered(self, photo_env):
        at = run_page()
        at.file_uploader(key="explore_upload").upload("one.png", png(100, 150)).run()
        at.button_group(key="explore_kind").set_value("small").run()
        at.file_uploader(key="explore_upload").upload("two.png", png(100, 151)).run()

        assert at.selectbox(key="explore_image").value == "two.png"
        assert at.selectbox(key="explore_checkpoint").value == "tiny_sact_tau0.01"

    def test_longer_side_goes_along_and_every_side_has_its_price(self, photo_env):
        at = run_page()
        at.select_slider(key="explore_side_imagenet").set_value(320).run()
        prices = at.dataframe[0].value
        took = prices[prices["milliseconds"] != "–"]["pixels"].tolist()
        assert took == ["192 × 128", "320 × 213"]
        assert prices["dense"].is_monotonic_increasing
        at.switch_page("app/pages/flops.py").run()

        assert at.select_slider(key="flops_side_imagenet").value == 320
        assert at.query_params["flops_side_imagenet"] == "320"

    def test_too_large_for_the_memory_is_refused(self, photo_env, monkeypatch):
        from app.loaders import costs

        at = run_page()
        monkeypatch.setattr(costs, "available_memory", lambda: 5_000_000)
        at.select_slider(key="explore_side_imagenet").set_value(640).run()

        assert not at.exception
        assert re.fullmatch(
            r"Cat at 640 × 426 pixels needs about \d+ MB of memory, but 5 MB are free: choose "
            r"a smaller side\.",
            at.error[0].value,
        )
        assert "about " in texts(at)
        assert at.select_slider(key="explore_side_imagenet").value == 640

    def test_sweep_shows_photograph_networks_alone(self, photo_env):
        at = run_page("sweep")
        families = at.selectbox(key="sweep_family").options
        assert families[0] == "ResNet-38 SACT, 1/16 width, on Caltech-101"
        assert at.dataframe[-1].value["tau"].tolist() == [0.005, 0.01, 0.02]
        at.file_uploader(key="sweep_upload").upload("small.png", png(32, 32)).run()

        assert at.selectbox(key="sweep_family").value == families[1]

    def test_compare_starts_with_networks_of_one_kind(self, photo_env):
        at = run_page("compare", compare_count="3")
        chosen = [at.selectbox(key=f"compare_checkpoint_{i}").value for i in (1, 2, 3)]

        assert sorted(chosen) == [f"zoo_photos_tau{tau}" for tau in (0.005, 0.01, 0.02)]


ANY_FAMILY = "ResNet-20 SACT any tau, 1/4 width, on CIFAR-10"


class TestAnyTau:
    """A network that takes any tau."""

    def explore(self, **query):
        small = {"explore_fit_cifar": "Square crop", "explore_side_cifar": "32"}
        return run_page(explore_checkpoint=ANY, explore_image="Astronaut", **small, **query)

    def test_explore_runs_at_the_tau_of_the_link(self, any_tau_env, any_tau):
        at = self.explore(explore_tau="0.02")
        from sact_core.backends import load

        ref = load(any_tau / f"{ANY}.h5").run([loaders.example("Astronaut").pixels], tau=0.02)[0]

        assert not at.exception
        assert at.number_input(key="explore_tau").value == 0.02
        assert at.metric[1].value == figures.si(int(ref.flops[0]))
        assert "--tau 0.02" in at.code[0].value

    def test_more_tau_is_less_work(self, any_tau_env):
        at = self.explore(explore_tau="0.0005")
        before = at.metric[2].value
        at.number_input(key="explore_tau").set_value(0.05).run()

        assert float(at.metric[2].value) < float(before)

    @pytest.mark.parametrize("tau", ["7", "-1", "elephant"])
    def test_link_to_a_tau_out_of_range(self, any_tau_env, tau):
        at = self.explore(explore_tau=tau)

        assert not at.exception
        assert 0.0005 <= at.number_input(key="explore_tau").value <= 0.05

    def test_tau_goes_along_and_the_image_runs_once_more(self, any_tau_env):
        at = self.explore(explore_tau="0.02")
        at.switch_page("app/pages/check.py").run()

        assert at.number_input(key="check_tau").value == 0.02

    def test_other_networks_have_no_tau(self, any_tau_env):
        at = run_page(explore_checkpoint="tiny_sact_tau0.01")

        assert not [n for n in at.number_input if n.key == "explore_tau"]

    @pytest.mark.parametrize("name", [ANY, "tiny_act", "tiny_vanilla"])
    def test_every_page_with_every_kind_of_network(self, any_tau_env, name):
        at = run_page(explore_checkpoint=name)
        for page in PAGES:
            if page.stem != "explore":
                at.switch_page(f"app/pages/{page.stem}.py").run()
            for button in ("flops_reconcile", "flops_measure", "check_run"):
                if button.startswith(page.stem):
                    at.button(key=button).click().run()

            assert not at.exception, page.stem
            assert not at.error, page.stem

    @pytest.mark.parametrize("page", ["flops", "check"])
    def test_other_pages(self, any_tau_env, page):
        at = run_page(page, **{f"{page}_checkpoint": ANY, f"{page}_tau": "0.05"})

        assert not at.exception
        assert at.number_input(key=f"{page}_tau").value == 0.05

    def test_sweep_says_where_the_answer_changes(self, any_tau_env):
        at = run_page("sweep", sweep_family=ANY_FAMILY, sweep_image="Astronaut")
        table = at.dataframe[-1].value

        assert not at.exception
        assert table["tau"].is_monotonic_increasing
        assert "Yes: from" in texts(at)
        assert "trained for this one τ, 0.001, 0.005, 0.01." in texts(at)
        assert "--taus 9 --json" in texts(at)  # how its accuracy would be measured

    def test_compare_at_two_taus(self, any_tau_env):
        at = run_page("compare", compare_checkpoint_1=ANY, compare_checkpoint_2=ANY)
        table = at.dataframe[-1].value

        assert not at.exception
        assert table["tau"].tolist() == ["0.005", "0.05"]
        assert table["flops"][0] > table["flops"][1]

    def test_slider_let_go(self, any_tau_env, monkeypatch):
        """What the browser sends is taken; nonsense is not."""
        from app.controls import dial as any_tau

        sent: dict = {"explore_map": {"tau": 0.03}}
        monkeypatch.setattr(st, "session_state", sent)
        monkeypatch.setattr(st, "rerun", lambda: None)
        any_tau.take_tau("explore", "explore_map")
        assert sent["explore_tau"] == 0.03
        for nonsense in (None, "1", True, float("nan"), -1.0):
            sent["explore_map"] = {"tau": nonsense}
            any_tau.take_tau("explore", "explore_map")
            assert sent["explore_tau"] == 0.03

    def test_budget_let_go(self, any_tau_env, monkeypatch):
        from app.controls import dial as any_tau

        model, picture = loaders.model(ANY), loaders.example("Astronaut")
        sent: dict = {"explore_map": {"target": 0.9}}
        monkeypatch.setattr(st, "session_state", sent)
        monkeypatch.setattr(st, "rerun", lambda: None)
        any_tau.take_target("explore", "explore_map", Look(model, picture))
        run = loaders.run(Look(model, picture, tau=sent["explore_tau"]))
        assert run.executed.total[0] / run.dense.total[0] == pytest.approx(0.9, abs=0.02)
        assert "explore_budget" not in sent

        sent["explore_map"] = {"target": 0.1}  # less than it can
        any_tau.take_target("explore", "explore_map", Look(model, picture))
        assert sent["explore_tau"] == 0.05
        assert sent["explore_budget"].startswith("No tau spends 10.0% of dense")


class TestCarrying:
    def test_choice_goes_along_to_the_next_page(self, app_env):
        at = run_page(explore_checkpoint="tiny_sact_tau0.001", explore_image="Cat")
        at.switch_page("app/pages/flops.py").run()

        assert at.selectbox(key="flops_checkpoint").value == "tiny_sact_tau0.001"
        assert at.selectbox(key="flops_image").value == "Cat"
        assert at.query_params["flops_image"] == "Cat"


class TestSweep:
    def test_every_tau_is_shown(self, app_env):
        at = run_page("sweep")

        assert [row["tau"] for row in at.dataframe[0].value.to_dict("records")] == [
            0.001, 0.005, 0.01,
        ]  # fmt: skip
        assert len(at.get("plotly_chart")) == 3

    def test_slider_runs_nothing(self, app_env):
        at = run_page("sweep")
        before = loaders.num_runs()
        at.select_slider(key="sweep_tau").set_value(0.01).run()

        assert not at.exception
        assert loaders.num_runs() == before

    def test_no_family(self, app_env, tmp_path):
        app_env.setenv("SACT_PRETRAINED_DIR", str(tmp_path))
        at = run_page("sweep")

        assert "differ in τ" in at.info[0].value

    def test_the_authors_are_spoken_of_where_they_are_drawn(self, photo_env, app_env):
        for page in (run_page("sweep"), run_page("sweep", sweep_family="nothing")):
            assert not page.exception
            drawn = "authors, published" in str([each.proto for each in page.get("plotly_chart")])
            assert drawn == ("The authors' figure is theirs" in texts(page))


class TestCompare:
    @pytest.mark.parametrize("count", [2, 3, 4])
    def test_panels(self, app_env, count):
        at = run_page("compare", compare_count=str(count))

        assert not at.exception
        assert len(at.dataframe[0].value) == count

    @pytest.mark.parametrize("view", ["Side by side", "Swipe", "Difference"])
    def test_views(self, app_env, view):
        at = run_page("compare", compare_view=view)

        assert not at.exception
        assert len(viewers(at)) == 1

    def test_vanilla_has_no_map_but_a_row(self, app_env):
        at = run_page("compare", compare_checkpoint_2="tiny_vanilla")

        assert "no halting" in at.info[0].value
        assert len(at.dataframe[0].value) == 2

    @pytest.mark.parametrize(
        ("view", "told"),
        [
            (
                "Side by side",
                [
                    "1  ResNet-20 SACT, 1/4 width, τ = 0.001, on CIFAR-10",
                    "3  ResNet-20 SACT, 1/4 width, τ = 0.005, on CIFAR-10",
                    "4  ResNet-20 ACT, 1/4 width",
                ],
            ),
            ("Swipe", ["networks 1 and 3", "network 1 on the left", "network 3 on the right"]),
            ("Difference", ["Network 3 − network 1", "Orange: network 3 thinks more"]),
        ],
    )
    def test_maps_have_the_numbers_of_the_networks(self, app_env, monkeypatch, view, told):
        made: list[str] = []
        real = maps.payload
        monkeypatch.setattr(
            maps,
            "payload",
            lambda *args, **more: made.append(repr((args, more))) or real(*args, **more),
        )
        names = ["tiny_sact_tau0.001", "tiny_vanilla", "tiny_sact_tau0.005", "tiny_act"]
        chosen = {f"compare_checkpoint_{i + 1}": name for i, name in enumerate(names)}
        at = run_page("compare", compare_count="4", compare_view=view, **chosen)

        assert not at.exception
        assert [each for each in told if each not in made[-1]] == []
        assert list(at.dataframe[0].value["network"])[2].startswith("3  ResNet-20 SACT")

    def test_says_the_format_beside_the_times(self, app_env, bfloat16):
        assert "Computed in bfloat16." in texts(run_page("compare"))

    def test_networks_of_two_kinds(self, photo_env):
        two = {
            "compare_checkpoint_1": "tiny_sact_tau0.01",
            "compare_checkpoint_2": "zoo_photos_tau0.01",
        }
        at = run_page("compare", **two)
        assert not at.exception
        at = run_page("compare", **two, compare_fit_cifar="Square crop")

        assert not at.exception
        assert any("do not line up" in caption.value for caption in at.caption)

    def test_any_tau_beside_itself_rather_than_a_network_without_a_map(
        self, app_env, any_tau, tmp_path
    ):
        for name in (ANY, "tiny_vanilla"):
            shutil.copy(any_tau / f"{name}.h5", tmp_path)
        app_env.setenv("SACT_PRETRAINED_DIR", str(tmp_path))
        at = run_page("compare", compare_count="3")

        assert not at.exception
        assert [at.selectbox(key=f"compare_checkpoint_{i}").value for i in (1, 2, 3)] == [ANY] * 3
        taus = list(at.dataframe[0].value["tau"])
        assert len(set(taus)) == 3
        assert taus[1:] == ["0.05", "0.0005"]  # its range

    @pytest.mark.parametrize("view", ["Side by side", "Swipe", "Difference"])
    @pytest.mark.parametrize("metric", ["Ponder cost", "Units run"])
    @pytest.mark.parametrize("static", [1, 2])
    def test_every_view_with_a_network_without_halting(
        self, app_env, monkeypatch, view, metric, static
    ):
        drawn, payload = [], maps.payload

        def spy(image, layers, panels, scales, **more):
            drawn.append((layers, panels, scales))
            return payload(image, layers, panels, scales, **more)

        monkeypatch.setattr(maps, "payload", spy)
        names = {f"compare_checkpoint_{i}": "tiny_sact_tau0.005" for i in (1, 2)}
        names[f"compare_checkpoint_{static}"] = "tiny_vanilla"
        at = run_page("compare", **names, compare_view=view, compare_metric=metric)

        assert not at.exception
        assert at.button_group(key="compare_view").value in ("side", "swipe", "difference")
        layers, panels, scales = drawn[-1]
        assert len(panels) == (3 if view == "Difference" else 2)
        constant = [layer.values.tolist() for layer in layers if layer.values.shape == (1, 1)]
        assert constant == [[[3.0]]] * 3  # all units of each of three blocks
        if view == "Difference":
            assert panels[2].side.startswith("-" if static == 1 else "+") or metric != "Units run"
            assert scales[1].high == -scales[1].low > 1

    def test_networks_without_halting_alone_have_no_map(self, app_env):
        names = {f"compare_checkpoint_{i}": "tiny_vanilla" for i in (1, 2)}
        at = run_page("compare", **names, compare_view="Difference")

        assert not at.exception
        assert "there is no map" in at.info[0].value
        assert not viewers(at)
        assert len(at.dataframe[0].value) == 2

    def test_accuracy_beside_a_tau_is_of_that_tau(self, any_tau_env):
        at = run_page(
            "compare", compare_checkpoint_1=ANY, compare_checkpoint_2=ANY, compare_tau_2="0.02"
        )
        stated = list(at.dataframe[0].value["accuracy"])

        assert not at.exception
        assert stated == ["89.5%", "–"]
        assert "Network 1: 89.5% right of 10,000 test images." in texts(at)
        at = run_page(explore_checkpoint=ANY)
        assert "89.5% right" in texts(at)
        at.number_input(key="explore_tau").set_value(0.02).run()
        assert "% right" not in texts(at)

    def test_tau_of_a_network_without_halting_is_a_dash(self, app_env):
        at = run_page("compare", compare_checkpoint_2="tiny_vanilla")

        assert at.dataframe[0].value["tau"][1] == "–"


class TestFlops:
    def test_multiply_adds_are_half(self, app_env):
        flops = run_page("flops").metric[0].value
        macs = run_page("flops", flops_count="Multiply-adds").metric[0].value

        assert float(macs.split()[0]) == pytest.approx(float(flops.split()[0]) / 2, rel=0.01)

    @pytest.mark.parametrize(
        "name", [ANY, "tiny_sact_tau0.01", "tiny_act", "tiny_vanilla", "zoo_photos_tau0.01"]
    )
    def test_pytorch_counts_the_same(self, any_tau_env, name):
        at = run_page("flops", flops_checkpoint=name)
        at.button(key="flops_reconcile").click().run()

        assert not at.exception
        assert "to the last FLOP" in at.success[0].value


class TestTimes:
    @pytest.fixture
    def measured(self, app_env, monkeypatch):
        """How often times were taken; every side takes longer each time."""
        from app.explore import cost
        from app.times import Times, Timing

        asked: list[tuple] = []

        def measure(look, say):
            asked.append(look.key)
            say("Turn 1 of 2 …", 0.5)
            names = ["halting", "vanilla", "eager", "frozen"]
            for count in (3, 4):
                sides = (Times(name, (len(asked) + i, 2.0 + i)) for i, name in enumerate(names))
                yield Timing(tuple(sides)[:count], 2)

        monkeypatch.setattr(cost, "measure", measure)
        return asked

    def test_measured_when_asked_and_again_when_asked_again(self, measured):
        at = run_page()
        assert "quartiles" not in texts(at)
        at.button(key="explore_time").click().run()
        first = texts(at)

        assert not at.exception
        assert "quartiles" in first
        assert "2 threads" in first
        assert at.button(key="explore_time").label == "Measure again"
        at.run()  # looking measures nothing
        assert len(measured) == 1
        assert "quartiles" in texts(at)
        at.button(key="explore_time").click().run()
        assert len(measured) == 2
        assert texts(at) != first

    @pytest.mark.parametrize(("page", "count"), [("compare", 2), ("sweep", 3)])
    def test_times_of_single_runs_are_taken_again_when_asked(self, app_env, page, count):
        at = run_page(page)
        at.run()  # looking runs nothing
        before, ran = list(at.dataframe[0].value["milliseconds"]), loaders.num_runs()
        at.run()
        assert loaders.num_runs() == ran
        at.button(key=f"{page}_measure_again").click().run()

        assert not at.exception
        assert loaders.num_runs() == ran + count
        assert all(
            a != b for a, b in zip(before, at.dataframe[0].value["milliseconds"], strict=True)
        )
        assert times.ONCE in str(at.dataframe[0].proto.columns)

    @pytest.mark.parametrize("page", ["compare", "sweep"])
    def test_plain_numpy_is_not_timed_beside_the_engine(self, app_env, monkeypatch, page):
        monkeypatch.setattr(loaders.warming, "backend", lambda: "reference")
        at = run_page(page)

        assert not at.exception
        table = at.dataframe[0].value
        assert "milliseconds" not in table or table["milliseconds"].isna().all()
        assert times.NOT_YET in texts(at)

    def test_nobody_sees_the_times_of_another(self, measured):
        run_page().button(key="explore_time").click().run()
        at = run_page()

        assert "quartiles" not in texts(at)
        assert len(measured) == 1

    def test_units_are_measured_again_when_asked(self, app_env, monkeypatch):
        asked: list[tuple] = []
        monkeypatch.setattr(
            loaders, "unit_seconds", lambda look: asked.append(look.key) or {"block1/unit1": 0.001}
        )
        at = run_page("flops")
        at.run()
        assert len(asked) == 1
        at.button(key="flops_measure").click().run()
        assert len(asked) == 2


class TestHaltingLab:
    def test_presets(self, app_env):
        at = run_page("halting_lab")
        assert at.metric[0].value == "3"
        at.button(key="halting_lab_preset_Never stops").click().run()
        assert at.metric[0].value == "5"
        assert "ran all 5 units" in texts(at)
        at.button(key="halting_lab_preset_Exact tie").click().run()
        assert at.metric[0].value == "3"
        assert at.number_input(key="halting_lab_eps").value == 0

    def test_a_preset_is_stepped_through_to_its_end(self, app_env):
        at = run_page("halting_lab")
        assert at.slider(key="halting_lab_step").value == 3
        for preset, units in (("Never stops", 5), ("Stops at once", 1), ("Exact tie", 3)):
            at.slider(key="halting_lab_step").set_value(1).run()
            at.button(key=f"halting_lab_preset_{preset}").click().run()

            assert not at.exception
            assert not at.warning
            assert at.slider(key="halting_lab_step").value == units

    def test_steps_follow_edited_scores(self, app_env):
        at = run_page("halting_lab", halting_lab_step="2")
        assert at.slider(key="halting_lab_step").value == 2
        at.slider(key="halting_lab_h3").set_value(0.1).run()
        assert at.slider(key="halting_lab_step").value == 2  # still, of 4 units
        at.slider(key="halting_lab_step").set_value(4).run()
        at.slider(key="halting_lab_h1").set_value(1.0).run()
        assert at.slider(key="halting_lab_step").value == 1
        at.slider(key="halting_lab_h1").set_value(0.1).run()
        assert at.slider(key="halting_lab_step").value == 4

    def test_slider_changes_the_scores(self, app_env):
        at = run_page("halting_lab")
        at.slider(key="halting_lab_h1").set_value(1.0).run()

        assert at.metric[0].value == "1"
        assert at.query_params["halting_lab_scores"].startswith("1 0.3")

    def test_link_with_scores(self, app_env):
        at = run_page("halting_lab", halting_lab_scores="0.2 0.9")

        assert at.metric[0].value == "2"
        assert at.slider(key="halting_lab_units").value == 3

    def test_link_with_nonsense(self, app_env):
        at = run_page("halting_lab", halting_lab_scores="0.2 elephant")

        assert not at.exception
        assert "must be numbers" in at.error[0].value

    def test_units_can_be_added_and_taken_away(self, app_env):
        at = run_page("halting_lab")
        at.slider(key="halting_lab_units").set_value(7).run()
        assert at.slider(key="halting_lab_h6").value == 0.1
        at.slider(key="halting_lab_units").set_value(2).run()

        assert not at.exception
        assert len(at.error) == 0

    def test_pytorch_agrees_too(self, app_env):
        at = run_page("halting_lab")
        at.toggle(key="halting_lab_torch").set_value(True).run()

        assert set(at.dataframe[-1].value["program"]) == {"NumPy", "Numba", "PyTorch"}
        assert "agree" in at.success[-1].value


class TestCheck:
    def test_backends_agree_and_explore_says_so(self, app_env):
        at = run_page("check")
        at.button(key="check_run").click().run()

        assert not at.exception
        assert "agree" in at.success[0].value
        at.switch_page("app/pages/explore.py").run()
        assert "Three backends agree" in texts(at)

    def test_what_bfloat16_changes_is_listed_and_takes_no_badge_away(self, app_env, bfloat16):
        at = run_page("check")
        at.button(key="check_run").click().run()

        assert not at.exception
        assert "agree" in at.success[0].value
        table = at.dataframe[0].value
        assert list(table["how"])[-1] == "the same in bfloat16"
        assert list(table["backend"]) == ["reference", "masked", "dense", "masked"]
        gaps = [float(gap) for gap in table["logits"].iloc[1:]]
        assert gaps[2] > 20 * max(gaps[:2])  # rounded to 8 bits, not to 24
        assert "SACT_PRECISION=float32" in texts(at)

    def test_explore_says_what_it_computes_in(self, app_env, bfloat16):
        at = run_page("explore")

        assert not at.exception
        assert "masked engine, bfloat16" in [metric.delta for metric in at.metric]
        assert "--precision bfloat16" in at.code[0].value

    def test_one_that_differs_takes_the_badge_away(self, app_env):
        agreement, which = loaders.agreement, [0]

        def differing(*args):
            found = agreement(*args)
            found[which[0]] = replace(found[which[0]], flops_equal=False)
            return found

        app_env.setattr(loaders, "agreement", differing)
        at = run_page("check")
        at.button(key="check_run").click().run()
        for i in range(2):
            which[0] = i
            at.run()

            assert not at.exception
            assert not at.success
            assert "The backends differ on this image" in at.error[0].value
            assert [at.dataframe[0].value["FLOPs"].iloc[1 + j] for j in range(2)] == (
                ["differ", "equal"] if i == 0 else ["equal", "differ"]
            )
        at.switch_page("app/pages/explore.py").run()
        assert "Three backends agree" not in texts(at)


class TestDataSet:
    @pytest.fixture
    def with_data(self, app_env, tmp_path, monkeypatch):
        """A small fake test split."""
        from app.loaders import dataset
        from sact_core.data.source import Source
        from sact_core.data.tfds import TfdsRecords

        class Records:
            def __init__(self) -> None:
                rng = np.random.default_rng(0)
                self.images = rng.integers(0, 255, (230, 32, 32, 3), np.uint8)

            def __len__(self) -> int:
                return len(self.images)

            def __getitems__(self, indices):
                return [{"image": self.images[i], "label": i % 10, "id": str(i)} for i in indices]

        (tmp_path / "data" / "cifar10").mkdir(parents=True)
        split = Source("cifar10", "test", CLASSES, TfdsRecords(Records()))
        monkeypatch.setattr(dataset, "open_split", lambda *_: split)
        return app_env

    def test_without_data_says_how_to_get_it(self, app_env):
        at = run_page("data_set")

        assert "is not on this machine" in at.info[0].value
        assert "python -m sact_core.prepare cifar10 --archive https://" in at.code[0].value
        assert "download_and_prepare" in at.code[0].value

    def test_checkpoint_of_unknown_data(self, app_env):
        at = run_page("data_set", data_set_checkpoint="tiny_vanilla")

        assert "does not say which data set" in at.info[0].value

    def test_runs_and_keeps(self, with_data):
        at = run_page("data_set")
        assert not at.metric
        at.button(key="data_set_run").click().run()
        assert not at.exception
        assert at.metric[0].label == "Right"
        assert "of 200" in at.metric[0].delta
        assert len(at.get("plotly_chart")) == 3
        before = loaders.num_runs()
        at.button_group(key="data_set_order").set_value("dear").run()

        assert not at.exception
        assert loaders.num_runs() == before

    def test_a_restart_shows_what_has_run(self, with_data):
        at = run_page("data_set")
        at.button(key="data_set_run").click().run()
        shown, before = [metric.value for metric in at.metric], loaders.num_runs()
        st.cache_data.clear()  # as a restart does
        again = run_page("data_set")

        assert not again.exception
        assert [metric.value for metric in again.metric] == shown
        assert loaders.num_runs() == before
        # More of them, or others, are asked for.
        again.button_group(key="data_set_count").set_value(1000).run()
        assert not again.metric
        again.button(key="data_set_run").click().run()
        assert "of 230" in again.metric[0].delta

    def test_what_is_kept_and_damaged_runs_anew(self, with_data, tmp_path):
        at = run_page("data_set")
        at.button(key="data_set_run").click().run()
        shown = [metric.value for metric in at.metric]
        files = sorted((tmp_path / "cache" / "outcomes").iterdir())
        assert len(files) == 2
        for file, data in zip(files, (b"", files[0].read_bytes()[:-30]), strict=True):
            file.write_bytes(data)
        st.cache_data.clear()
        again = run_page("data_set")

        assert not again.exception
        assert [metric.value for metric in again.metric] == shown

    def test_a_cache_that_takes_nothing_is_one_sentence(self, with_data, tmp_path):
        (tmp_path / "cache").write_text("no folder")
        at = run_page("data_set")
        at.button(key="data_set_run").click().run()

        assert not at.exception
        assert at.metric[0].label == "Right"
        assert "What has run cannot be kept on disk" in at.warning[0].value

    def test_a_folder_of_ones_own(self, app_env, tmp_path):
        for i, name in enumerate(("cat", "dog")):
            (tmp_path / "mine" / name).mkdir(parents=True)
            for k in range(5):
                (tmp_path / "mine" / name / f"{k}.png").write_bytes(png(32, 32, 10 * i + k))
        app_env.setenv("SACT_PHOTOS", str(tmp_path / "mine"))
        at = run_page("data_set")
        assert at.selectbox(key="data_set_data").options == ["Its own data set", "mine"]
        assert "is not on this machine" in at.info[0].value
        at.selectbox(key="data_set_data").set_value("mine").run()
        at.button(key="data_set_run").click().run()

        assert not at.exception
        assert "held-out:20%: 2 images with 2 classes" in texts(at)
        assert at.metric[0].delta.endswith("of 2")
        assert str(tmp_path) not in texts(at)

    def test_passes_have_one_bar_with_the_time_left(self, with_data, monkeypatch):
        from app.data_set import passes

        said = []

        class Bar:
            def progress(self, share, text):
                said.append((share, text))

            def empty(self):
                pass

        clock = iter(range(0, 10_000, 30))
        monkeypatch.setattr(passes, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        monkeypatch.setattr(passes.st, "progress", lambda *_: Bar())
        at = run_page("data_set", data_set_family="true")
        at.button(key="data_set_run").click().run()

        assert not at.exception
        assert said[0][1].endswith("pass 1 of 4: 100 of 200 images, 2 min left")
        assert said[-1][0] == 1
        shares = [share for share, _ in said]
        assert shares == sorted(shares)

    def test_photographs_in_natural_sizes(self, photo_env, tmp_path, monkeypatch):
        from app.loaders import dataset
        from sact_core.data.source import Source
        from sact_core.data.tfds import TfdsRecords

        class Records:
            def __len__(self) -> int:
                return 40

            def __getitems__(self, indices):
                rng = np.random.default_rng(0)
                sizes = [(90 + i % 7, 120) for i in indices]
                images = [rng.integers(0, 255, (*size, 3), np.uint8) for size in sizes]
                found = [
                    {"image": image, "label": i % 102, "id": str(i)}
                    for i, image in zip(indices, images, strict=True)
                ]
                return [r | {"image": b"damaged"} if r["id"] == "5" else r for r in found]

        opened = []
        names = loaders.model("zoo_photos_tau0.01").header.class_names

        def open_split(name, split, _folder):
            opened.append((name, split))
            return Source(name, split, names, TfdsRecords(Records()))

        (tmp_path / "data" / "caltech101").mkdir(parents=True)
        monkeypatch.setattr(dataset, "open_split", open_split)
        at = run_page("data_set")
        at.button(key="data_set_run").click().run()

        assert not at.exception
        assert opened == [("caltech101", "test[60%:]")]  # what it was not trained on
        assert [m.label for m in at.metric][:2] == ["Right", "Among its first five"]
        assert "of 39" in at.metric[0].delta
        assert at.warning[0].value == "Left out, since they cannot be read: 1 of 40 images: 5."
        assert "windsor chair 13" in texts(at)
        at = run_page(explore_image="Test image", explore_index="3")
        assert "the middle 87.5% of the 120 × 93 image" in texts(at)  # as it was evaluated

    def test_all_tau_find_changes(self, with_data):
        at = run_page("data_set", data_set_family="true")
        at.button(key="data_set_run").click().run()

        assert not at.exception
        assert "get another answer" in texts(at)

    def test_every_image_says_at_which_tau_it_flips(self, with_data, any_tau):
        with_data.setenv("SACT_PRETRAINED_DIR", str(any_tau))
        at = run_page(
            "data_set",
            data_set_checkpoint=ANY,
            data_set_family="true",
            data_set_order="Flips soonest",
            data_set_which="Change with τ",
        )
        at.button(key="data_set_run").click().run()
        said = [c.value for c in at.caption if "→" in c.value]

        assert not at.exception
        assert "images get another answer at some other τ" in texts(at)
        assert len(said) == 24
        assert all(re.search(r"→ .+ at τ = 0\.0", sentence) for sentence in said)

    def test_test_image_in_explore(self, with_data):
        at = run_page(explore_image="Test image", explore_index="12")

        assert not at.exception
        assert at.number_input(key="explore_index").value == 12
        assert "labelled bird" in texts(at)


class TestOwnFolder:
    """Networks that were trained on a folder of class folders."""

    @pytest.fixture
    def own(self, app_env, tmp_path):
        """A folder of two classes, whose name is not UTF-8, and a network of it."""
        folder = tmp_path / os.fsdecode(b"my photos \xe9")
        for i, name in enumerate(("cat [m](x)", "dog")):
            (folder / name).mkdir(parents=True)
            for j in range(10):
                (folder / name / f"{j}.png").write_bytes(png(20, 24, seed=10 * i + j))
        self.write(tmp_path / "zoo", str(folder))
        app_env.setenv("SACT_PRETRAINED_DIR", str(tmp_path / "zoo"))
        return folder

    def write(self, zoo, name, split="held-out:20%"):
        config = NetworkConfig(
            halting="sact", base_channels=4, units_per_block=(2, 2, 2), num_classes=2
        )
        made = make_checkpoint(config, 1, -1.0, 0.005)
        about = {"data_set": {"name": name}, "metrics": {"split": split, "eval/Accuracy": 0.5}}
        zoo.mkdir(exist_ok=True)
        write(zoo / "own.h5", replace(made, provenance=made.provenance | about))
        return zoo / "own.h5"

    def test_data_set(self, own):
        at = run_page("data_set")
        assert "4 images with 2 classes" in texts(at)
        at.button(key="data_set_run").click().run()

        assert not at.exception
        assert not at.error
        assert at.metric[0].label == "Right"
        assert at.metric[0].delta.endswith("of 4")

    def test_test_image_on_other_pages(self, own):
        for page in ("explore", "sweep", "compare", "flops", "check"):
            at = run_page(page, **{f"{page}_image": "Test image", f"{page}_index": "3"})

            assert not at.exception
            assert not at.error
            assert at.number_input(key=f"{page}_index").value == 3
        assert at.number_input(key="check_index").max == 3

    def test_photographs_that_come_later_are_seen(self, own):
        at = run_page("data_set")
        for j in range(10, 20):
            (own / "dog" / f"{j}.png").write_bytes(png(20, 24, seed=30 + j))
        at.run()

        assert "6 images with 2 classes" in texts(at)

    def test_folder_that_is_gone(self, own, tmp_path):
        shutil.rmtree(own)
        at = run_page("data_set")

        assert not at.exception
        assert re.search(r"my photos \\+xe9, which is not on this machine", at.info[0].value)

    def test_an_upload_opens_no_folder(self, own, tmp_path):
        at = run_page("data_set")
        data = (tmp_path / "zoo" / "own.h5").read_bytes()
        model = loaders.uploaded_model("own.h5", data)
        from app.loaders import dataset

        assert dataset.is_here(loaders.model("own"))
        assert not dataset.is_here(model)
        with pytest.raises(InputError, match="folder"):
            dataset.source(model)
        assert not at.exception

    @pytest.mark.parametrize(
        ("name", "split"),
        [
            ("/proc/self/net", "all"), ("~nobody/x", "test"), ("a" * 5000, "test"),
            ("/" + "a" * 5000, "test"), ("cifar10\0", "test"), ("../..", "../.."),
            ("[m](http://evil.example)", "held-out:1e9%"), ("", ""),
        ],
    )  # fmt: skip
    def test_names_of_anybody(self, own, tmp_path, name, split):
        self.write(tmp_path / "zoo", name, split)
        assert not run_page("data_set").exception


class TestRuns:
    def test_what_goes_on_is_followed(self, app_env, tmp_path, monkeypatch):
        every, fragment = {}, st.fragment

        def spy(function=None, **more):
            if function is not None:
                every[function.__name__] = more.get("run_every")
            return fragment(function, **more)

        monkeypatch.setattr(st, "fragment", spy)
        at = run_page("runs")
        assert every["wait"] == "5s"
        make_run(tmp_path / "runs", "one")
        at.run()  # as the first wait does
        assert not at.exception
        assert len(at.get("plotly_chart")) == 3
        assert every["curves"] == every["recipe"] == every["watch"] == "5s"
        assert at.metric[0].value == "2"

    def test_no_runs(self, app_env):
        at = run_page("runs")

        assert "No training run yet" in at.info[0].value

    def test_curves_and_recipe(self, app_env, tmp_path):
        make_run(tmp_path / "runs", "one")
        at = run_page("runs")

        assert not at.exception
        assert len(at.get("plotly_chart")) == 3
        assert at.code[1].value.endswith("--resume")

    def test_the_last_test_stands_where_the_last_epoch_had_none(self, app_env, tmp_path):
        make_run(tmp_path / "runs", "one")
        with (tmp_path / "runs" / "one" / "metrics.jsonl").open("a") as file:
            file.write('{"epoch": 3, "train/Total Loss": 1.0}\n')
        at = run_page("runs")

        assert not at.exception
        assert [(m.label, m.value, m.delta) for m in at.metric] == [
            ("Epoch", "3", "of 9"),
            ("Right", "50.0%", "of test images, epoch 2"),
            ("FLOPs", "90%", "of dense, epoch 2"),
        ]

    def test_a_run_that_took_all_steps_is_over(self, app_env, tmp_path):
        import json

        make_run(tmp_path / "runs", "one", step=60)
        config = {"network": {"halting": "sact"}, "epochs": 256.0, "max_steps": 120}
        (tmp_path / "runs" / "one" / "config.json").write_text(json.dumps(config))
        at = run_page("runs")

        assert not at.exception
        assert len(at.code) == 1
        assert "taken all of its steps" in texts(at)
        assert "To go on" not in texts(at)
        assert "refreshes by itself" not in texts(at)
        assert (at.metric[0].label, at.metric[0].value, at.metric[0].delta) == (
            "Step", "120", "of 120"
        )  # fmt: skip

    def test_first_epoch_is_awaited(self, app_env, tmp_path):
        make_run(tmp_path / "runs", "one", rows=0)
        at = run_page("runs")

        assert not at.exception
        assert "Nothing has been measured yet" in at.info[0].value

    def test_points_within_the_first_epoch(self, app_env, tmp_path):
        import json
        import time

        make_run(tmp_path / "runs", "one", rows=0)
        point = {"epoch": 0.25, "step": 25, "time": time.time(), "seconds_left": 900.0}
        point |= {"train/Cross Entropy": 2.0, "train/Accuracy": 0.2, "train/flops_share": 0.9}
        lines = [point, point | {"epoch": 0.5, "step": 50, "seconds_left": 600.0}]
        file = tmp_path / "runs" / "one" / "points.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        at = run_page("runs")

        assert not at.exception
        assert "one is running: epoch 0.5 of 9, about 10 min left" in texts(at)
        drawn = [json.loads(chart.proto.spec)["data"] for chart in at.get("plotly_chart")]
        assert [[len(line["x"]) for line in chart] for chart in drawn] == [[2], [2], [2]]

    def test_a_new_run_appears_by_itself(self, app_env, tmp_path, monkeypatch):
        make_run(tmp_path / "runs", "one")
        at = run_page("runs")
        make_run(tmp_path / "runs", "two")
        assert at.run().multiselect[0].value == ["one"]  # one that was seen before is no news
        at.session_state["runs_new"] = ["two"]  # as the fragment leaves it
        at.run()

        assert not at.exception
        assert at.multiselect[0].options == ["two", "one"] or at.multiselect[0].options == [
            "one", "two"
        ]  # fmt: skip
        assert at.multiselect[0].value == ["two", "one"]
        assert "A new run: two" in [toast.value for toast in at.toast]

    def test_a_new_run_does_not_take_what_was_chosen(self, app_env, tmp_path):
        make_run(tmp_path / "runs", "one")
        at = run_page("runs")
        at.multiselect[0].set_value([]).run()
        make_run(tmp_path / "runs", "two")
        at.session_state["runs_new"] = ["two"]
        at.run()

        assert at.multiselect[0].value == []
        assert "Choose a run above." in texts(at)

    def test_damaged_recipe(self, app_env, tmp_path):
        make_run(tmp_path / "runs", "one")
        (tmp_path / "runs" / "one" / "config.json").write_text("{")
        at = run_page("runs")

        assert not at.exception
        assert "config.json cannot be read" in at.warning[0].value


def make_run(folder: Path, name: str, rows: int = 2, step: int = 100) -> None:
    """A run directory with a few epochs."""
    import json

    path = folder / name
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"network": {"halting": "sact"}, "epochs": 9}))
    (path / "command.txt").write_text("python -m sact_core.train\n")
    lines = [
        {
            "epoch": e + 1, "step": step * (e + 1), "train/Total Loss": 1.0,
            "eval/Accuracy": 0.5, "flops_share": 0.9,
        }
        for e in range(rows)
    ]  # fmt: skip
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
