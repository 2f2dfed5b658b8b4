"""What is made of a result: its figures, and the files that one takes home."""

from __future__ import annotations

import io
import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from PIL import Image

from app import exports, loaders, views
from app.records import Look
from sact_core.backends import load
from sact_core.result import BlockResult, Result
from tests.app.conftest import ROOT
from tests.app.examples import example_run


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
