"""Loaders: what is listed, opened, refused, kept; and the plain helpers of the pages."""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from PIL import Image

from app import exports, families, loaders, stated, times, views
from app.folders import InputError
from app.halting_lab import rule
from app.loaders import checkpoints, comparing, pictures, running, timing
from app.records import Look
from app.runs import run_dir
from sact_core.backends import Net, load, memory
from sact_core.checkpoint import write
from sact_core.config import NetworkConfig
from sact_core.data.images import read_image
from sact_core.flops import dense_flops
from sact_core.result import BlockResult, Result
from sact_core.train import RunDir, is_training
from tests.app.conftest import CLASSES, ROOT, make_checkpoint
from tests.in_memory import in_memory


def example_run(name="tiny_sact_tau0.005", image="Cat", **options):
    model, picture = loaders.model(name), loaders.example(image)
    return model, picture, loaders.run(Look(model, picture, **options))


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


class TestViews:
    def test_difference_is_as_large_as_its_largest(self):
        def ran(*rows):
            units = np.array([rows], np.int32)
            size = units.shape[1:]
            block = BlockResult("block1", np.zeros(1), size, units.astype(np.float32), units)
            return SimpleNamespace(result=Result(np.zeros((1, 2)), np.zeros(1), (block,), {}, size))

        one, other = ran([1, 2], [3, 9]), ran([1, 2], [3, 4])

        def difference(first, second, metric):
            both = (run.result.map(metric)[0] for run in (first, second))
            return views.largest_difference(*both)

        assert difference(one, other, "num_units") == 5  # mean 1.25
        assert difference(other, one, "ponder_cost") == 5  # either way
        assert difference(one, one, "num_units") == 1
        # Maps of other sizes, at the positions of the first: rows 0 0 1 1, columns 0 1 of 2 x 2.
        tall = ran([1, 2], [1, 2], [3, 4], [11, 4])
        assert difference(tall, other, "num_units") == 8
        assert difference(other, tall, "num_units") == 1  # rows 0 and 2 of 4

    def test_trace_follows_the_position(self, app_env):
        model, _, run = example_run()
        for block in run.result.blocks:
            height, width = block.size
            trace = views.trace(block, (17, 30), run.result.input_size)
            row, column = 17 * height // 32, 30 * width // 32

            assert trace.num_units == block.num_units[0, row, column]
            assert trace.ponder_cost == pytest.approx(block.ponder_cost[0, row, column])
        assert model.config.halting == "sact"

    def test_act_is_traced_anywhere(self, app_env):
        _, _, run = example_run("tiny_act")
        first, second = (
            views.trace(run.result.blocks[0], where, (32, 32)) for where in ((0, 0), (31, 31))
        )

        assert first.num_units == second.num_units

    def test_tree_adds_up(self, app_env):
        model, _, run = example_run()
        nodes = {node.name: node for node in views.tree(model.plan, run)}
        for name, node in nodes.items():
            children = [other for other in nodes.values() if other.parent == name]
            if children:
                assert node.dense == sum(child.dense for child in children), name
                assert node.executed == sum(child.executed for child in children), name

    def test_film_ends_with_the_units_run(self, app_env):
        model, _, run = example_run()
        stages, active = views.film(run.result, range(len(run.result.blocks)))

        assert len(stages) == sum(model.config.units_per_block)
        assert active[0] == 1.0
        mean = sum(block.num_units[0].mean() for block in run.result.blocks)
        assert active.sum() == pytest.approx(mean)

    def test_layer_rows_add_up(self, app_env):
        model, _, run = example_run()
        rows = views.layer_rows(model.plan, run)

        assert sum(row["executed"] for row in rows) == run.executed.total[0]
        assert all(row["positions"] <= row["of"] for row in rows)


class TestExports:
    def test_pictures_and_arrays(self, app_env):
        model, picture, run = example_run()
        look = Look(model, picture)
        shown = exports.Shown("ponder_cost", "magma", "fixed", (6, 12), 0.5)
        for make in (exports.map_png, exports.overlay_png, exports.colour_bar_png):
            image = Image.open(io.BytesIO(make(look, run, shown)))
            assert image.format == "PNG"
            said = json.loads(image.text["Comment"])
            assert said["checkpoint"] == {"name": model.name, "content_hash": model.digest}
            assert said["tau"] == model.tau
            assert said["input_size"] == [32, 32]
            assert said["limits"] == [6, 12]

        shown = replace(shown, metric="num_units")
        with np.load(io.BytesIO(exports.npz(look, run, shown))) as found:
            assert np.array_equal(found["map"], run.result.map("num_units")[0])
            assert json.loads(found["about"].item()) == json.loads(
                json.dumps(exports.about(look, run, shown))
            )
        with h5py.File(io.BytesIO(exports.hdf5(Look(model, picture), run))) as file:
            assert np.array_equal(file["ponder_cost_map"][0, ..., 0], run.result.map()[0])

    def test_arrays_hold_the_input_to_the_last_bit(self, photo_env, photographs):
        model, picture = loaders.model("zoo_photos_tau0.01"), loaders.example("Rocket")
        look = Look(model, picture)  # cropped, and resized to fractions of pixel values
        network = load(photographs / "zoo_photos_tau0.01.h5")
        with h5py.File(io.BytesIO(exports.hdf5(look, loaders.run(look)))) as file:
            assert np.array_equal(file["images"][()], network.see(picture.pixels).x)

    def test_csv_adds_up(self, app_env):
        import csv

        model, picture, run = example_run()
        rows = list(csv.DictReader(io.StringIO(exports.table(Look(model, picture), run))))
        units = [row for row in rows if "/unit" in row["part"]]

        assert int(rows[0]["flops"]) == run.result.flops[0]
        assert len(units) == sum(model.config.units_per_block)

    @pytest.mark.parametrize(
        ("precision", "metric", "scale"),
        [
            *itertools.product(["float32"], ["ponder_cost", "num_units"], ["fixed", "stretched"]),
            ("bfloat16", "ponder_cost", "fixed"),
        ],
    )
    @pytest.mark.parametrize("tau", [None, 0.0123456])
    def test_command_draws_the_same(
        self, any_tau_env, any_tau, tmp_path, metric, scale, tau, precision, request
    ):
        if precision == "bfloat16":
            request.getfixturevalue("bfloat16")
        import shlex

        from sact_core import ponder

        model = loaders.model("tiny_sact_anytau" if tau else "tiny_sact_tau0.005")
        look = Look(model, loaders.example("Coffee"), 64, "keep", tau)
        run = loaders.run(look)
        limits = views.limits(model.config, run.result, metric, scale)
        shown = exports.Shown(metric, "magma", scale, limits, 0.65)
        assert run.result.precision == precision
        words = shlex.split(exports.command(look, shown, precision))
        assert words[:3] == ["python", "-m", "sact_core.ponder"]
        words[3] = str(ROOT / words[3])
        at = words.index("--checkpoint") + 1
        assert words[at] == model.name  # found by name, from anywhere
        words[at] = str(any_tau / f"{model.name}.h5")
        words[words.index("--out") + 1] = str(tmp_path / "out")

        any_tau_env.setenv("SACT_PRECISION", "float32")  # the flag decides
        assert ponder.main(words[3:]) == 0
        made = {"ponder": exports.map_png, "overlay": exports.overlay_png}
        made["colorbar"] = exports.colour_bar_png
        for name, make in made.items():
            with (
                Image.open(tmp_path / "out" / f"coffee_{name}.png") as ref,
                Image.open(io.BytesIO(make(look, run, shown))) as comp,
            ):
                assert np.array_equal(np.asarray(ref), np.asarray(comp)), name
        with h5py.File(tmp_path / "out" / "coffee_maps.h5") as file:
            assert np.array_equal(file[f"{metric}_map"][0, ..., 0], run.result.map(metric)[0])
        with h5py.File(io.BytesIO(exports.hdf5(look, run, shown))) as file:
            said = json.loads(file.attrs["provenance"])
        assert said["tau"] == (tau or 0.005)
        assert said["input_size"] == list(run.result.input_size)
        assert said["command"] == exports.command(look, shown, precision)
        assert said["precision"] == precision
        table = exports.table(look, run).splitlines()
        height, width = run.result.input_size
        assert table[1].startswith(f"{model.name},Coffee,{tau or 0.005},{height},{width},network,")
        rows = views.layer_rows(model.plan, run)
        assert exports.layers(look, run, rows).splitlines()[1].startswith(f"{model.name},Coffee,")
        name = exports.stem(look, run)
        assert name.endswith(f"{width}x{height}")
        assert ("tau0.0123456" in name) == (tau is not None)

    @pytest.mark.parametrize(
        ("name", "origin", "note", "file"),
        [
            ("my cat.webp", "upload", "", "my cat.webp"),
            ("my cat.webp", "upload", "made 2 times smaller", "my_cat.png"),
            ("Photograph.png", "upload", "", "Photograph.png"),
            ("Test image 7", "test", "labelled bird", "Test_image_7.png"),
        ],
    )
    def test_command_names_a_file_that_one_has(self, app_env, name, origin, note, file):
        import shlex

        picture = loaders.picture(name, np.zeros((8, 8, 3), np.uint8), origin, note)
        look = Look(loaders.model("tiny_act"), picture)
        shown = exports.Shown("ponder_cost", "viridis", "fixed", (6, 12), 0.65)
        assert shlex.split(exports.command(look, shown))[3] == file
        with Image.open(io.BytesIO(exports.image_png(picture))) as image:
            assert np.array_equal(np.asarray(image), picture.pixels)


class TestFamilies:
    def test_family_by_tau(self, app_env):
        found = families.families(loaders.shipped_models())

        assert [family.taus for family in found] == [[0.001, 0.005, 0.01], [0.005]]
        points = families.points(found[0], loaders.shipped_models())
        groups = {point.group for point in points}
        assert "authors, published" in groups
        assert sum(point.group == f"{found[0].label}, by τ" for point in points) == 3

    def test_photographs_and_small_images_share_no_curve(self, photo_env):
        shipped = loaders.shipped_models()
        for family in families.families(shipped):
            points = families.points(family, shipped)
            labels = {point.group for point in points}

            assert ("authors, published" in labels) == (family.kind == "small")
            names = {f.label for f in families.families(shipped)}
            assert len({label.removesuffix(", by τ") for label in labels} & names) == (
                1 if family.kind == "photographs" else 2
            )
            assert points[0].group == f"{family.label}, by τ"

    def test_families_of_one_name_are_told_apart(self, photo_env, photographs, tmp_path):
        from dataclasses import replace

        from sact_core.checkpoint import read, write

        for side in (128, 160):
            made = read(photographs / "zoo_photos_tau0.01.h5")
            fit = replace(made.preprocessing, image_size=side)
            write(tmp_path / f"side{side}.h5", replace(made, preprocessing=fit))
        photo_env.setenv("SACT_PRETRAINED_DIR", str(tmp_path))
        labels = [family.label for family in families.families(loaders.shipped_models())]

        assert [label[-13:] for label in labels] == ["at 128 pixels", "at 160 pixels"]


class TestCosts:
    @pytest.mark.parametrize("side", [128, 320])
    @pytest.mark.parametrize("fit", ["crop", "keep"])
    def test_price_is_that_of_the_run(self, photo_env, side, fit):
        model, picture = loaders.model("zoo_photos_tau0.01"), loaders.example("Rocket")
        look = Look(model, picture, side, fit)
        cost, run = loaders.cost(look), loaders.run(look)

        assert cost.size == run.result.input_size
        assert cost.dense == run.dense.total[0]
        assert loaders.seconds_of(look) == run.seconds

    def test_memory_is_asked_for_before_the_run(self, photo_env, monkeypatch):
        from app.loaders import costs

        monkeypatch.setattr(costs, "available_memory", lambda: 1_000_000)
        before, model = loaders.num_runs(), loaders.model("zoo_photos_tau0.01")
        with pytest.raises(InputError, match="of memory, but 1 MB are free: choose a smaller side"):
            loaders.run(Look(model, loaders.example("Cat"), 640, "keep"))

        assert loaders.num_runs() == before

    @pytest.mark.parametrize(
        ("split", "opened"),
        [
            ("test[60%:]", "test[60%:]"),
            ("test[:100]", "test[:100]"),
            ("validation", "validation"),
            ("../train", "test"),
            (7, "test"),
        ],
    )
    def test_split_is_the_one_that_was_evaluated(self, photo_env, split, opened):
        from dataclasses import replace

        from app.loaders import dataset

        model = loaders.model("zoo_photos_tau0.01")
        provenance = model.header.provenance | {"metrics": {"split": split}}
        asked = replace(model, header=replace(model.header, provenance=provenance))

        assert dataset.split_of(asked) == opened


class TestDataSet:
    @pytest.fixture
    def a_test_split(self, monkeypatch):
        """Images of one size and of another in turn, the fourth of which cannot be read."""
        from app.loaders import dataset

        rng = np.random.default_rng(0)
        images = [rng.integers(0, 256, (20 + 12 * (i % 2), 32, 3), np.uint8) for i in range(11)]
        source = replace(in_memory(images, broken=[3]), class_names=CLASSES)
        monkeypatch.setattr(dataset, "_open", lambda *_: source)
        return source

    def test_little_memory_changes_no_outcome(self, app_env, a_test_split, tmp_path, monkeypatch):
        from app.loaders import dataset

        model = loaders.model("tiny_sact_tau0.005")
        keep = replace(model.header.preprocessing, fit="keep")
        network = loaders.net(model)
        monkeypatch.setattr(dataset, "net", lambda _: replace(network, preprocessing=keep))
        [(_, whole)] = dataset.run(model, 11)
        one = memory.estimate_memory(model.plan, (1, 32, 32, 3))
        monkeypatch.setattr(memory, "available_memory", lambda: 4 * one)
        dataset._part.clear()
        monkeypatch.setenv("SACT_CACHE_DIR", str(tmp_path / "empty"))
        sizes = []
        monkeypatch.setattr(
            dataset, "forward", lambda n, x, tau: sizes.append(len(x)) or n.forward(x)
        )
        [(_, parts)] = dataset.run(model, 11)

        assert max(sizes) < 5
        assert parts.indices.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9, 10]
        assert parts.labels.tolist() == [i % 3 for i in parts.indices]
        assert parts.left_out.tolist() == ["example 3"]
        for name in ("predictions", "flops", "dense", "among_five"):
            assert np.array_equal(getattr(parts, name), getattr(whole, name)), name
        singly = [
            int(network.run([image], None, "keep")[0].flops[0])
            for i, image in enumerate(a_test_split.records.images)
            if i != 3
        ]
        assert parts.flops.tolist() == singly

    def test_a_size_without_end_is_refused_in_a_sentence(self, app_env, a_test_split, monkeypatch):
        from app.loaders import dataset

        model = loaders.model("tiny_sact_tau0.005")
        network = loaders.net(model)
        huge = replace(network.preprocessing, image_size=8192)
        monkeypatch.setattr(dataset, "net", lambda _: replace(network, preprocessing=huge))
        monkeypatch.setattr("sact_core.backends.checks.available_memory", lambda: 1 << 30)
        with pytest.raises(InputError, match=r"8192 x 8192 pixels needs? about .* free"):
            list(dataset.run(model, 11))


class TestAnyTau:
    def test_dial_is_the_network_at_every_tau(self, any_tau_env):
        model, picture = loaders.model("tiny_sact_anytau"), loaders.example("Astronaut")
        dial = loaders.dial(Look(model, picture), [0.001, 0.01, 7.0])

        assert len(dial.taus) == 51
        assert {0.0005, 0.001, 0.01, 0.05} <= set(dial.taus.tolist())
        assert (np.diff(dial.taus) > 0).all()
        for i in (0, 20, 50):
            run = loaders.run(Look(model, picture, tau=dial.taus[i]))
            assert run.result.flops[0] == dial.flops[i]
            for block, cost, units in zip(
                run.result.blocks, dial.ponder_cost, dial.num_units, strict=True
            ):
                assert np.array_equal(block.num_units[0], units[i])
                assert np.allclose(block.ponder_cost[0], cost[i], atol=1e-4)
        assert dial.share[0] > dial.share[-1]

    def test_dial_runs_in_parts_where_memory_is_short(self, any_tau_env, monkeypatch):
        from app.loaders import any_tau

        model, picture = loaders.model("tiny_sact_anytau"), loaders.example("Cat")
        whole = loaders.dial(Look(model, picture))
        monkeypatch.setattr(any_tau, "MAX_BATCH_BYTES", 1)
        any_tau._dial.clear()
        before = loaders.num_runs()
        parts = loaders.dial(Look(model, picture))

        assert loaders.num_runs() == before + len(parts.taus)
        assert np.array_equal(parts.flops, whole.flops)
        assert np.array_equal(parts.ponder_cost[1], whole.ponder_cost[1])

    def test_one_more_tau_finds_its_place(self, any_tau_env):
        model, picture = loaders.model("tiny_sact_anytau"), loaders.example("Cat")
        dial = loaders.dial(Look(model, picture))
        run = loaders.run(Look(model, picture, tau=0.0123))
        more = loaders.with_run(dial, 0.0123, run)
        i = more.at(0.0123)

        assert more.taus[i] == 0.0123
        assert (np.diff(more.taus) > 0).all()
        assert more.flops[i] == run.result.flops[0]
        assert np.array_equal(more.num_units[0][i], run.result.blocks[0].num_units[0])
        assert loaders.with_run(more, 0.0123, run) is more

    def test_a_large_photograph_gets_fewer_steps(self, any_tau_env, monkeypatch):
        from app.loaders import any_tau

        monkeypatch.setattr(any_tau, "MAX_FLOPS", 1.0)
        look = Look(loaders.model("tiny_sact_anytau"), loaders.example("Cat"), 64, "keep")
        dial = loaders.dial(look)

        assert len(dial.taus) == any_tau.FEWEST_TAUS

    def test_specialists_are_the_same_network(self, any_tau_env):
        shipped = loaders.shipped_models()
        found = families.specialists(loaders.model("tiny_sact_anytau"), shipped)

        assert [model.tau for model in found] == [0.001, 0.005, 0.01]
        assert all("anytau" not in m.name for f in families.families(shipped) for m in f.models)

    def test_curve_is_read_where_it_is_of_these_parameters(self, any_tau_env, any_tau, tmp_path):
        import json

        shutil.copy(any_tau / "tiny_sact_anytau.h5", tmp_path)
        any_tau_env.setenv("SACT_PRETRAINED_DIR", str(tmp_path))
        model = loaders.model("tiny_sact_anytau")
        assert stated.curve(model) == []
        rows = [
            {"tau": tau, "eval/Accuracy": 0.9, "Total Flops/mean": 1e6} for tau in (0.02, 0.001)
        ]
        beside = tmp_path / "tiny_sact_anytau.curve.json"
        for stored in (
            "{", "[]", json.dumps({"content_hash": "other", "rows": rows}),
        ):  # fmt: skip
            beside.write_text(stored)
            assert stated.curve(model) == []
        beside.write_text(json.dumps({"content_hash": model.digest, "rows": rows}))

        assert [point.label for point in families.curve(model)] == ["τ = 0.001", "τ = 0.02"]
        (own,) = families.any_tau([model])
        points = families.points(own, loaders.shipped_models())
        # Its own curve comes first, so it is the one with labels.
        assert [point.short for point in points[:2]] == ["0.001", "0.02"]
        assert [point.group == f"{own.label}, by τ" for point in points[:3]] == [True, True, False]
        dense = dense_flops(model.plan, (32, 32)).total[0]
        for row, share in zip(rows, (0.4, 0.8), strict=True):
            row["Total Flops/mean"] = share * float(dense)
        beside.write_text(json.dumps({"content_hash": model.digest, "rows": rows}))
        assert stated.mean_share(model, 0.001) == pytest.approx(0.8)
        assert stated.mean_share(model, np.sqrt(0.001 * 0.02)) == pytest.approx(0.6)
        assert stated.mean_share(model, 0.05) is None

    def test_accuracy_is_that_of_the_tau(self, any_tau_env, any_tau, tmp_path):
        shutil.copy(any_tau / "tiny_sact_anytau.h5", tmp_path)
        any_tau_env.setenv("SACT_PRETRAINED_DIR", str(tmp_path))
        model = loaders.model("tiny_sact_anytau")
        own = f"{0.9 - model.config.tau_default:.1%} right of 10,000 test images"
        assert stated.accuracy(model) == own
        assert stated.accuracy(model, model.config.tau_default) == own
        assert stated.accuracy(model, 0.02) is None  # without a curve nothing is known
        rows = [
            {"tau": tau, "count": 10000, "eval/Accuracy": right, "eval/Recall@5": 0.99}
            for tau, right in ((0.001, 0.9), (0.004, 0.8), (0.016, float("nan")), (0.01, 10**400))
        ]
        beside = tmp_path / "tiny_sact_anytau.curve.json"
        beside.write_text(json.dumps({"content_hash": model.digest, "rows": rows}))
        five = ", 99.0% among the first five"
        assert stated.accuracy(model, 0.004) == f"80.0% right of 10,000 images{five}"
        assert stated.accuracy(model, 0.002) == (
            f"about 85.0% right of 10,000 images{five}, interpolated between τ = 0.001 and 0.004"
        )
        assert stated.accuracy(model, 0.02) is None
        assert stated.accuracy(model, 0.0005) is None

    def test_flips(self):
        from app.loaders import dataset

        predictions = np.array([[1, 2, 3, 4], [1, 5, 3, 4], [1, 2, 3, 0], [1, 2, 3, 4]])

        assert dataset.first_flips(predictions).tolist() == [4, 1, 4, 2]


class TestTiming:
    """Times side by side; the processes are those of the benchmark's tests."""

    @pytest.fixture
    def sides(self, monkeypatch):
        """Sides that answer at once, and what they were given."""
        given: dict[str, tuple] = {}

        class Side:
            fails = False

            def __init__(self, side, case, threads):
                assert threads >= 1
                given[f"{side} {case.key}"] = load(case.checkpoint), np.load(case.images)
                self.side, self.case = side, case

            def wait(self):
                if self.side == "frozen" and self.fails:
                    raise timing.SideError("the frozen side ended early")

            def measure(self, seconds):
                factor = {"masked": 1, "vanilla": 5, "frozen": 2}[self.side]
                return {"seconds": [factor * {"own": 3.0, "twin": 4.0}[self.case.key]] * 3}

            def end(self):
                given.setdefault("ended", []).append(self.side)

        monkeypatch.setattr(timing, "Process", Side)
        monkeypatch.setattr(timing.shutil, "which", lambda name: "/usr/bin/c++")
        given["class"] = Side
        return given

    def test_same_weights_with_and_without_halting(self, any_tau_env, any_tau, sides):
        picture = loaders.example("Cat")
        look = Look(loaders.model("tiny_sact_anytau"), picture, 64, tau=0.02)
        first, last = timing.measure(look, lambda *_: None)
        (own, x), (twin, same) = sides["masked own"], sides["masked twin"]
        whole = load(any_tau / "tiny_sact_anytau.h5")

        assert [each.side for each in first.sides] == ["halting", "vanilla", "eager"]
        assert [each.side for each in last.sides] == ["halting", "vanilla", "eager", "frozen"]
        assert [each.median for each in last.sides] == [3, 4, 20, 8]
        assert last.rival.side == "vanilla"
        assert first.side("vanilla").over(first.side("halting")) == pytest.approx((4 / 3,) * 3)
        assert np.array_equal(x, whole.see(picture.pixels, 64).x)
        assert np.array_equal(x, same)
        assert own.forward(x).flops == whole.forward(x, tau=0.02).flops
        assert not twin.config.halts
        assert twin.forward(x).flops == loaders.vanilla_flops(whole.config, (64, 64)).total
        assert sorted(sides["ended"]) == ["frozen", "masked", "masked", "vanilla"]

    def test_a_twin_is_the_network_that_never_halts(self, app_env, pretrained):
        made = checkpoints.read(pretrained / "tiny_sact_tau0.005.h5")
        params = {k: v.copy() for k, v in made.params.items()}
        for name, values in params.items():
            if "/halting_proba/" in name and name.endswith("conv/bias"):
                values[:] = -100  # nothing stops before the last unit
        x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
        ref = Net.from_checkpoint(replace(made, params=params), "reference").forward(x)
        comp = Net.from_checkpoint(timing.vanilla_twin(made), "reference").forward(x)

        np.testing.assert_allclose(comp.logits, ref.logits, rtol=0, atol=1e-5)

    def test_compiler_that_fails_is_said_and_the_rest_measured(self, app_env, sides):
        sides["class"].fails = True
        look = Look(loaders.model("tiny_sact_tau0.005"), loaders.example("Cat"))
        _, last = timing.measure(look, lambda *_: None)

        assert [each.side for each in last.sides] == ["halting", "vanilla", "eager"]
        assert "not compiled: The frozen side ended early" in last.absent

    def test_another_measurement_is_told_only_while_one_is_on(self, app_env, sides):
        look = Look(loaders.model("tiny_sact_tau0.005"), loaders.example("Cat"))
        alone: list[str] = []
        first = timing.measure(look, lambda what, _: alone.append(what))
        next(first)
        waited, told = threading.Event(), []

        def say(what, _):
            told.append(what)
            waited.set()

        second = threading.Thread(target=lambda: list(timing.measure(look, say)))
        second.start()
        assert waited.wait(30)
        assert told == ["Another measurement is on; this one is next …"]
        list(first)
        second.join(30)

        assert not second.is_alive()
        assert len(told) > 1
        assert not [what for what in alone if what.startswith("Another")]

    def test_network_that_does_not_halt(self, app_env, sides, monkeypatch):
        monkeypatch.setattr(timing.shutil, "which", lambda name: None)
        look = Look(loaders.model("tiny_vanilla"), loaders.example("Cat"))
        (only,) = timing.measure(look, lambda *_: None)

        assert [each.side for each in only.sides] == ["vanilla", "eager"]
        assert "no C++ compiler" in only.absent
        assert times.words(only, 10, 10).endswith(
            "**the masked engine without halting**: 4000.0 ms."
        )

    def test_not_enough_memory(self, app_env, sides, monkeypatch):
        from app.loaders import costs

        monkeypatch.setattr(costs, "available_memory", lambda: 1_000_000_000)
        look = Look(loaders.model("tiny_act"), loaders.example("Cat"))
        with pytest.raises(InputError, match=r"Timing 4 sides takes about 2\.\d GB of memory"):
            next(timing.measure(look, lambda *_: None))

    def test_processes_measure(self, app_env, monkeypatch):
        """The real ones, without a compiler: that takes a minute."""
        monkeypatch.setattr(timing.shutil, "which", lambda name: None)
        monkeypatch.setattr(timing, "ROUNDS", 2)
        monkeypatch.setattr(timing, "TURN", 0.01)
        look = Look(loaders.model("tiny_sact_tau0.005"), loaders.example("Cat"))
        (only,) = timing.measure(look, lambda *_: None)

        assert [each.side for each in only.sides] == ["halting", "vanilla", "eager"]
        assert all(len(each.seconds) == 2 and min(each.seconds) > 0 for each in only.sides)

    def test_words(self):
        own = times.Times("halting", (1.0, 1.0, 1.0))
        twin = times.Times("vanilla", (1.25, 1.2, 1.5))
        torch = times.Times("frozen", (1.0, 1.1, 1.2))
        said = times.words(times.Timing((own, twin, torch), 2), 76, 100)

        assert "spares **24%** of the FLOPs" in said
        assert "saves **20%** of its time" in said  # the median of 1 / 1.25, 1 / 1.2, 1 / 1.5
        assert "0.80 times as long, quartiles 0.73 and 0.82" in said
        assert "**PyTorch, compiled**: **1.10 times** as long" in said
        slower = times.Timing((replace(twin, side="halting"), replace(own, side="vanilla")), 2)
        assert "costs **25%** more time" in times.words(slower, 76, 100)
        unsure = times.Timing((own, times.Times("vanilla", (0.5, 1.1, 2.0))), 2)
        assert "no difference in time can be told" in times.words(unsure, 76, 100)


class TestLab:
    def test_presets_show_what_they_say(self):
        num_units = {
            name: rule._programs(preset.scores, preset.eps, ())["NumPy"].num_units.tolist()
            for name, preset in rule.PRESETS.items()
        }

        assert num_units == {
            "Typical": [3, 5, 2, 1],
            "Stops at once": [1],
            "Never stops": [5],
            "Exact tie": [3],
            "All zero": [5],
            "All one": [1],
            "A hair short": [3],
        }

    @pytest.mark.parametrize("name", list(rule.PRESETS))
    def test_steps_are_the_rule(self, name):
        preset = rule.PRESETS[name]
        halting = rule._programs(preset.scores, preset.eps, ())["NumPy"]
        for i, scores in enumerate(preset.scores):
            steps = rule.steps(scores, preset.eps)

            assert len(steps) == halting.num_units[i]
            weights = [step.row[4] for step in steps]
            assert np.allclose(weights, halting.distribution[i, : len(steps)], atol=1e-6)

    def test_all_programs_agree(self, rng):
        assert rule.all_agree(rng.random((50, 6)), 0.01, ["masked", "dense"])

    def test_slope_is_the_gradient(self):
        scores = np.array([0.1, 0.3, 0.7, 0.5])
        line, costs = rule.sweep(scores, 0, 0.01)
        here = int(np.abs(line - 0.1).argmin())
        slope = (costs[here + 1] - costs[here]) / (line[1] - line[0])

        assert slope == pytest.approx(rule.slopes(4, 3)[0], abs=1e-3)

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("", "at least one"),
            ("a b", "must be numbers"),
            ("0.1 2", "between 0 and 1"),
            ("nan", "between 0 and 1"),
            ("0.1 ; 0.1 0.2", "same number"),
            (" ".join(["0.1"] * 40), "At most"),
        ],
    )
    def test_scores_that_make_no_sense(self, text, match):
        with pytest.raises(ValueError, match=match):
            rule.read_scores(text)

    def test_scores_survive_writing(self, rng):
        scores = rng.random((4, 5)).round(4)

        assert np.allclose(rule.read_scores(rule.write_scores(scores)), scores, atol=1e-6)


class TestTrainingRuns:
    def make(self, folder, name, rows=3):
        path = folder / name
        path.mkdir(parents=True)
        (path / "config.json").write_text(json.dumps({"network": {"halting": "sact"}, "epochs": 5}))
        (path / "command.txt").write_text("python -m sact_core.train --tau 0.01\n")
        lines = [
            {"epoch": e + 1, "train/Total Loss": 2 - e / 5, "eval/Accuracy": 0.5 + e / 10,
             "flops_share": 0.9, "block1/num_units_mean": 2.0 + e}
            for e in range(rows)
        ]  # fmt: skip
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    def test_reads_a_run(self, app_env, tmp_path):
        self.make(tmp_path / "runs", "one")
        run = run_dir.read("one")

        assert run.recipe["network.halting"] == "sact"
        assert run.resume.endswith("--tau 0.01 --resume")
        assert run.live
        assert set(run_dir.charts([run], False)) == {
            "Total loss",
            "Accuracy",
            "FLOPs",
            "Units run, by block",
        }

    def test_a_finished_run_is_not_live(self, app_env, tmp_path):
        self.make(tmp_path / "runs", "one", rows=5)

        assert not run_dir.read("one").live

    @pytest.mark.parametrize(("rows", "done"), [(2, False), (3, True)])
    def test_steps_in_place_of_epochs(self, app_env, tmp_path, rows, done):
        path = self.make(tmp_path / "runs", "one", rows)
        (path / "config.json").write_text('{"epochs": 256.0, "max_steps": 250}')
        lines = [{"epoch": e + 1, "step": min(100 * (e + 1), 250)} for e in range(rows)]
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        run = run_dir.read("one")

        assert (run.done, run.live) == (done, not done)
        assert run.progress == ("Step", min(100 * rows, 250), 250)

    @pytest.mark.parametrize(("steps", "done"), [(250, False), (500, True)])
    def test_the_last_checkpoint_tells_whether_it_is_done(self, app_env, tmp_path, steps, done):
        path = self.make(tmp_path / "runs", "one", 1)
        made = make_checkpoint(NetworkConfig(base_channels=4, units_per_block=(1, 1, 1)))
        record = {"steps": steps, "steps_planned": 500}
        write(path / "last.h5", replace(made, provenance=record))

        assert run_dir.read("one").done is done

    def test_live_is_told_by_the_lock(self, app_env, tmp_path):
        path = self.make(tmp_path / "runs", "one")
        kept = RunDir(path)
        kept._keep_others_out()
        old = time.time() - 1000
        for file in path.iterdir():
            os.utime(file, (old, old))
        assert run_dir.read("one").live  # an epoch may take hours
        kept.close()
        assert not run_dir.read("one").live
        os.utime(path / "metrics.jsonl")
        assert not run_dir.read("one").live  # it was stopped just now

    def test_looking_never_keeps_a_run_from_starting(self, tmp_path):
        import fcntl
        import threading

        lock = os.open(tmp_path / ".lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_SH)
        threading.Timer(0.02, os.close, [lock]).start()
        kept = RunDir(tmp_path)
        kept._keep_others_out()

        assert is_training(tmp_path)
        kept.close()

    def test_damaged_files_are_said(self, app_env, tmp_path):
        path = self.make(tmp_path / "runs", "one")
        (path / "config.json").write_text("{")
        (path / "metrics.jsonl").write_text('{"epoch": 1}\n[1]\nhalf a li')
        run = run_dir.read("one")

        assert run.problems == ("config.json cannot be read.",)
        assert run.rows == [{"epoch": 1}]

    @pytest.mark.parametrize("name", ["../one", "nowhere", "/etc"])
    def test_only_listed_runs_are_read(self, app_env, tmp_path, name):
        self.make(tmp_path / "runs", "one")

        assert run_dir.read(name) is None
