"""Explore in every state, without a browser."""

from __future__ import annotations

import pytest

from app import loaders
from tests.app.pages import ANY, png, run_page, texts


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
