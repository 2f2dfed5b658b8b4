"""Loaders: which networks and images are listed, opened and refused; results are kept."""

from __future__ import annotations

import io
import shutil
import threading
import time
from dataclasses import replace

import h5py
import numpy as np
import pytest

from app import loaders
from app.folders import InputError
from app.loaders import checkpoints, comparing, pictures, running
from app.records import Look
from sact_core.backends import load
from sact_core.data.images import read_image
from tests.app.conftest import ROOT
from tests.app.examples import example_run


class TestCheckpoints:
    def test_halting_networks_come_first(self, app_env):
        names = loaders.checkpoint_names()

        assert names[:3] == ["tiny_sact_tau0.001", "tiny_sact_tau0.005", "tiny_sact_tau0.01"]
        assert names[-1] == "tiny_vanilla"

    def test_runs_and_more_folders_are_listed_by_folder(self, app_env, pretrained, tmp_path):
        for folder in ("runs/night", "more"):
            (tmp_path / folder).mkdir(parents=True)
            shutil.copy(pretrained / "tiny_act.h5", tmp_path / folder / "best.h5")
        for copied in ("runs/night/.ipynb_checkpoints/best-checkpoint.h5", "more/._best.h5"):
            (tmp_path / copied).parent.mkdir(exist_ok=True)
            shutil.copy(pretrained / "tiny_act.h5", tmp_path / copied)
        app_env.setenv("SACT_CHECKPOINT_DIRS", str(tmp_path / "more"))

        assert not [name for name in loaders.checkpoint_files() if "._" in name or "ipynb" in name]
        assert {"runs/night/best", "more/best"} <= set(loaders.checkpoint_files())

    @pytest.mark.parametrize("name", ["../tiny_act", "/etc/passwd", "tiny_act.h5", ""])
    def test_only_listed_names_are_opened(self, app_env, name):
        with pytest.raises(InputError, match="no checkpoint named"):
            loaders.model(name)

    def test_upload_is_proven(self, app_env, pretrained):
        data = (pretrained / "tiny_act.h5").read_bytes()
        model = loaders.uploaded_model("mine.h5", data)

        assert model.name == "uploaded: mine"
        assert model.config == loaders.uploaded_model("again.h5", data).config
        app_env.setenv("SACT_PRETRAINED_DIR", str(pretrained))
        assert model.digest == loaders.model("tiny_act").digest  # the same network

    def test_damaged_copy_that_states_the_hash_of_another(self, app_env, pretrained, tmp_path):
        shutil.copy(pretrained / "tiny_act.h5", tmp_path / "whole.h5")
        shutil.copy(pretrained / "tiny_act.h5", tmp_path / "damaged.h5")
        with h5py.File(tmp_path / "damaged.h5", "r+") as file:
            file["params/logits/bias"][0] += 1
        app_env.setenv("SACT_PRETRAINED_DIR", str(tmp_path))
        whole, damaged = loaders.model("whole"), loaders.model("damaged")
        assert damaged.digest == whole.digest  # as stated
        picture = loaders.example("Cat")
        loaders.run(Look(whole, picture))

        for use in (loaders.net, loaders.verify, lambda m: loaders.run(Look(m, picture))):
            with pytest.raises(InputError, match="content hash does not match"):
                use(damaged)

    def test_upload_with_one_changed_byte(self, pretrained):
        data = bytearray((pretrained / "tiny_act.h5").read_bytes())
        data[-100] ^= 0xFF
        with pytest.raises(InputError):
            loaders.uploaded_model("mine.h5", bytes(data))

    @pytest.mark.parametrize("change", ["cut", "flipped"])
    def test_damage_is_one_plain_sentence_that_names_the_file(self, pretrained, change):
        data = bytearray((pretrained / "tiny_act.h5").read_bytes())
        if change == "cut":
            del data[len(data) // 2 :]
        else:
            data[::97] = bytes(len(data[::97]))
            data[:96] = (pretrained / "tiny_act.h5").read_bytes()[:96]
        with pytest.raises(InputError) as caught:
            loaders.uploaded_model("C:\\of mine\\a.h5", bytes(data))

        assert str(caught.value) == "a.h5 is truncated or damaged."

    def test_upload_with_an_external_link(self, pretrained, tmp_path):
        path = tmp_path / "linked.h5"
        shutil.copy(pretrained / "tiny_act.h5", path)
        with h5py.File(path, "a") as file:
            del file["params/stem/weight"]
            file["params/stem/weight"] = h5py.ExternalLink("/etc/passwd", "/")
        with pytest.raises(InputError, match=r"link"):
            loaders.uploaded_model("linked.h5", path.read_bytes())

    def test_upload_too_large(self, monkeypatch):
        monkeypatch.setattr(checkpoints, "MAX_CHECKPOINT_BYTES", 10)
        with pytest.raises(InputError, match="may have"):
            loaders.uploaded_model("large.h5", b"x" * 11)

    def test_messages_hide_folders(self, app_env, tmp_path):
        folder = tmp_path / "secret"
        folder.mkdir()
        (folder / "bad.h5").write_bytes(b"nothing")
        app_env.setenv("SACT_PRETRAINED_DIR", str(folder))
        with pytest.raises(InputError) as caught:
            loaders.model("bad")

        assert "secret" not in str(caught.value)


class TestImages:
    def test_examples_come_with_a_licence(self):
        licences = (ROOT / "app" / "examples" / "LICENSES.md").read_text()

        for path in (ROOT / "app" / "examples").glob("*.jpg"):
            assert f"`{path.name}`" in licences
            assert max(read_image(path).shape) <= 640
            assert path.stat().st_size < 100_000

    @pytest.mark.parametrize("name", ["../cat", "Nobody", ""])
    def test_only_examples_are_opened(self, name):
        with pytest.raises(InputError, match="no example named"):
            loaders.example(name)

    def test_upload_names_the_file_and_no_folder(self):
        with pytest.raises(InputError, match=r"^photo.png is no image"):
            loaders.uploaded_picture("C:\\Users\\me\\photo.png", b"nothing")

    @pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16", "1"])
    def test_upload_of_any_mode(self, mode):
        from PIL import Image

        buffer = io.BytesIO()
        Image.new(mode, (5, 3)).save(buffer, "TIFF" if mode == "CMYK" else "PNG")

        assert loaders.uploaded_picture("x", buffer.getvalue()).pixels.shape == (3, 5, 3)

    def test_what_a_large_photograph_was_made_is_said(self, monkeypatch):
        from PIL import Image

        monkeypatch.setattr("sact_core.data.images.MAX_PIXELS", 1000)
        buffer = io.BytesIO()
        Image.new("RGB", (60, 40)).save(buffer, "JPEG")
        picture = loaders.uploaded_picture("a.jpg", buffer.getvalue())
        assert picture.pixels.shape == (20, 30, 3)
        assert picture.note == "of 60 x 40 pixels: decoded at 1/2 of that"

    def test_a_very_large_upload_is_made_smaller(self, monkeypatch):
        from PIL import Image

        monkeypatch.setattr(pictures, "MAX_KEPT_PIXELS", 100)
        buffer = io.BytesIO()
        Image.new("RGB", (60, 15), "red").save(buffer, "PNG")
        picture = loaders.uploaded_picture("big.png", buffer.getvalue())

        assert picture.pixels.shape == (5, 20, 3)
        assert "3 times smaller" in picture.note


class TestRuns:
    def test_same_input_runs_once(self, app_env):
        example_run()
        before = loaders.num_runs()
        example_run()
        example_run(image_size=None, fit=None)

        assert loaders.num_runs() == before
        example_run(image="Coffee")
        assert loaders.num_runs() == before + 1

    def test_result_is_that_of_the_core(self, app_env, pretrained):
        _, picture, run = example_run()
        ref = load(pretrained / "tiny_sact_tau0.005.h5").run([picture.pixels])[0]

        assert np.array_equal(run.result.logits, ref.logits)
        assert run.executed.total[0] == ref.flops[0]
        assert run.executed.total[0] < run.dense.total[0]

    def test_nobody_shares_a_result(self, app_env):
        _, _, first = example_run()
        first.result.logits[:] = 0
        _, _, second = example_run()

        assert second.result.logits.any()

    @pytest.mark.parametrize("fit", ["crop", "keep"])
    def test_other_sizes(self, app_env, fit):
        _, _, run = example_run(image="Rocket", image_size=64, fit=fit)

        assert max(run.result.input_size) == 64
        assert run.seen.pixels.shape[:2] == run.result.input_size
        assert (run.result.input_size == (64, 64)) == (fit == "crop")

    def test_networks_run_one_at_a_time_and_agree(self, app_env):
        picture = loaders.example("Galaxies")
        names = [f"tiny_sact_tau{tau}" for tau in (0.001, 0.005, 0.01)]
        looks = [Look(loaders.model(name), picture, 96) for name in names]
        ref = [loaders.run(look).result.flops[0] for look in looks]
        running._run.clear()
        comp: dict[int, int] = {}

        def work(i: int) -> None:
            comp[i] = loaders.run(looks[i % 3]).result.flops[0]

        threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [comp[i] for i in range(6)] == [*ref, *ref]

    def test_backends_agree(self, app_env):
        model, picture = loaders.model("tiny_sact_tau0.005"), loaders.example("Cat")

        assert all(one.ok for one in loaders.agreement(Look(model, picture)))

    def test_disagreement_is_seen(self, app_env):
        _, _, run = example_run()
        block = run.result.blocks[0]
        wrong = replace(block, num_units=block.num_units + 1)
        other = replace(run, result=replace(run.result, blocks=(wrong, *run.result.blocks[1:])))

        assert not comparing._compare(run, other, "masked", 0.01).ok

    def test_flops_alone_may_not_differ(self, app_env):
        _, _, run = example_run()
        other = replace(run, result=replace(run.result, flops=run.result.flops + 1))
        found = comparing._compare(run, other, "masked", 0.01)

        assert (found.logits, found.ponder_cost, found.num_units) == (0, 0, 0)
        assert not found.flops_equal
        assert not found.ok

    @pytest.mark.parametrize("block", [0, 1, 2])
    def test_ponder_costs_alone_may_not_differ(self, app_env, block):
        _, _, run = example_run()
        blocks = list(run.result.blocks)
        cost = blocks[block].ponder_cost.copy()
        cost[0, 1, 2] -= np.float32(0.25)
        blocks[block] = replace(blocks[block], ponder_cost=cost)
        other = replace(run, result=replace(run.result, blocks=tuple(blocks)))
        found = comparing._compare(run, other, "dense", 0.01)

        assert found.ponder_cost == pytest.approx(0.25, abs=1e-6)
        assert (found.logits, found.num_units, found.flops_equal) == (0, 0, True)
        assert not found.ok

    @pytest.mark.parametrize(
        ("changes", "ok"),
        [
            ({}, True),
            ({"logits": 0.9e-3, "ponder_cost": 0.9e-3}, True),  # rounding
            ({"logits": 1.1e-3}, False),
            ({"ponder_cost": 1.1e-3}, False),
            ({"flops_equal": False}, False),
            ({"num_units": 1}, False),
            ({"num_units": 2, "close": 1}, False),
            # Where rounding decides about a position, costs and FLOPs follow.
            ({"num_units": 2, "close": 2, "flops_equal": False, "ponder_cost": 0.5}, True),
            ({"num_units": 2, "close": 2, "logits": 1.1e-3}, False),
        ],
    )
    def test_what_counts_as_agreement(self, changes, ok):
        same = comparing.Agreement("masked", 1.0, 0.0, 0.0, 0, 0, 100, True)

        assert replace(same, **changes).ok == ok

    def test_networks_are_kept_within_bounds(self, app_env):
        models = [loaders.model(f"tiny_sact_tau{tau}") for tau in (0.001, 0.005, 0.01)]
        params = checkpoints.read(models[0].source).params.values()
        size = 3 * sum(values.nbytes for values in params)
        app_env.setattr(checkpoints, "MAX_NET_BYTES", 2 * size + size // 2)
        first = loaders.net(models[0], "reference")
        for i in (1, 0, 2):
            loaders.net(models[i], "reference")

        assert len(checkpoints._nets()) == 2
        assert loaders.net(models[0], "reference") is first  # used after the second

    def test_time_is_of_the_network_alone(self, app_env):
        from sact_core.backends import net as nets

        def slow(*args):
            time.sleep(0.3)
            return see(*args)

        see = nets.see
        app_env.setattr(nets, "see", slow)
        _, _, run = example_run()

        assert run.seconds < 0.3

    def test_time_is_the_median_of_quick_runs(self, app_env):
        model, picture = loaders.model("tiny_sact_tau0.005"), loaders.example("Cat")
        network = loaders.net(model)
        engine, count = network.engine, 0

        class Hindered:
            def forward(self, x, **options):
                nonlocal count
                count += 1
                time.sleep(0.5 if count == 3 else 0)  # the second after the warm one
                return engine.forward(x, **options)

        object.__setattr__(network, "engine", Hindered())
        app_env.setattr(running, "PATIENCE", 60.0)
        assert loaders.run(Look(model, picture)).seconds < 0.5
        assert count == 4

    def test_time_is_of_no_first_run(self, app_env):
        model, picture = loaders.model("tiny_sact_tau0.005"), loaders.example("Cat")
        network = loaders.net(model)
        first: set[tuple[int, ...]] = set()
        engine = network.engine

        class Starting:
            def forward(self, x, **options):
                if x.shape not in first:  # as an engine that gets its memory
                    first.add(x.shape)
                    time.sleep(0.3)
                return engine.forward(x, **options)

        object.__setattr__(network, "engine", Starting())
        for side in (32, 64, 32):
            assert loaders.run(Look(model, picture, side)).seconds < 0.3
        assert len(first) == 2
