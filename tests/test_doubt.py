"""Rank statistics against SciPy and known answers; people's answers; the command."""

from __future__ import annotations

import csv
import json
import os
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sact_core import checkpoint as checkpoints
from sact_core.backends import Net
from sact_core.data.records import DataError
from sact_core.data.splits import open_split
from sact_core.doubt import __main__ as command
from sact_core.doubt import series
from sact_core.doubt.findings import by_people, find, galleries
from sact_core.measures import passes
from sact_core.measures.busy import colourfulness, edge_density
from sact_core.measures.passes import Pass, kept_pass, run_pass
from sact_core.measures.people import Joined, answers_of, join, read_answers
from sact_core.measures.ranks import Ranked, ranks, shuffled
from sact_core.measures.trust import blend, calibration_error, reliability, risks
from tests.conftest import need_package
from tests.networks import any_tau_checkpoint
from tests.training import write_data_set


def related(rng: np.random.Generator, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Two columns with many ties that rise together."""
    one = rng.integers(0, 12, n)
    return one, np.rint(one + rng.normal(0, 6, n)).astype(int)


class TestRanks:
    def test_correlations_and_ranks_are_scipys(self, rng: np.random.Generator) -> None:
        stats = need_package("scipy.stats")
        one, other = related(rng)
        np.testing.assert_array_equal(ranks(one), stats.rankdata(one))
        ref = stats.spearmanr(one, other).statistic
        assert Ranked({"a": one, "b": other}, 10).correlation("a", "b").value == pytest.approx(ref)

    def test_intervals_are_those_of_scipys_percentile_bootstrap(
        self, rng: np.random.Generator
    ) -> None:
        stats = need_package("scipy.stats")
        one, other = related(rng)
        comp = Ranked({"a": one, "b": other}, 2000).correlation("a", "b")
        ref = stats.bootstrap(
            (one, other), lambda a, b: stats.spearmanr(a, b).statistic, paired=True,
            vectorized=False, method="percentile", n_resamples=2000, rng=1,
        ).confidence_interval  # fmt: skip
        assert (comp.low, comp.high) == pytest.approx((ref.low, ref.high), abs=0.01)
        assert comp.low < comp.value < comp.high

    def test_areas_are_scipys_u_statistic(self, rng: np.random.Generator) -> None:
        stats = need_package("scipy.stats")
        one, other = related(rng)
        found = other > 9
        ref = stats.mannwhitneyu(one[found], one[~found]).statistic / found.sum() / (~found).sum()
        ranked = Ranked({"a": one, "b": other, "found": found}, 200, found=["found"])
        comp = ranked.area("a", "found")
        assert comp.value == pytest.approx(ref)
        assert comp.low < ref < comp.high
        assert ranked.gain("b", "a", "found").value == pytest.approx(1 - ref)

    def test_shuffled_answers_give_zero_within_their_interval(
        self, rng: np.random.Generator
    ) -> None:
        """As theory has it: no correlation, and a spread of one over the root of n - 1."""
        one, other = related(rng)
        alone = rng.uniform(size=400)
        nulls = shuffled({"related": one, "alone": alone, "same": 0 * one}, other, 1000, 1)
        for name in ("related", "alone"):
            null = nulls[name]
            assert null.mean == pytest.approx(0, abs=0.006)
            assert (null.low, null.high) == pytest.approx((-1.96 / 399**0.5, 1.96 / 399**0.5), 0.1)
        real = {n: Ranked({"a": v, "b": other}, 10).correlation("a", "b").value
                for n, v in (("related", one), ("alone", alone))}  # fmt: skip
        assert real["related"] > nulls["related"].high + 0.2
        assert nulls["alone"].low < real["alone"] < nulls["alone"].high
        assert nulls["related"].p == 1 / 1001
        assert nulls["alone"].p > 0.05
        assert nulls["same"].as_json() == {"shuffled": [None, None, None], "p": None}

    def test_the_null_is_scipys_permutation_test(self, rng: np.random.Generator) -> None:
        stats = need_package("scipy.stats")
        one, other = related(rng, 12)

        def correlation(order: np.ndarray) -> float:
            return float(stats.spearmanr(order, other).statistic)

        ref = stats.permutation_test(
            (one,), correlation, permutation_type="pairings", n_resamples=4000, rng=1
        )
        null = shuffled({"it": one}, other, 4000)["it"]
        assert null.p == pytest.approx(ref.pvalue, abs=0.03)
        low, high = np.quantile(ref.null_distribution, [0.025, 0.975])
        assert (null.low, null.high) == pytest.approx((low, high), abs=0.04)
        assert null == shuffled({"it": one}, other, 4000)["it"]

    def test_a_normal_pair_has_the_correlation_that_theory_gives(
        self, rng: np.random.Generator
    ) -> None:
        x, y = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 4000).T
        found = Ranked({"x": x, "y": y}, 200).correlation("x", "y")
        assert found.low < 6 / np.pi * np.arcsin(0.3) < found.high

    def test_what_a_third_column_explains_is_taken_away(self, rng: np.random.Generator) -> None:
        cause = rng.normal(size=3000)
        a, b = cause + rng.normal(size=3000), cause + rng.normal(size=3000)
        c = a + rng.normal(size=3000)
        found = Ranked({"cause": cause, "a": a, "b": b, "c": c, "again": cause**3}, 200)
        assert found.correlation("a", "b").low > 0.4
        assert abs(found.correlation("a", "b", ["cause"]).value) < 0.05
        assert found.correlation("a", "c", ["cause"]).low > 0.5
        # As it is by regression; a control twice is a control once.
        table = np.stack([ranks(each) for each in (a, c, cause)])
        x = np.column_stack([np.ones(3000), table[2]])
        rest = [v - x @ np.linalg.lstsq(x, v, rcond=None)[0] for v in table[:2]]
        ref = np.corrcoef(rest)[0, 1]
        for given in (["cause"], ["cause", "again"]):
            assert found.correlation("a", "c", given).value == pytest.approx(ref)

    def test_shuffled_columns_give_zero_within_the_interval_nine_times_in_ten(
        self, rng: np.random.Generator
    ) -> None:
        held = 0
        for seed in range(40):
            one, other = related(rng, 200)
            ranked = Ranked({"a": one, "b": rng.permutation(other)}, 200, seed)
            held += ranked.correlation("a", "b").holds_zero
        assert held >= 34  # 38 of 40 are expected

    def test_what_has_no_order_has_no_correlation(self) -> None:
        ranked = Ranked(
            {"a": np.ones(5), "b": np.arange(5), "c": np.arange(5) > 9}, 10, found=["c"]
        )
        assert np.isnan(ranked.correlation("a", "b").value)
        assert ranked.correlation("a", "b").as_json() == [None, None, None]
        assert np.isnan(ranked.area("b", "c").value)
        for columns in ({"a": np.ones(2)}, {"a": np.ones(5), "b": np.ones(4)}, {}):
            with pytest.raises(ValueError, match="same three images"):
                Ranked(columns)
        with pytest.raises(ValueError, match="a holds NaN"):
            Ranked({"a": np.array([1, 2, np.nan])})


class TestTrust:
    def test_risks_by_hand(self) -> None:
        right = np.array([True, False, True, False])
        np.testing.assert_allclose(risks(np.array([0, 3, 1, 2]), right), [0, 0, 1 / 3, 1 / 2])
        # Of one doubt, all have the mean error, whatever their order.
        np.testing.assert_allclose(risks(np.ones(4), right), [0.5] * 4)
        np.testing.assert_allclose(risks(~right, right), [0, 0, 1 / 3, 1 / 2])

    def test_calibration_by_hand(self) -> None:
        confidence, right = np.array([0.95, 0.95, 0.62, 1.0]), np.array([True, False, True, True])
        found = reliability(confidence, right, 10)
        assert [each.count for each in found] == [1, 3]
        assert found[1].accuracy == pytest.approx(2 / 3)
        ref = (1 * 0.38 + 3 * abs(2.9 / 3 - 2 / 3)) / 4
        assert calibration_error(confidence, right, 10) == pytest.approx(ref)

    def test_a_blend_finds_what_neither_finds_alone(self, rng: np.random.Generator) -> None:
        a, b = rng.normal(size=(2, 4000))
        wrong = a + b + rng.normal(size=4000) > 1.5
        both = blend(np.column_stack([a, b]), wrong)
        ranked = Ranked({"a": a, "both": both, "wrong": wrong}, 200, found=["wrong"])
        assert ranked.gain("both", "a", "wrong").low > 0.05
        noise = blend(rng.normal(size=(4000, 2)), wrong)
        area = Ranked({"noise": noise, "wrong": wrong}, 200, found=["wrong"]).area("noise", "wrong")
        assert area.low < 0.5 < area.high + 0.02  # halves that do not see each other


class TestBusy:
    def test_edges(self) -> None:
        image = np.zeros((8, 8, 3), np.uint8)
        assert edge_density(image) == 0
        image[:, 4:] = 255
        assert edge_density(image) == pytest.approx(2 / 6)  # the pixels beside the step
        assert edge_density(image[:2]) == 0

    def test_colours(self) -> None:
        grey = np.arange(75, dtype=np.uint8).reshape(5, 5, 3)
        grey[:] = grey[..., :1]
        assert colourfulness(grey) == 0
        red = np.zeros((4, 4, 3), np.uint8)
        red[..., 0] = 255
        assert colourfulness(red) == pytest.approx(0.3 * np.hypot(255, 127.5))


COUNTS = np.array([[9, 1, 0], [0, 5, 5], [0, 0, 7], [8, 0, 0], [0, 9, 1]])
LABELS = np.array([0, 1, 2, 0, 1])


def saved(array: Any, path: Path) -> Path:
    np.save(path, array)
    return path


class TestPeople:
    @pytest.mark.parametrize("first", [0, 1])
    def test_answers_are_joined_by_number_wherever_that_begins(
        self, tmp_path: Path, first: int
    ) -> None:
        answers = read_answers(saved(COUNTS, tmp_path / "counts.npy"))
        order = np.array([3, 1, 4, 0])
        names = np.array([f"test_{first + i:05d}" for i in order])
        people = join(answers, names, LABELS[order], 3)
        np.testing.assert_allclose(people.shares, (COUNTS / COUNTS.sum(1, keepdims=True))[order])
        assert people.agreement == 1
        ref = [0, 1, -(0.9 * np.log2(0.9) + 0.1 * np.log2(0.1))]
        np.testing.assert_allclose(people.entropy[:3], ref)
        np.testing.assert_allclose(people.disagreement, [0, 0.5, 0.1, 0.1])

    @pytest.mark.parametrize(
        ("old", "new"), [(b"}", b" "), (b"'<f8'", b"'<f8("), (b"(5, 3), }", b"(-5,-3),}")]
    )
    def test_a_damaged_header_is_told(self, tmp_path: Path, old: bytes, new: bytes) -> None:
        """NumPy's reader of it ends in errors of Python's own parser."""
        whole = npy(COUNTS.astype("<f8"))
        assert old in whole
        damaged = whole.replace(old, new, 1)
        with pytest.raises(DataError, match=r"it is no \.npy file of numbers"):
            answers_of(damaged, "it")
        with zipfile.ZipFile(tmp_path / "kept.npz", "w") as kept:
            kept.writestr("about.npy", damaged)
        assert passes._read(tmp_path / "kept.npz", {}) is None

    def test_nobody_answered_is_no_answer(self) -> None:
        answers = answers_of(npy(np.vstack([COUNTS, [0, 0, 0]])), "it")
        names = np.array([f"{i}.png" for i in range(6)])
        people = join(answers, names, np.append(LABELS, 0), 3)
        assert people.answered.tolist() == [True] * 5 + [False]

    def test_another_order_is_refused_with_its_agreement(self) -> None:
        answers = answers_of(npy(COUNTS[[2, 3, 4, 0, 1]]), "it.npy")
        names = np.array([f"test_{i}" for i in range(5)])
        with pytest.raises(DataError, match=r"it\.npy agrees with the labels on 40\.0% of the im"):
            join(answers, names, LABELS, 3)

    def test_what_does_not_fit_is_refused(self) -> None:
        answers, names = answers_of(npy(COUNTS), "it"), np.array([f"t_{i}" for i in range(5)])
        with pytest.raises(DataError, match="answers of 3 classes, the images have 10"):
            join(answers, names, LABELS, 10)
        with pytest.raises(DataError, match=r"on 5 images, but the whole split has 6: is it of an"):
            join(answers, names, LABELS, 3, 6)
        assert join(answers, names[:4], LABELS[:4], 3, 5).agreement == 1  # the first images of it
        with pytest.raises(DataError, match=r"on 5 images, not on all of images 0 to 9: is it"):
            join(answers, np.array(["t_0", "t_9"]), LABELS[:2], 3)
        for few in (COUNTS[:2], np.vstack([COUNTS[:2], np.zeros((3, 3))])):
            with pytest.raises(DataError, match=r"has answers on 2 of these .* take 3 at least"):
                join(answers_of(npy(few), "it"), names[: len(few)], LABELS[: len(few)], 3)
        with pytest.raises(DataError, match=r"image cat\.png has no number"):
            join(answers, np.array(["cat.png"]), LABELS[:1], 3)

    @pytest.mark.parametrize(
        ("array", "said"),
        [
            (np.array([["a", "b"]]), "no .npy file of numbers"),
            (np.array([1, 2]), r"has shape \(2,\)"),
            (np.array([[1, -2]]), "holds no counts"),
            (np.array([[1, np.inf]]), "holds no counts"),
            (np.array([[0, 0]]), "has no answer on any of 1 images"),
            (np.full((2, 3), np.nan), "has no answer on any of 2 images"),
            (np.array([[1, None]], object), "no .npy file of numbers"),
        ],
    )
    def test_what_is_no_file_of_counts_is_refused(
        self, tmp_path: Path, array: np.ndarray, said: str
    ) -> None:
        with pytest.raises(DataError, match=said):
            read_answers(saved(array, tmp_path / "it.npy"))

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "it.npy")
        with pytest.raises(DataError, match="is no ordinary file"):
            read_answers(tmp_path / "it.npy")

    def test_bytes_of_anything_are_refused(self) -> None:
        for data in (b"", b"PK\x03\x04", npy(COUNTS)[:-3], b"\x93NUMPY\x01\x00v\x00{'descr'"):
            with pytest.raises(DataError, match=r"no \.npy file of numbers"):
                answers_of(data, "it")

    def test_tfds_has_them_in_the_order_of_a_hash(self, tmp_path: Path) -> None:
        write_cifar10_h(tmp_path, [3, 0, 4, 2, 1])
        answers = read_answers("cifar10_h", tmp_path)
        names = np.array([f"test_{i + 1:05d}" for i in range(5)])
        people = join(answers, names, np.arange(5), 10)
        assert people.shares[:4].argmax(1).tolist() == [0, 1, 2, 3]
        assert people.answered.tolist() == [True, True, True, True, False]
        with pytest.raises(DataError, match="download it with"):
            read_answers("cifar10_h", tmp_path / "none")


def npy(array: np.ndarray) -> bytes:
    import io

    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def write_cifar10_h(root: Path, order: list[int]) -> None:
    """The set as TFDS prepares it, of five images: people say what each's number is."""
    import tensorflow_datasets as tfds
    from array_record.python import array_record_module

    builder = tfds.builder("cifar10_h", data_dir=root)
    folder = Path(builder.data_dir)
    folder.mkdir(parents=True)
    spec = builder.info.features
    serializer = tfds.core.example_serializer.ExampleSerializer(spec.get_serialized_info())
    name = folder / "cifar10_h-test.array_record-00000-of-00001"
    writer = array_record_module.ArrayRecordWriter(str(name), "group_size:1")
    for number in order:
        shares = np.eye(10, dtype=np.float32)[number]
        if number == 4:
            shares[:] = np.nan
        row = {
            "id": f"test_{number:05d}", "image": np.zeros((32, 32, 3), np.uint8), "label": number,
            "soft_label": shares, "human_labels": [number], "trial_indices": [1],
            "annotator_ids": [1], "reaction_times": [1.0],
        }  # fmt: skip
        encoded = spec.encode_example(row | {"image": png(row["image"])})
        writer.write(serializer.serialize_example(encoded))
    writer.close()
    split = tfds.core.SplitInfo(
        name="test", shard_lengths=[len(order)], num_bytes=1,
        filename_template=tfds.core.ShardedFileTemplate(
            data_dir=folder, dataset_name="cifar10_h", split="test", filetype_suffix="array_record"
        ),
    )  # fmt: skip
    builder.info.set_splits(tfds.core.splits.SplitDict([split]))
    builder.info.set_file_format("array_record", override=True)
    builder.info.write_to_directory(folder)


def png(pixels: np.ndarray) -> Any:
    import io

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return io.BytesIO(out.getvalue())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A network for any tau, 24 images, and answers of people who are mostly right."""
    folder = tmp_path_factory.mktemp("doubt")
    data = write_data_set(folder / "data", 24)
    checkpoints.write(folder / "net.h5", any_tau_checkpoint())
    source = open_split(data, "test")
    counts, rng = np.zeros((24, 3), int), np.random.default_rng(0)
    for _, label, name in source.read(range(24)):
        counts[number_of(name), label] = 20
        counts[number_of(name)] += rng.integers(0, 6, 3)
    np.save(folder / "counts.npy", counts)
    return {"net": str(folder / "net.h5"), "data": data, "counts": str(folder / "counts.npy")}


def number_of(name: str) -> int:
    match = re.search(r"(\d+)\.png$", name)
    assert match is not None
    return int(match[1])


def flags(made: dict[str, str], *more: str) -> list[str]:
    return [
        *("--checkpoint", made["net"], "--dataset", made["data"], "--split", "test"),
        *("--labels", made["counts"], "--num-threads", "1", "--resamples", "50", *more),
    ]


class TestPass:
    def test_it_is_what_the_network_does(self, made: dict[str, str]) -> None:
        net = Net.from_checkpoint(checkpoints.read(made["net"]), "reference")
        source = open_split(made["data"], "test")
        one = run_pass(net, source)
        examples = source.read(range(24))
        assert one.names.tolist() == [name for *_, name in examples]
        for i in (0, 11, 23):
            image, label, _ = examples[i]
            result = net.run(image[None])
            shares = result.probabilities[0].astype(float)
            assert (one.labels[i], one.predictions[i]) == (label, result.logits.argmax())
            assert one.entropy[i] == pytest.approx(-(shares * np.log2(shares)).sum(), rel=1e-5)
            assert one.confidence[i] == pytest.approx(shares.max(), rel=1e-5)
            assert one.flops[i] == result.flops[0]
            ref = [block.ponder_cost.mean() for block in result.blocks]  # type: ignore[union-attr]
            np.testing.assert_allclose(one.ponder_cost[i], ref, rtol=1e-5)
            assert one.edges[i] == edge_density(net.see(image).pixels)

    def test_images_that_cannot_be_read_leave_the_others_their_places(
        self, made: dict[str, str], tmp_path: Path
    ) -> None:
        data = write_data_set(tmp_path / "data", 3)
        source = open_split(data, "test")
        names = [name for *_, name in source.read(range(24))]
        (bad,) = Path(data, "test").rglob(Path(names[2]).name)
        bad.write_bytes(b"no image")
        net = Net.from_checkpoint(checkpoints.read(made["net"]), "reference")
        one = run_pass(net, open_split(data, "test"))
        assert one.indices.tolist() == [0, 1, *range(3, 24)]
        assert one.names.tolist() == [*names[:2], *names[3:]]
        assert one.about["skipped"]["count"] == 1

    def test_pixels_can_be_changed_on_the_way(self, made: dict[str, str]) -> None:
        net = Net.from_checkpoint(checkpoints.read(made["net"]), "reference")
        source = open_split(made["data"], "test")
        whole, told = run_pass(net, source), []

        def change(pixels: np.ndarray, index: int) -> np.ndarray:
            told.append(index)
            return pixels if index else pixels[::-1]

        other = run_pass(net, source, change=change)
        assert told == list(range(24))
        same = (other.entropy == whole.entropy).tolist()
        assert same == [False] + 23 * [True]

    def test_a_pass_is_kept_and_a_damaged_one_made_anew(
        self, made: dict[str, str], tmp_path: Path
    ) -> None:
        net = Net.from_checkpoint(checkpoints.read(made["net"]), "reference")
        times = []

        def make() -> Pass:
            times.append(1)
            return run_pass(net, open_split(made["data"], "test"), 5)

        key = {"it": 1, **passes.about_pass(net, open_split(made["data"], "test"), 5)}
        one, again = (kept_pass(tmp_path, key, make, "net") for _ in range(2))
        assert len(times) == 1
        for name in ("names", "entropy", "ponder_cost"):
            np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
        assert one.about == again.about
        (file,) = tmp_path.iterdir()
        file.write_bytes(file.read_bytes()[:-40])
        assert len(kept_pass(tmp_path, key, make, "net")) == 5
        assert len(kept_pass(tmp_path, key | {"it": 2}, make, "net")) == 5
        assert len(times) == 3


class TestFindings:
    def pass_of(self, rng: np.random.Generator, cost: np.ndarray, right: np.ndarray) -> Pass:
        n = len(cost)
        labels = np.arange(n) % 3
        return Pass(
            np.array([f"t_{i}" for i in range(n)]), np.arange(n), labels,
            np.where(right, labels, (labels + 1) % 3), rng.uniform(0.4, 1, n),
            rng.uniform(0, 1, n), (cost * 1000).astype(np.int64),
            np.column_stack([cost / 2, cost / 2]), rng.uniform(size=n), rng.uniform(size=n),
            np.full(n, 10_000), {},
        )  # fmt: skip

    def people_of(self, rng: np.random.Generator, n: int) -> Joined:
        most = np.rint(rng.uniform(0.4, 1.0, n) * 20) / 20
        shares = np.column_stack([most, 1 - most, 0 * most])
        return Joined(shares, 1.0)

    def test_a_cost_that_is_peoples_doubt_is_found_and_one_that_is_not_is_not(
        self, rng: np.random.Generator
    ) -> None:
        people = self.people_of(rng, 600)
        for cost, least in ((1 + people.entropy, 0.99), (1 + rng.uniform(size=600), None)):
            right = rng.uniform(size=600) > (cost - 1) / 2
            found = find(self.pass_of(rng, cost, right), people, 100)
            correlations = found["correlations"]["ponder_cost"]["people_entropy"]
            for how, (value, low, high) in correlations.items():
                held = value > least if least else low < 0 < high
                assert held, (how, value, low, high)
            mean, low, high = found["null"]["ponder_cost"]["shuffled"]
            assert low < 0 < high
            assert abs(mean) < 0.01
            real = correlations["plain"][0]
            assert real > high if least else low < real < high
            assert (found["null"]["ponder_cost"]["p"] < 0.01) == bool(least)
            assert found["errors"]["auroc"]["ponder_cost"][1] > 0.5  # errors follow either cost
            assert found["errors"]["gain_of_cost"][1] > 0

    def test_risk_and_calibration_have_the_intervals_of_plain_resampling(
        self, rng: np.random.Generator
    ) -> None:
        cost = 1 + rng.uniform(size=300)
        one = self.pass_of(rng, cost, rng.uniform(size=300) > (cost - 1) / 2)
        found = find(one, self.people_of(rng, 300), 400)["errors"]
        ref: dict[str, list[float]] = {"risk": [], "all": [], "dearest": []}
        dear = ranks(cost) > 240
        for _ in range(400):
            drawn = rng.integers(0, 300, 300)
            sure, right = one.confidence[drawn], one.right[drawn]
            ref["risk"].append(risks(one.ponder_cost[drawn].sum(1), right)[239])
            ref["all"].append(calibration_error(sure, right))
            here = dear[drawn]
            ref["dearest"].append(calibration_error(sure[here], right[here]))
        comp = {
            "risk": found["risk_at_80"]["ponder_cost"],
            "all": found["calibration_error"],
            "dearest": found["by_cost"][-1]["calibration_error"],
        }
        for name, values in ref.items():
            assert comp[name][1:] == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.015)
        assert comp["risk"][0] == risks(one.ponder_cost.sum(1), one.right)[239]
        assert comp["all"][0] == calibration_error(one.confidence, one.right)

    def test_groups_are_tenths_where_equal_doubt_stays_together(
        self, rng: np.random.Generator
    ) -> None:
        people = self.people_of(rng, 600)
        one = self.pass_of(rng, 1 + people.entropy, np.ones(600, bool))
        groups = by_people(one, people, 50)
        assert sum(group["images"] for group in groups) == 600
        ends = [end for group in groups for end in group["people_entropy"][1:]]
        assert ends == sorted(ends)
        assert all(a < b for a, b in zip(ends[1::2], ends[2::2], strict=False))
        means = [group["ponder_cost"][0] for group in groups]
        assert means == sorted(means)
        assert all(g["ponder_cost"][1] <= g["ponder_cost"][0] for g in groups)

    def test_galleries_name_the_images_that_differ_most(self, rng: np.random.Generator) -> None:
        people = self.people_of(rng, 100)
        cost = 1 + people.entropy
        cost[7], cost[9] = 9, 0
        people.shares[7], people.shares[9] = [1, 0, 0], [0.5, 0.25, 0.25]
        found = galleries(self.pass_of(rng, cost, np.ones(100, bool)), people, 2)
        assert found["dear_to_network"][0]["name"] == "t_7"
        assert found["dear_to_people"][0]["index"] == 9


class TestCommand:
    def test_it_prints_and_keeps_and_draws(
        self, made: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.chdir(tmp_path)
        argv = flags(made, "--taus", "0.002", "0.05", "--keep", "kept")
        out = ["--out", "it.png", "it.svg", "it.md", "it.csv", "--per-image", "images.csv"]
        assert command.main([*argv, *out]) == 0
        said = capsys.readouterr()
        assert said.err == ""
        assert "tau 0.002: " in said.out
        assert "written: it.md" in said.out
        assert len(list(Path("kept").iterdir())) == 2
        lines = Path("it.md").read_text().splitlines()
        assert len(lines[0].split("|")) == len(lines[2].split("|"))
        assert "--taus 0.002 0.05" in Path("it.md").read_text()
        with Image.open("it.png") as drawn:
            assert drawn.width == 2700
        assert "people's entropy" in Path("it.svg").read_text()
        monkeypatch.setattr(passes, "run_pass", lambda *_, **__: pytest.fail("run anew"))
        assert command.main([*argv, "--out", "narrow.png", "--width", "4.5"]) == 0
        capsys.readouterr()
        assert command.main([*argv, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [one["tau"] for one in found["networks"]] == [0.002, 0.05]
        one = found["networks"][0]
        assert one["images"] == 24
        assert one["agreement"] == 1
        assert one["correlations"]["ponder_cost"].keys() >= {"people_entropy", "edges"}
        assert len(one["galleries"]["dear_to_network"]) == 12

    def test_every_image_is_a_row_with_peoples_answers(
        self, made: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        counts = np.load(made["counts"])
        counts[5] = 0
        labels = saved(counts, tmp_path / "counts.npy")
        out = [tmp_path / f"images{ending}" for ending in (".csv", ".parquet")]
        for path in out:
            more = ["--taus", "0.002", "0.05", "--labels", str(labels), "--per-image", str(path)]
            assert command.main(flags(made, *more)) == 0
            assert f"written: {path}" in capsys.readouterr().out
        lines = [s for s in out[0].read_text().splitlines() if not s.startswith("#")]
        rows = list(csv.DictReader(lines))
        assert [row["tau"] for row in rows] == 24 * ["0.002"] + 24 * ["0.05"]
        for row in rows:
            number = number_of(row["image"])
            chosen = counts[number] / max(1, counts[number].sum())
            if number == 5:
                assert (row["people_entropy"], row["people_disagreement"]) == ("", "")
                continue
            bits = -sum(p * np.log2(p) for p in chosen if p)
            assert float(row["people_entropy"]) == pytest.approx(bits, abs=1e-8)
            assert float(row["people_disagreement"]) == pytest.approx(1 - chosen.max())
            assert row["right"] == str(int(row["label"] == row["prediction"]))
            blocks = [float(row[f"block{i}/ponder_cost"]) for i in (1, 2, 3)]
            assert float(row["ponder_cost"]) == pytest.approx(sum(blocks))
        read = need_package("pyarrow.parquet").read_table(out[1])
        assert read.column_names == list(rows[0])
        assert read.column("flops").to_pylist() == [int(row["flops"]) for row in rows]

    def test_the_same_answers_are_asked_for_in_any_order(
        self, made: dict[str, str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        found = []
        for more in ([], ["--seed", "1"]):
            assert command.main(flags(made, "--json", *more)) == 0
            found.append(json.loads(capsys.readouterr().out)["networks"][0])
        one, other = found
        value = "correlations", "ponder_cost", "people_entropy", "plain"
        for key in value:
            one, other = one[key], other[key]
        assert one[0] == other[0]
        assert one[1:] != other[1:]

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            (["--labels", "absent.npy"], "there is no file absent.npy"),
            (["--out", "it.txt"], "--out it.txt must end in .svg"),
            (["--per-image", "it.txt"], "--per-image it.txt must end in .csv or .parquet"),
            (["--per-image", "it.csv", "--out", "it.csv"], "--out and --per-image both name it"),
            (["--per-image", "none/it.csv"], "cannot write none/it.csv: the folder none does"),
            (["--out", "none/it.md"], "cannot write none/it.md: the folder none does not exist"),
            (["--keep", "/proc/it"], "cannot write /proc/it"),
            (["--num-examples", "2"], "has answers on 2 of these 2 images; correlations take 3"),
            (
                ["--out", "it.png", "--taus", *map(str, np.linspace(0.01, 0.05, 11))],
                "at 10 taus each",
            ),
            (["--resamples", "3"], "--resamples must be from 10 to 100000"),
            (["--taus", "5"], "tau"),
            (["--width", "99"], "--width must be from 4.5 to 50"),
            (["--out", "it.png", "--width", "4.4"], "--width must be from 4.5 to 50"),
            (["--seed", "-1"], "--seed must be 0 at least"),
        ],
    )
    def test_bad_flags_are_one_sentence(
        self, made: dict[str, str], more: list[str], said: str,
        capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(passes, "run_pass", lambda *_, **__: pytest.fail("run before"))
        assert command.main(flags(made, *more)) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1

    def test_answers_in_another_number_are_refused(
        self, made: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        """Also where those on the images that are asked for agree."""
        monkeypatch.setattr(passes, "run_pass", lambda *_, **__: pytest.fail("run before"))
        counts, path = np.load(made["counts"]), tmp_path / "other.npy"
        for other in (np.vstack([counts, counts[:1]]), counts[:20]):
            np.save(path, other)
            more = ["--labels", str(path), "--num-examples", "10"]
            assert command.main(flags(made, *more)) == 2
            err = capsys.readouterr().err
            assert f"answers on {len(other)} images, but the whole split has 24: is it" in err
            assert err.count("\n") == 1

    def test_answers_in_another_order_are_refused(
        self, made: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(passes, "run_pass", lambda *_, **__: pytest.fail("run before"))
        counts = np.load(made["counts"])
        np.save(tmp_path / "other.npy", np.roll(counts, 7, axis=0))
        assert command.main(flags(made, "--labels", str(tmp_path / "other.npy"))) == 2
        err = capsys.readouterr().err
        assert "agrees with the labels on " in err
        assert err.count("\n") == 1


class TestDrawing:
    """Every network and every tau is drawn, those that never halt too."""

    @pytest.fixture
    def found(self, rng: np.random.Generator) -> list[dict[str, Any]]:
        made = TestFindings()
        people, entries = made.people_of(rng, 300), []
        for name, tau in (("A any tau", 0.2), ("A any tau", 0.01), ("S", 0.05), ("V", None)):
            one = made.pass_of(rng, 1 + rng.uniform(size=300), rng.uniform(size=300) > 0.2)
            if tau is None:
                one = replace(one, ponder_cost=np.zeros((300, 0)))
            about = {"network": name, "file": f"{name}.h5", "tau": tau}
            entries.append(about | find(one, people, 20))
        return entries

    def test_networks_are_grouped_taus_rise_and_those_that_never_halt_come_last(
        self, found: list[dict[str, Any]]
    ) -> None:
        parts = series.groups([found[3], *found[:3]])
        assert [part.name for part in parts] == ["A for any tau", "S", series.NEVER]
        assert parts[0].labels == ["τ = 0.01", "τ = 0.2"]
        assert parts[2].labels == ["V"]
        assert len(set(parts[0].colours)) == 2
        twice = series.groups([found[2], found[2] | {"file": "other.h5"}])[0]
        assert twice.labels == ["τ = 0.05 (S.h5)", "τ = 0.05 (other.h5)"]

    def test_risk_and_calibration_are_drawn_for_all_and_over_tau(
        self, found: list[dict[str, Any]]
    ) -> None:
        need_package("matplotlib")
        from sact_core.doubt.drawing import FONT_SIZE, draw
        from sact_core.figure.saving import style

        with style(FONT_SIZE):
            figure = draw(found, 9.0)
            alone = draw(found[2:3], 9.0)
        assert len(alone.axes) == 3
        panels = np.array(figure.axes).reshape(4, 3)
        wrong = [100 * (1 - one["accuracy"]) for one in found]
        drawn = {}
        for row, name, mine in zip(panels[1:], "ASV", ([1, 0], [2], [3]), strict=True):
            lines = [line for line in row[1].lines if len(line.get_ydata())]
            ends = [float(line.get_ydata()[-1]) for line in lines]
            drawn[name] = len(lines)
            assert ends == pytest.approx([wrong[i] for i in mine for _ in range(len(lines) //
                                          len(mine))])  # fmt: skip
            curves = [line for line in row[2].lines if len(line.get_ydata()) > 2]
            assert len(curves) == {"A": 2, "S": 2, "V": 1}[name]
            assert len(row[0].collections) == len(mine)  # bands
        assert drawn == {"A": 4, "S": 3, "V": 1}
        for axes, place in zip(panels[0], series.OVER_TAU, strict=True):
            lines = [line for line in axes.lines if len(line.get_xdata()) == 2]
            assert list(lines[0].get_xdata()) == [0.01, 0.2]
            first = next(iter(place[1].values()))
            ref = [series.value(found[i], first) for i in (1, 0)]
            assert list(lines[0].get_ydata()) == [each[0] for each in ref if each]

    def test_more_than_there_is_room_for_is_refused(self) -> None:
        from sact_core.doubt.drawing import check_room

        check_room([(f"{i // 10}", True) for i in range(60)])
        for many in ([("A", True)] * 11, [(str(i), True) for i in range(7)]):
            with pytest.raises(ValueError, match="room for 6 networks at 10 taus each"):
                check_room(many)
        check_room([(str(i), False) for i in range(10)])
