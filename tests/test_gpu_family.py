"""The family on one device: data in parts, batches cut there, runs that survive being cut off."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
import shutil
import sys
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sact_core.checkpoint import read, write
from sact_core.config import NetworkConfig
from sact_core.data.splits import load_split
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.train import read_metrics
from sact_core.train.batches import Augmenter
from sact_core.train.learner import Learner
from sact_core.train.loop import Interrupted
from sact_core.train.recipes import TrainingConfig
from tests.conftest import ROOT
from tests.training import TINY, batch, draw_images

sys.path.insert(0, str(ROOT / "pretrained"))
sys.path.insert(0, str(ROOT / "benchmarks"))
import gpu_data
import gpu_family
import gpu_runs
import gpu_steps
import summarise
from gpu_bundles import GOING_ON, Bundles
from train_family import FAMILY, Run, Shop

ANY_TAU = NetworkConfig(halting="sact", tau_conditioned=True, tau_low=0.01, tau_high=0.1)


@pytest.mark.parametrize(
    ("kind", "network", "more"),
    [
        ("cifar", ANY_TAU, {"crop_border": "reflect", "crop_padding": 4}),
        ("cifar", NetworkConfig(), {"cutout": 3, "flip": False}),
        ("cifar", NetworkConfig(), {"first_size": 4, "cutout": 2}),
        ("imagenet", NetworkConfig(), {"crop_padding": 1}),
    ],
)
def test_batches_are_those_of_the_processor(kind, network, more):
    images, labels = draw_images(32)
    images[:2] = 7  # no contrast at all: the deviation's floor
    config = TrainingConfig(network, batch_size=8, epochs=2, seed=3, **more)
    augmenter = Augmenter(images, labels, config, kind)
    made = gpu_steps.DeviceAugmenter(augmenter, torch.device("cpu"))
    for epoch in (0, 1):
        order, count = augmenter.order(epoch), 0
        for step, (x, y, taus) in enumerate(made.epoch(epoch, range(1, 4)), 1):
            ref = augmenter.batch(epoch, step, order, 0, 1)
            assert x.dtype == torch.float32
            assert x.is_contiguous(memory_format=torch.channels_last)
            comp = x.permute(0, 2, 3, 1).numpy()
            np.testing.assert_allclose(comp, ref.images, rtol=0, atol=1e-6)
            np.testing.assert_array_equal(y.numpy(), ref.labels)
            assert (taus is None) == (ref.taus is None)
            if taus is not None:
                np.testing.assert_array_equal(taus.numpy(), ref.taus)
            count += 1
        assert count == 3
    assert list(made.epoch(0, range(4, 4))) == []


def test_larger_batches_go_with_a_higher_rate():
    tuned = next(run for run in FAMILY if run.name == "act_tau0.05")
    given = [*tuned.flags, "--distill-from", "teacher.h5"]
    added = gpu_runs.larger_batches(given, 512)[len(given) :]
    assert added == [
        "--batch-size", "512", "--learning-rate", "0.2", "--warmup", "0.1", "--eval-every", "15",
    ]  # fmt: skip
    assert gpu_runs.larger_batches(["--preset", "authors"], 256)[2:] == [
        "--batch-size", "256", "--learning-rate", "0.2", "--eval-every", "256",
    ]  # fmt: skip


# --- data in parts ---


@pytest.fixture(scope="module")
def parts(noise_data_set, tmp_path_factory):
    """A packed data set, its training images in three parts."""
    folder = tmp_path_factory.mktemp("parts")
    patch = pytest.MonkeyPatch()
    with patch.context():
        patch.setattr(gpu_data, "MIB", 4096 + 40 * 8 * 8 * 3)
        assert gpu_family.main(pack(noise_data_set, folder, "1")) == 0
    return folder


def pack(data_set, folder, mib):
    return ["pack", "--dataset", data_set, "--out", str(folder), "--part-mib", mib]


def keep(parts, store, names=None):
    chosen = sorted(parts.glob("*.npy")) if names is None else [parts / name for name in names]
    return gpu_family.main(["store", *map(str, chosen), "--store", str(store)])


def test_parts_are_put_together_again(parts, noise_data_set, tmp_path, capsys):
    names = sorted(path.name for path in parts.iterdir())
    assert names == [
        "parts.json", "test-images-0.npy", "test-labels.npy", "train-images-0.npy",
        "train-images-1.npy", "train-images-2.npy", "train-labels.npy",
    ]  # fmt: skip
    for at in (slice(1, 4), slice(4, 7)):  # call by call
        assert keep(parts, tmp_path, names[at]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "all 6 parts are there"
    packed = gpu_data.load(tmp_path)
    assert (packed.dataset, packed.splits) == (noise_data_set, ("train", "test"))
    for split, made in (("train", packed.train), ("test", packed.test)):
        ref = load_split(noise_data_set, split)
        np.testing.assert_array_equal(made.images, ref.images)
        np.testing.assert_array_equal(made.labels, ref.labels)
        assert made.class_names == ref.class_names


def damage(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def refused(argv, capsys):
    """The one sentence with which a command is refused."""
    assert gpu_family.main(argv) == 2
    [line] = capsys.readouterr().err.splitlines()
    return line


def test_parts_that_are_missing_or_damaged_are_told(parts, tmp_path, capsys):
    store, sent = tmp_path / "store", tmp_path / "sent"
    train = ["train", "--device", "cpu", "--store", str(store), "--out", str(tmp_path / "out")]
    train += ["--run-dir", str(tmp_path / "runs")]
    assert "parts.json is not there: pack a data set" in refused(train, capsys)
    keep(parts, store, ["train-images-0.npy", "train-labels.npy"])
    assert "lacks 4 of 6 parts: store train-images-1.npy, train-im" in refused(train, capsys)
    sent.mkdir()
    for path in parts.iterdir():
        (sent / path.name).write_bytes(path.read_bytes())
    damage(sent / "train-images-1.npy")
    give = ["store", str(sent / "train-images-1.npy"), "--store", str(store)]
    assert "its checksum is not that of parts.json" in refused(give, capsys)
    assert not (store / "train-images-1.npy").exists()
    keep(parts, store)
    damage(store / "test-labels.npy")
    assert "test-labels.npy is damaged: store it again" in refused(train, capsys)
    (store / "parts.json").write_text('{"parts": [{"file": "../x"}]}')
    assert "parts.json is damaged" in refused(train, capsys)


# --- runs ---


def make_family(data_set):
    flags = ("--preset", "fast", "--dataset", data_set, "--units", "2", "--epochs", "3")
    flags += ("--base-channels", "4", "--amp", "off", "--crop-border", "reflect")
    sact = ("--halting", "sact", "--tau-range", "0.001", "0.1")
    return [
        Run("vanilla", flags, ships="net"),
        Run("any", (*flags, *sact), start="vanilla", teacher="vanilla", ships="any", seed=2),
    ]


def start(family, store, machine, *more):
    """Train on a machine, which is a folder of the one that one is in; give the exit code."""
    flags = ["--device", "cpu", "--batch-size", "24", "--store", str(store), "--minutes", "30"]
    flags += ["--out", f"{machine}/out", "--save-seconds", "0", "--run-dir", f"{machine}/family"]
    return gpu_family.main(["train", *flags, *more], family)


@pytest.fixture
def family(noise_data_set):
    return make_family(noise_data_set)


@pytest.fixture(scope="module")
def store(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    assert keep(parts, folder) == 0
    return folder


@pytest.fixture(scope="module")
def finished(store, noise_data_set, tmp_path_factory):
    """The folder of a machine that trained the family at one go."""
    folder = tmp_path_factory.mktemp("finished")
    patch = pytest.MonkeyPatch()
    with patch.context() as there:
        there.chdir(folder)
        assert start(make_family(noise_data_set), store, "one") == 0
    return folder / "one"


@pytest.fixture
def train(store, family, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda machine, *more: start(family, store, machine, *more)


def test_a_run_that_was_cut_off_ends_as_one_that_was_not(
    finished, train, tmp_path, monkeypatch, capsys
):
    before = Bundles.going_on
    calls = []

    def cut_off(self, name):
        before(self, name)
        calls.append(name)
        if name == "any" and calls.count(name) == 2:
            raise KeyboardInterrupt  # as if the machine had gone

    with monkeypatch.context() as patch:
        patch.setattr(Bundles, "going_on", cut_off)
        assert train("two") == 130
    out = tmp_path / "two" / "out"
    assert sorted(path.name for path in out.glob("*.zip")) == ["done-1.zip", GOING_ON]
    (tmp_path / "two" / "family").rename(tmp_path / "lost")
    capsys.readouterr()
    assert train("two", "--bring", str(out), "--out", str(tmp_path / "two" / "more")) == 0
    said = capsys.readouterr().out
    assert "vanilla: brought along, finished" in said
    assert "any: brought along, to be gone on with" in said
    assert "vanilla: finished before" in said
    assert "going on from step " in said
    for name in ("vanilla", "any"):
        folders = [each / "family" / name for each in (finished, tmp_path / "two")]
        ref, comp = (read(folder / "last.h5") for folder in folders)
        assert ref.provenance["steps"] == comp.provenance["steps"] == 12
        assert comp.params.keys() == ref.params.keys()
        for key, value in ref.params.items():
            np.testing.assert_array_equal(comp.params[key], value, err_msg=key)
        rows = [read_metrics(folder) for folder in folders]
        assert [row["epoch"] for row in rows[1]] == [1, 2, 3]
        for one, other in zip(*rows, strict=True):
            assert other["train/Total Loss"] == pytest.approx(one["train/Total Loss"], rel=1e-9)
        assert rows[0][-1]["eval/Accuracy"] == rows[1][-1]["eval/Accuracy"]
    with zipfile.ZipFile(tmp_path / "two" / "more" / "done-1.zip") as made:
        assert {name.split("/")[0] for name in made.namelist()} == {"any"}
        assert "any/last.h5" in made.namelist()
        assert "any/state.pt" not in made.namelist()


def test_a_finished_run_says_how_it_was_made(finished, family, tmp_path):
    made = read(finished / "family" / "any" / "last.h5")
    record = made.provenance
    assert record["command"].startswith(
        "python benchmarks/gpu_family.py run --run-dir one/family/any --preset fast"
    )
    assert record["command"].endswith("--device cpu")
    assert (record["seed"], record["epochs"], record["steps"]) == (2, 3, 12)
    assert record["recipe"]["learning_rate"] == pytest.approx(0.2 * 24 / 128)
    assert record["recipe"]["finetune_from"] == "one/family/vanilla/last.h5"
    assert "cores" in record["hardware"]
    assert record["hours"] >= 0
    assert record["packages"]["torch"] == torch.__version__
    assert record["metrics"]["count"] == 24
    assert "eval@0.1/Accuracy" in record["metrics"]
    assert made.class_names == ("class0", "class1", "class2")
    # The scripts that ship and summarise take it.
    shutil.copytree(finished / "family", tmp_path / "family")
    shop = Shop(tmp_path / "family", tmp_path / "shipped")
    assert [shop.state(run) for run in family] == ["done", "done"]
    shop.ship(family[0], lambda path: {})
    [file] = summarise.read_files(shop.pretrained, tmp_path)
    metrics = read(shop.last("vanilla")).provenance["metrics"]
    assert file.point.accuracy == metrics["eval/Accuracy"]
    shop.last("vanilla").unlink()
    assert shop.is_done(family[0])  # as its shipped file says
    [path] = (finished / "out").glob("train-gpu-*.json")
    rows = json.loads(path.read_text())["rows"]
    assert [row["side"] for row in rows] == ["vanilla", "any"]
    assert rows[0]["accuracy"] == metrics["eval/Accuracy"]
    assert min(row["images_per_second"] for row in rows) > 0
    assert "| vanilla |" in path.with_suffix(".md").read_text()


def test_the_command_of_a_network_makes_it_again(finished, store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ref = read(finished / "family" / "vanilla" / "last.h5")
    words = shlex.split(ref.provenance["command"])[2:]
    assert gpu_family.main([*words, "--store", str(store), "--run-dir", "again"]) == 0
    comp = read(tmp_path / "again" / "last.h5")
    for key, value in ref.params.items():
        np.testing.assert_array_equal(comp.params[key], value, err_msg=key)


def test_finished_runs_are_taken_home(finished, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    Bundles(out, finished / "family", 15).going_on("any")
    with zipfile.ZipFile(out / GOING_ON) as made:
        parts = {name: made.read(name) for name in made.namelist()}
    half = read(finished / "family" / "any" / "last.h5")
    half.provenance["steps"] = 4
    write(tmp_path / "half.h5", half)
    with zipfile.ZipFile(out / GOING_ON, "w") as made:
        for name, data in parts.items():
            data = (tmp_path / "half.h5").read_bytes() if name.endswith(".h5") else data
            made.writestr(name.replace("any/", "other/"), data)
    take = ["take", str(out), "--run-dir", str(tmp_path / "family")]
    assert gpu_family.main(take) == 0
    assert sorted(path.name for path in (tmp_path / "family").iterdir()) == ["any", "vanilla"]
    assert "vanilla: brought along, finished" in capsys.readouterr().out
    assert gpu_family.main(take) == 0  # what is as far already stays
    assert capsys.readouterr().out == ""


def test_bundles_are_cut_where_they_are_full(finished, tmp_path):
    size = (finished / "family" / "any" / "last.h5").stat().st_size
    bundles = Bundles(tmp_path, finished / "family", 1)
    bundles._most = 2 * size  # not three
    for name in ("vanilla", "any"):
        shutil.copytree(finished / "family" / name, tmp_path / "runs" / name)
    shutil.copytree(finished / "family" / "any", tmp_path / "runs" / "more")
    bundles._runs = tmp_path / "runs"
    for name in ("vanilla", "any", "more"):
        bundles.going_on(name)
        bundles.done(name)
    assert sorted(path.name for path in tmp_path.glob("*.zip")) == ["done-1.zip", "done-2.zip"]
    assert max(path.stat().st_size for path in tmp_path.glob("*.zip")) <= 2 * size


# --- captured steps, of which a processor has none: a stand-in for CUDA's graphs ---


class StandIn:
    """Runs a captured pass again, and writes where it wrote."""

    def __init__(self, made):
        self.made, self.count = made, 0

    def replay(self):
        self.count += 1
        learner = self.made._learner
        learner.optimiser.zero_grad(set_to_none=True)
        found = self.made._plain(self.made._held)
        for name in ("total", "accuracy", "ponder"):
            getattr(self.made._found, name).copy_(getattr(found, name))


def learners():
    config = TrainingConfig(dataclasses.replace(TINY, halting="sact"), learning_rate=0.1)
    return [Learner(config, init_params(build_plan(config.network))) for _ in range(2)]


def taken(made, learner, steps):
    """Losses of some steps."""
    losses = []
    for step in range(steps):
        given = batch()
        x = torch.from_numpy(given.images + np.float32(step)).permute(0, 3, 1, 2)
        losses.append(float(made(x, torch.from_numpy(given.labels), None).total))
        learner.step(1.0)
    return losses


def test_a_captured_pass_is_the_pass_that_is_launched(monkeypatch):
    one, other = learners()
    made = gpu_steps.Pass(other, True, print)
    made._capture = True
    graph = StandIn(made)
    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name in ("Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graph)
    monkeypatch.setattr(torch.cuda, "graph", contextlib.nullcontext)
    plain = gpu_steps.Pass(one, True, print)
    assert taken(made, other, 3) == taken(plain, one, 3)
    assert graph.count == 3
    for key, value in one.network.state_dict().items():  # the moving statistics among them
        assert torch.equal(other.network.state_dict()[key], value), key


def test_a_pass_that_cannot_be_captured_is_launched(monkeypatch):
    def refuse():
        raise RuntimeError("no streams here\nand more")

    monkeypatch.setattr(torch.cuda, "Stream", refuse)
    one, other = learners()
    said = []
    made = gpu_steps.Pass(other, True, said.append)
    made._capture = True
    assert taken(made, other, 2) == taken(gpu_steps.Pass(one, True, print), one, 2)
    assert said == ["steps are not captured, but launched: no streams here"]


def test_the_limit_of_time_leaves_a_state(train, store, family, tmp_path, capsys):
    assert train("one", "--minutes", "1e-9") == 0
    assert "the time is over: 2 runs are left, vanilla the first" in capsys.readouterr().out
    packed, kept = gpu_data.load(store), []
    words = [*family[0].flags, "--run-dir", "run", "--batch-size", "24"]
    manner = gpu_steps.Manner(until=0.0, kept=lambda: kept.append(1))
    for done in (1, 2):  # a step each time, and then it goes on
        with pytest.raises(Interrupted):
            gpu_runs.train_one(words, packed, "cpu", manner, print)
        state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
        assert state["progress"]["step"] == len(kept) == done
        words.append("--resume")


def test_a_trial_takes_a_few_steps(train, tmp_path):
    assert train("one", "--tiny", "vanilla") == 0
    record = read(tmp_path / "one" / "family" / "vanilla" / "last.h5").provenance
    assert record["steps"] == record["steps_planned"] == 4
    assert record["data_set"]["train_count"] == 64


def test_what_makes_no_sense_is_one_sentence(train, family, tmp_path, capsys):
    def last():
        [line] = capsys.readouterr().err.splitlines()
        return line

    assert train("one", "--device", "cuda:99") == 2
    assert "is not to be had" in (line := last())
    assert line.endswith("--device cpu --tiny tries this with tiny numbers")
    assert train("one", "--minutes", "0") == 2
    assert "--minutes must be above 0" in last()
    assert train("one", "--bring", "nowhere") == 2
    assert "no folder nowhere" in last()
    assert train("one", "--batch-size", "97") == 2
    assert "larger than the 96 training images" in last()
    assert train("one", "third") == 2
    assert "no run 'third'" in last()
    family[0] = Run("vanilla", ("--preset", "fast", "--units", "2"))
    assert train("one") == 2
    assert "to train on cifar10 train test, but the parts that are stored are of" in last()
    brought = tmp_path / "brought"
    brought.mkdir()
    with zipfile.ZipFile(brought / "done-1.zip", "w") as made:
        made.writestr("../run/last.h5", b"x")
    assert train("one", "--bring", str(brought)) == 2
    assert "holds no runs of ours" in last()
    (brought / "done-1.zip").write_bytes(b"PK")
    assert train("one", "--bring", str(brought)) == 2
    assert "is damaged" in last()
