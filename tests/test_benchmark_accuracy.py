"""Accuracy against milliseconds: what is right, what is kept, what is the cheapest."""

from __future__ import annotations

import json
from typing import ClassVar

import numpy as np
import pytest

from app import figures
from sact_core.backends import Net
from sact_core.benchmark import accuracy, break_even, cheapest, known, machine, report
from sact_core.benchmark.__main__ import main
from sact_core.benchmark.accuracy import Network
from sact_core.benchmark.cheapest import Point, front, points_of_map, sentence
from sact_core.benchmark.process import Process, SideError
from sact_core.benchmark.sides import SIDES, calibration
from sact_core.calibrate.images import draw
from sact_core.checkpoint import Checkpoint, read_header, write
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests.conftest import ROOT
from tests.in_memory import in_memory
from tests.networks import any_tau_checkpoint, random_net
from tests.test_benchmark_map import formats
from tests.test_benchmark_targets import SOFTWARE

# --- what is the cheapest ---


def point(network, side, percent, ms, halts=False):
    return Point(network, side, percent / 100, ms, 1.0, halts)


POINTS = [
    point("A", "masked", 92.0, 4.0),
    point("A", "openvino-int8", 91.6, 1.5),
    point("B", "masked-int8", 91.7, 1.0, halts=True),
    point("B", "masked-int8", 91.0, 0.5, halts=True),
    point("A", "onnxruntime-int8", 91.5, 1.25),
]


def test_one_sentence_by_hand():
    assert sentence(POINTS) == (
        "Within 0.5 points of the best accuracy (92.0%) the cheapest is B in int8 by the masked "
        "engine (91.7%, 1 ms an image); the cheapest rival is A in int8 by ONNX Runtime (91.5%, "
        "1.25 ms an image)."
    )
    assert "B in int8 by the masked engine (91.0%, 0.5 ms" in sentence(POINTS, within=1.0)
    lost = [*POINTS[:2], *POINTS[4:]]
    assert sentence(lost).endswith(
        "the cheapest of ours is A in float32 by the masked engine (92.0%, 4 ms an image), which "
        "loses."
    )
    assert sentence(POINTS[:1]).endswith("; no rival comes so near.")
    assert sentence([*POINTS[:1], point("C", "openvino", 95.0, 9.0)]).endswith(
        "; none of ours comes so near."
    )


def test_what_nothing_beats():
    assert front(POINTS) == [POINTS[3], POINTS[2], POINTS[0]]


def entry(side, tau=None, right=0.9, mflops=0.5, network="ResNet-8 SACT", halts=True, **changes):
    return {
        "content_hash": "own" if halts else "twin", "scales": "", "tau": tau, "side": side,
        "data": "d test", "count": 100, "versions": {}, "network": network, "twin": "ResNet-8",
        "halts": halts, "accuracy": right, "mflops": mflops, "dense_mflops": 1.0, **changes,
    }  # fmt: skip


def test_accuracies_meet_the_times_of_a_map():
    entries = [
        entry("masked", 0.1, mflops=0.75),
        entry("masked-int8", 0.1, mflops=0.5),
        entry("masked", 9.0, mflops=0.2),  # sparser than what was measured
        entry("masked", 0.1, right=0.1, count=5),  # of a part of the split
        entry("openvino-bf16", network="ResNet-8", halts=False, mflops=1.0, right=0.95),
        entry("onnxruntime", network="ResNet-8", halts=False, mflops=1.0),  # not measured
        entry("vanilla", network="ResNet-14", twin="ResNet-14", halts=False, mflops=1.0),
        entry("vanilla", network="ResNet-8", halts=False, mflops=1.0, count=5),
    ]
    found = {each.side: each for each in points_of_map(formats(), entries, "own", 1)}
    assert sorted(found) == ["masked", "masked-int8", "openvino-bf16"]
    # Halfway between 3 ms at 100 % and 1.5 ms at 50 %; and at 50 % itself.
    assert (found["masked"].ms, found["masked"].density) == (2.25, 0.75)
    assert found["masked-int8"].ms == 0.5
    assert (found["openvino-bf16"].ms, found["openvino-bf16"].accuracy) == (1.6, 0.95)
    assert found["masked"].network == "ResNet-8 SACT, tau 0.1"
    assert points_of_map(formats(), entries, "another", 1) == []
    assert points_of_map(formats(), entries, "own", 64) == []


def test_figure_of_the_app_tells_formats_and_rivals_apart():
    drawn = {each.name: each for each in figures.accuracy_against_ms(POINTS).data}
    assert drawn["masked, int8, halting"].marker.symbol == "circle"
    assert list(drawn["masked, int8, halting"].x) == [0.5, 1.0]
    assert drawn["masked"].marker.symbol == "square"
    assert drawn["ONNX Runtime, int8"].marker.symbol == "square-open"
    assert drawn["masked"].marker.color != drawn["ONNX Runtime, int8"].marker.color


# --- what is known ---


def test_accuracies_are_kept_by_network_side_and_software(tmp_path):
    path = tmp_path / "new" / known.FILE
    assert known.load(path) == []
    old, other = entry("openvino", versions={"openvino": "1"}), entry("masked")
    known.store(path, old)
    known.store(path, other)
    assert known.load(path) == [old, other]
    assert known.find(known.load(path), other) == other
    newer = {**old, "versions": {"openvino": "2"}, "accuracy": 0.5}
    assert known.find(known.load(path), newer) is None
    known.store(path, newer)  # in the place of the old one
    assert known.load(path) == [other, newer]
    assert known.find(known.load(path), {**other, "content_hash": "another"}) is None
    assert set(known.software_of("openvino-int8")) == {"onnx", "openvino", "nncf"}
    assert set(known.software_of("masked-int8")) == {"sact_core"}


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"side": "masked"}]', '[{"side": "none"}]'])
def test_a_damaged_file_is_said(tmp_path, capsys, text):
    (tmp_path / known.FILE).write_text(text)
    net = tmp_path / "net.h5"
    write(net, vanilla())
    assert main(["accuracy", str(net), "--out", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "holds no accuracies (" in err
    assert err.count("\n") == 1


def test_shipped_accuracies_are_of_shipped_networks_and_whole_splits():
    entries = known.load(ROOT / "pretrained" / known.FILE)
    hashes = {path.name: read_header(path) for path in (ROOT / "pretrained").glob("*.h5")}
    assert {"cifar10_resnet32.h5", "cifar10_resnet32_sact_anytau.h5"} <= {
        e["file"] for e in entries
    }
    for each in entries:
        header = hashes[each["file"]]
        assert each["content_hash"] == header.content_hash
        if each["side"] == "masked-int8":
            assert each["scales"] == header.scales_hash
        assert (each["data"], each["count"]) == ("cifar10 test", 10_000)
        assert 0.85 < each["accuracy"] < 0.95
    whole = {each["accuracy"] for each in entries if each["file"] == "cifar10_resnet32.h5"}
    assert max(whole) - min(whole) < 0.005  # of all number formats, rivals' too


# --- what is measured ---


def test_a_side_takes_another_batch(rng, monkeypatch):
    monkeypatch.setenv("SACT_FORCE_PRECISION", "1")
    slow = ("compiled", "frozen", "frozen-bf16")  # share the code of the eager one
    for name in (name for name in SIDES if name not in slow):
        halting = {"early-exit": "act", "gather": "sact", "sact": "sact"}.get(name, "none")
        net = random_net(rng, units_per_block=(2, 1, 1), base_channels=4, halting=halting)
        first, second = rng.standard_normal((2, 2, 8, 8, 3)).astype(np.float32)
        built = SIDES[name].build(net.plan, net.engine.params, first, 1, None)
        before = built.run()
        built.feed(second, None)
        assert np.abs(built.run() - before).max() > 1e-3
        built.feed(first, None)
        np.testing.assert_array_equal(built.run(), before)


def test_scales_are_found_on_the_images_that_are_given(rng, monkeypatch):
    monkeypatch.setattr(calibration, "_given", [])
    x = rng.standard_normal((40, 4, 4, 3)).astype(np.float32)
    found = calibration.calibration_images(x)
    assert [len(each) for each in found] == [32, 32]  # and mirrored
    np.testing.assert_array_equal(found[1], x[:32, :, ::-1])
    calibration.use(x + 1)
    found = calibration.calibration_images(x)
    np.testing.assert_array_equal(np.concatenate(found), x + 1)


def test_images_are_drawn_as_for_a_checkpoint():
    assert draw(3) == [0, 1, 2]
    first = draw(1000, 5, seed=1)
    assert len({*first}) == 5
    assert first == sorted(first) == draw(1000, 5, seed=1) != draw(1000, 5, seed=2)


FIT = Preprocessing("cifar", 8, 1.0)


def vanilla(**changes):
    config = NetworkConfig(units_per_block=(1, 1, 1), base_channels=4, **changes)
    return Checkpoint(config, init_params(build_plan(config)), FIT)


def pictures(n=5):
    return in_memory(np.random.default_rng(0).integers(0, 255, (n, 8, 8, 3), np.uint8))


def network(path, checkpoint, taus=(None,), training=None):
    write(path, checkpoint)
    return Network(path, read_header(path), taus, pictures(), training)


def test_what_is_right_is_counted_by_a_sides_own_answers(tmp_path):
    """The last batch is filled up; what fills it does not count."""
    each = network(tmp_path / "net.h5", any_tau_checkpoint(), (0.01, 0.05))
    case = accuracy._case(each, tmp_path / "images", 2)
    net = Net.from_checkpoint(any_tau_checkpoint(), "reference")
    process = Process("masked", case, 1)
    try:
        process.wait()
        for tau in each.taus:
            process.set_tau(tau)
            given = list(accuracy.batches(each.test, range(5), 2, FIT_OF(each), 4))
            assert [x.shape for x, _ in given] == [(2, *given[0][0].shape[1:])] * 3
            assert [len(labels) for _, labels in given] == [2, 2, 1]
            right, total, flops = accuracy.count_right(process, iter(given))
            x = np.concatenate([x[: len(labels)] for x, labels in given])
            ref = net.engine.forward(x, taus=np.full(5, tau))
            labels = np.concatenate([labels for _, labels in given])
            assert (right, total) == ((ref.logits.argmax(axis=1) == labels).sum(), 5)
            assert flops == pytest.approx(ref.flops.mean())
    finally:
        process.end()


def FIT_OF(each):
    return each.header.preprocessing


class Answering:
    """A process that answers class 0; of one name it fails."""

    orders: ClassVar[list] = []

    def __init__(self, name, case, threads):
        self.name, self.case = name, case

    def wait(self):
        if self.name == "onnxruntime":
            raise SideError("it ended early", "it runs with 9 threads")
        self.facts = {"number_format": SIDES[self.name].number_format, "threads": 1}

    def set_tau(self, tau):
        self.orders.append((self.name, "tau", tau))

    def answers(self, x):
        self.orders.append((self.name, "answers"))
        flops = [2e6] * len(x) if self.name.startswith("masked") else None
        return np.eye(1, 10).repeat(len(x), axis=0), flops

    def measure(self, seconds):
        self.orders.append((self.name, "measure"))
        return {"seconds": [0.004], "memory": [1, 1, 1], "joules": None}

    def end(self):
        pass


@pytest.fixture
def answering(monkeypatch, tmp_path):
    monkeypatch.setattr(accuracy, "Process", Answering)
    monkeypatch.setattr(Answering, "orders", [])
    monkeypatch.setenv("SACT_PRETRAINED_DIR", str(tmp_path / "none"))
    return Answering.orders


def measured(tmp_path, networks, sides, **changes):
    said = []
    values = {"rounds": 2, "seconds": 0.1, "batch": 2, "say": said.append, **changes}
    return accuracy.measure_accuracy(networks, sides, tmp_path / known.FILE, **values), said


def test_rivals_run_what_does_not_halt_and_accuracies_are_computed_once(tmp_path, answering):
    nets = [
        network(tmp_path / "plain.h5", vanilla(), training=pictures(3)),
        network(tmp_path / "any.h5", any_tau_checkpoint(), (0.01, 0.05)),
    ]
    sides = ["masked", "openvino", "onnxruntime", "openvino-int8"]
    rows, said = measured(tmp_path, nets, sides)
    found = [(row["file"], row["side"], row["tau"]) for row in rows]
    assert found == [
        *(("plain.h5", side, None) for side in ("masked", "openvino", "openvino-int8")),
        *(("any.h5", "masked", tau) for tau in (0.01, 0.05)),
    ]
    assert said[2] == "plain.h5: ONNX Runtime is left out: it runs with 9 threads"
    assert [row["ms"] for row in rows] == [2.0] * 5  # 4 ms for two images
    zeros = np.mean([label == 0 for _, label, _ in pictures().read(range(5))])
    assert [row["accuracy"] for row in rows] == [zeros] * 5
    assert rows[0]["mflops"] == 2.0
    assert rows[1]["mflops"] == rows[1]["dense_mflops"]
    turns = [order[:2] for order in answering if order[1] == "measure"]
    assert [name for name, _ in turns] == [
        *("masked", "openvino", "openvino-int8"),
        *["masked"] * 2,
    ] * 2
    before = sum(order[1] == "answers" for order in answering)
    again, _ = measured(tmp_path, nets, sides)
    assert sum(order[1] == "answers" for order in answering) == before
    assert [row["accuracy"] for row in again] == [row["accuracy"] for row in rows]
    measured(tmp_path, nets[:1], ["masked"], anew=True)
    assert sum(order[1] == "answers" for order in answering) == before + 3
    del answering[:]
    only, _ = measured(tmp_path, nets, sides, rounds=0)
    assert len(only) == 5
    assert answering == []  # no process is needed for what is known


def test_int8_without_training_images_says_what_helps(tmp_path, answering):
    nets = [network(tmp_path / "plain.h5", vanilla())]
    rows, said = measured(tmp_path, nets, ["masked", "masked-int8", "openvino-int8"])
    assert [row["side"] for row in rows] == ["masked"]
    for title in ("masked, int8", "OpenVINO, int8 by NNCF"):
        assert any(
            each.startswith(f"plain.h5: {title} is left out: there are no training images here")
            and "python -m sact_core.calibrate" in each
            for each in said
        )


def test_tables_and_chart(tmp_path):
    rows = [
        {**entry(side, tau, right, mflops, halts=tau is not None), "file": "x.h5", "ms": ms,
         "threads": 1, "batch": 2, "number_format": SIDES[side].number_format,
         "software": SOFTWARE}
        for side, tau, right, mflops, ms in (
            ("masked-int8", 0.1, 0.92, 0.5, 0.25), ("openvino-int8", None, 0.9, 1.0, 0.5),
            ("onnxruntime", None, 0.925, 1.0, 2.0),
        )
    ]  # fmt: skip
    where = {"hardware": "Some chip", "system": "Linux"}
    path = tmp_path / "accuracy-some-chip.json"
    report.write_results(path, {"machine": where, "rows": rows})
    text = path.with_suffix(".md").read_text()
    assert "## 100 images of d test, batch 2, 1 thread" in text
    assert "**Within 0.5 points of the best accuracy (92.5%) the cheapest is ResNet-8" in text
    assert "| ResNet-8 SACT, tau 0.1 | masked, int8 | int8 | 92.00% | 0.5 | **0.250** |" in text
    assert "| OpenVINO, int8 by NNCF | int8 | 90.00% | 1.0 | 0.500 |" in text  # beaten
    page = path.with_suffix(".html").read_text()
    assert "Accuracy against milliseconds" in page
    new = {**rows[0], "ms": 0.125}
    assert accuracy.merge(rows, [new]) == [new, *rows[1:]]


def test_the_command_from_end_to_end(tmp_path, capsys, rng):
    folder = tmp_path / "photos"
    from PIL import Image

    for split, n in (("train", 2), ("test", 3)):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 255, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")
    net, out = tmp_path / "net.h5", tmp_path / "out"
    made = vanilla(num_classes=2)
    provenance = {"recipe": {"dataset": str(folder), "train_split": "train"}}
    write(net, Checkpoint(made.config, made.params, FIT, ("cat", "dog"), provenance))
    argv = ["accuracy", str(net), "--dataset", str(folder), "--batch", "4", "--out", str(out)]
    argv += ["--sides", "masked", "onnxruntime", "onnxruntime-int8", "--rounds", "1"]
    assert main([*argv, "--seconds", "0.001"]) == 0
    said = capsys.readouterr().out
    assert "Within 0.5 points of the best accuracy" in said
    (path,) = out.glob("accuracy-*.json")
    rows = machine.read_results(path)["rows"]
    assert [row["side"] for row in rows] == ["masked", "onnxruntime", "onnxruntime-int8"]
    assert {row["count"] for row in rows} == {6}
    assert rows[0]["accuracy"] == rows[1]["accuracy"]
    assert rows[2]["scales"].endswith(" train, seed 0")
    entries = json.loads((out / known.FILE).read_text())
    assert [each["side"] for each in entries] == [row["side"] for row in rows]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["absent.h5"], "absent.h5"),
        (["{net}", "--batch", "0"], "--batch must be at least 1"),
        (["{net}", "--batch", "9999"], "--batch must be at most 4096, got 9999"),
        (["{net}", "--rounds", "-1"], "--rounds must be at least 0, got -1"),
        (["{net}", "--sides", "fastest"], "--sides names fastest"),
        (["{net}", "--dataset", "/nowhere"], "/nowhere"),
    ],
)
def test_mistakes_end_in_one_sentence(tmp_path, capsys, argv, message):
    net = tmp_path / "net.h5"
    write(net, vanilla())
    argv = [each.format(net=net) for each in argv]
    assert main(["accuracy", *argv, "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_map_says_what_is_the_cheapest_where_accuracies_are_known(tmp_path, capsys, monkeypatch):
    net = tmp_path / "net.h5"
    write(net, vanilla(halting="sact"))
    digest = read_header(net).content_hash
    known.store(tmp_path / "out" / known.FILE, entry("masked", 0.1, content_hash=digest))
    monkeypatch.setattr(
        break_even, "measure_map", lambda *_: [{**row, "side": 8} for row in formats()]
    )
    argv = ["infer", "--map", str(net), "--sides", "masked", "vanilla", "--threads", "1"]
    assert main([*argv, "--out", str(tmp_path / "out")]) == 0
    said = "Within 0.5 points of the best accuracy (90.0%) the cheapest is ResNet-8 SACT, tau 0.1"
    assert f"1 threads, batch 1: {said}" in capsys.readouterr().out
    (path,) = (tmp_path / "out").glob("map-*.md")
    assert f"Batch 1: {said}" in path.read_text()
    assert cheapest.title("A", None) == "A"
