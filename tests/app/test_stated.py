"""What is known of networks without running them here: families, costs, curves, data sets."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from app import families, loaders, stated
from app.folders import InputError
from app.records import Look
from sact_core.backends import memory
from sact_core.flops import dense_flops
from tests.app.conftest import CLASSES
from tests.in_memory import in_memory


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
