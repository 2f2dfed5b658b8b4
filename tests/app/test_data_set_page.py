"""Data set in every state, of TFDS and of own folders."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import streamlit as st

from app import loaders
from app.folders import InputError
from sact_core.checkpoint import write
from sact_core.config import NetworkConfig
from tests.app.conftest import CLASSES, make_checkpoint
from tests.app.pages import ANY, png, run_page, texts, told_by_bars


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
        assert "On this machine" not in texts(at)

    def test_where_its_data_are_absent_others_are_named(self, with_data):
        at = run_page("data_set", data_set_checkpoint="tiny_vanilla")

        assert "On this machine: cifar10. Choose a network of it above, such as " in texts(at)

    def test_opens_on_a_network_whose_data_are_here(self, with_data, photographs):
        with_data.setenv("SACT_PRETRAINED_DIR", str(photographs))
        at = run_page("data_set")  # those for photographs come first elsewhere
        assert at.selectbox(key="data_set_checkpoint").value.startswith("tiny_")
        assert "cifar10, test: 230 images" in texts(at)
        assert "not on this machine" not in texts(at)

        # One that was only looked at elsewhere is passed over, which is said, and comes back.
        at = run_page()
        chosen = at.selectbox(key="explore_checkpoint").value
        assert chosen.startswith("zoo_photos")
        at.switch_page("app/pages/data_set.py").run().run()
        assert at.selectbox(key="data_set_checkpoint").value.startswith("tiny_")
        assert "Test images of" in texts(at)
        at.switch_page("app/pages/explore.py").run()
        assert at.selectbox(key="explore_checkpoint").value == chosen
        # Asked for, it says how to get its data.
        at = run_page("data_set", data_set_checkpoint=f"{chosen}.h5")
        assert at.selectbox(key="data_set_checkpoint").value == chosen
        assert "The data set caltech101 is not on this machine" in at.info[0].value

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
        assert "choose a folder of photographs under “Images of”" in texts(at)
        at.selectbox(key="data_set_data").set_value("mine").run()
        at.button(key="data_set_run").click().run()

        assert not at.exception
        assert "held-out:20%: 2 images with 2 classes" in texts(at)
        assert at.metric[0].delta.endswith("of 2")
        assert str(tmp_path) not in texts(at)

    def test_passes_have_one_bar_with_the_time_left(self, with_data, monkeypatch):
        from app.data_set import passes

        said = told_by_bars(monkeypatch, passes)
        at = run_page("data_set", data_set_family="true")
        at.button(key="data_set_run").click().run()

        assert not at.exception
        assert said[0][1].endswith("pass 1 of 4: 100 of 200 images, 2 min left")
        assert said[-1][0] == 1
        shares = [share for share, _ in said]
        assert shares == sorted(shares)

    def test_the_bar_says_what_is_waited_for(self, with_data, monkeypatch):
        from app.data_set import passes

        said, progress = [], st.progress
        monkeypatch.setattr(passes.warming, "ready", lambda *_: False)
        monkeypatch.setattr(st, "progress", lambda *a: said.append(a[1]) or progress(*a))
        at = run_page("data_set")
        at.button(key="data_set_run").click().run()

        assert not at.exception
        assert said[0].startswith("The masked engine is being compiled")

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
