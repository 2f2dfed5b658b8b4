"""Evaluation of checkpoints: all backends alike, once and continuously."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sact_core import __version__, resources
from sact_core import checkpoint as checkpoints
from sact_core import evaluate as evaluation
from sact_core.backends import BACKENDS, Net, load, memory
from sact_core.checkpoint import read_header
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.data.source import Source
from sact_core.data.splits import open_split
from sact_core.data.tfds import TfdsRecords
from sact_core.evaluate import __main__ as command
from sact_core.evaluate import watch as watching
from sact_core.flops import dense_flops
from sact_core.measures.metrics import Metrics
from sact_core.plans import build_plan
from sact_core.processes import Processes
from sact_core.train import read_metrics
from tests.conftest import ROOT
from tests.networks import random_params

SACT = NetworkConfig(
    units_per_block=(2, 3, 2), base_channels=4, num_classes=3, halting="sact", halting_bias=-0.5
)
NAMES = ("ant", "bee", "cow")


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of class folders with one split, ``test``, of 10 images."""
    rng = np.random.default_rng(3)
    folder = tmp_path_factory.mktemp("evaluate")
    for i in range(10):
        where = folder / "test" / NAMES[i % 3]
        where.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(where / f"{i}.png")
    return str(folder)


def write_checkpoint(path: Path, config: NetworkConfig = SACT, **provenance: Any) -> Path:
    params = random_params(np.random.default_rng(1), config)
    made = checkpoints.Checkpoint(
        config, params, Preprocessing("cifar", 16), NAMES, {"tau": 0.01, **provenance}
    )
    checkpoints.write(path, made)
    return path


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert command.main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_all_backends_give_the_same(
    data_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(write_checkpoint(tmp_path / "it.h5"))
    argv = ("--checkpoint", file, "--dataset", data_set, "--batch-size", "4")
    found = {b: run_json(capsys, *argv, "--backend", b) for b in BACKENDS}
    for name, comp in found.items():
        assert f"--backend {name}" in comp.pop("command")
    ref = found["reference"]
    assert ref["num_examples"] == 10
    assert 1 < ref["block_2/num_units_mean"] < 3
    for name, comp in found.items():
        assert comp.keys() == ref.keys()
        for key in ref:
            exact = key == "eval/Accuracy" or "lops" in key or "num_units" in key
            if exact or isinstance(ref[key], str | dict):
                assert comp[key] == ref[key], (name, key)
            else:
                assert comp[key] == pytest.approx(ref[key], rel=1e-5), (name, key)


def test_batches_and_shards_change_nothing(data_set: str, tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path / "it.h5")
    net = Net.from_checkpoint(checkpoints.read(file), "reference")
    source = open_split(data_set, "test")
    whole = evaluation.evaluate(net, source, batch_size=10)
    merged = Metrics(net.plan)
    seen: list[int] = []
    for rank in range(3):
        merged.merge(
            evaluation.evaluate(net, source, batch_size=2, shard=(rank, 3), done=seen.append)
        )
    assert sum(seen) == merged.count == 10
    assert merged.summary() == pytest.approx(whole.summary(), rel=1e-6)
    assert merged.flops == whole.flops
    assert merged.dense == whole.dense
    assert merged.dense.count == 10
    assert merged.right == whole.right
    first = evaluation.evaluate(net, source, num_examples=3, batch_size=2)
    assert first.count == 3


@pytest.mark.parametrize("num_shards", [1, 3])
def test_images_that_cannot_be_read_are_named_and_counted(
    data_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], num_shards: int
) -> None:
    broken = tmp_path / "data"
    shutil.copytree(data_set, broken)
    (broken / "test" / "ant" / "3.png").write_text("no image")
    whole = broken / "test" / "bee" / "1.png"
    whole.write_bytes(whole.read_bytes()[:200])
    file = str(write_checkpoint(tmp_path / "it.h5"))
    argv = ["--checkpoint", file, "--dataset", str(broken), "--backend", "reference"]
    found = run_json(capsys, *argv)
    assert found["num_examples"] == 8
    assert found["skipped"]["count"] == 2
    # Classes take turns.
    assert [image["name"] for image in found["skipped"]["images"]] == ["bee/1.png", "ant/3.png"]
    assert "ant/3.png is no image" in found["skipped"]["images"][1]["reason"]
    line = "skipped 2 of 10 images that cannot be read: bee/1.png, ant/3.png"
    assert command.main(argv) == 0
    assert capsys.readouterr().out.endswith(f"\n{line}\n")
    assert command.main([*argv, "--sizes", "16,32"]) == 0
    assert capsys.readouterr().out.count(line) == 1

    net = Net.from_checkpoint(checkpoints.read(file), "reference")
    merged = Metrics(net.plan)
    for rank in range(num_shards):
        shard = evaluation.evaluate(
            net, open_split(str(broken), "test"), batch_size=2, shard=(rank, num_shards)
        )
        merged.add_counts(json.loads(json.dumps(shard.counts())))
    assert merged.count == 8
    assert {name for name, _ in merged.left_out.values()} == {"ant/3.png", "bee/1.png"}

    for path in (broken / "test").rglob("*.png"):
        path.write_text("no image")
    assert command.main(argv) == 2
    assert "not one image of " in capsys.readouterr().err


def test_the_table_is_readable(
    data_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(write_checkpoint(tmp_path / "it.h5"))
    argv = ["--checkpoint", file, "--dataset", data_set, "--backend", "reference"]
    assert command.main(argv) == 0
    said = capsys.readouterr().out
    found = run_json(capsys, *argv)
    assert f"ResNet-16 SACT, {file}: 10 images of {data_set} test, reference backend, side" in said
    share = found["Total Flops/mean"] / found["Dense Flops/mean"]
    assert f"{share:.1%} of dense" in said
    assert f"{found['eval/Accuracy']:.2%}" in said
    assert f"{found['Total Flops/mean']:,.0f}" in said
    assert f"{found['block_2/num_units_mean']:.4f}" in said
    assert "eval/Recall@5" not in said


def test_a_vanilla_network_has_a_table_too(
    data_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(write_checkpoint(tmp_path / "v.h5", dataclasses.replace(SACT, halting="none")))
    assert command.main(["--checkpoint", file, "--dataset", data_set]) == 0
    said = capsys.readouterr().out
    assert "100.0% of dense" in said
    assert "num_units" not in said


def test_loss_has_the_price_and_l2_of_training(tmp_path: Path) -> None:
    trained = checkpoints.read(write_checkpoint(tmp_path / "a.h5", recipe={"l2": 5e-4}))
    imported = dataclasses.replace(trained, provenance={})
    tau, l2 = evaluation.loss_terms(trained)
    assert tau == 0.01
    assert evaluation.loss_terms(trained, 0.5)[0] == 0.5
    no_tau, authors_l2 = evaluation.loss_terms(imported)
    assert no_tau == 0.0
    assert l2 == pytest.approx(2.5 * authors_l2)


def test_data_set_and_split_are_those_of_training(
    data_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_checkpoint(
        tmp_path / "it.h5", data_set={"name": data_set}, metrics={"split": "test"}
    )
    assert run_json(capsys, "--checkpoint", str(file))["dataset"] == data_set


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (["--checkpoint", "/no/such.h5"], "no/such.h5"),
        (["--num-examples", "0"], "--num-examples must be at least 1, got 0"),
        (["--batch-size", "-3"], "--batch-size must be at least 1, got -3"),
        (["--split", "dev"], "has no split 'dev'"),
        (["--dataset", "no_such_set"], "neither a TFDS data set nor a folder"),
        (["--backend", "reference", "--num-threads", "2"], "--num-threads is for"),
        (["--num-threads", "0"], "--num-threads must be"),
        (["--device", "cpu"], "--device is for --backend dense, not masked"),
        (["--image-size", "0"], "image_size"),
        (["--image-size", "18"], "multiples of 4 pixels, got 18 x 18"),
        (["--sizes", "16,18"], "multiples of 4 pixels, got 18 x 18"),
        (["--sizes", "16;20"], "--sizes takes sizes in pixels such as"),
        (["--sizes", ""], "--sizes takes sizes in pixels such as"),
        (["--sizes", "0"], "--sizes takes sizes in pixels such as"),
        (["--sizes", "16", "--image-size", "16"], "--sizes goes with neither"),
        (["--plot", "a.png"], "give --sizes too"),
        (["--sizes", "16", "--plot", "a.gif"], "--plot must end in .png"),
        (["--sizes", "16", "--plot", "no/such/a.png"], "folder does not exist"),
        (["--checkpoint", "a.h5", "b.h5"], "several checkpoints are for --sizes"),
    ],
)
def test_a_mistake_is_one_sentence(
    data_set: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: list[str],
    reason: str,
) -> None:
    file = str(write_checkpoint(tmp_path / "it.h5"))
    assert command.main(["--checkpoint", file, "--dataset", data_set, *changes]) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_a_part_of_a_folder_has_images_of_every_class(
    data_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(write_checkpoint(tmp_path / "it.h5"))
    argv = ["--checkpoint", file, "--dataset", data_set, "--backend", "reference"]
    found = run_json(capsys, *argv, "--num-examples", "3")
    net = load(file, "reference")
    logits = []
    for name in NAMES:
        first = sorted((Path(data_set) / "test" / name).iterdir())[0]
        logits.append(net.run([np.asarray(Image.open(first))])[0].logits[0])
    right = np.mean(np.argmax(logits, 1) == np.arange(3))
    shifted = np.array(logits, np.float64) - np.max(logits, 1, keepdims=True)
    entropy = np.mean(np.log(np.exp(shifted).sum(1)) - np.diagonal(shifted))
    assert found["eval/Accuracy"] == pytest.approx(right)
    assert found["eval/Cross Entropy"] == pytest.approx(entropy, rel=1e-5)


def source_of(names: tuple[str, ...]) -> Source:
    return Source("it", "test", names, [])


def test_classes_have_to_fit(tmp_path: Path) -> None:
    net = Net.from_checkpoint(checkpoints.read(write_checkpoint(tmp_path / "it.h5")), "reference")
    assert evaluation.classes_of(net, source_of(("cow", "ant"))).tolist() == [2, 0]
    with pytest.raises(ValueError, match="none of the network's 3 by name or WordNet id: 'dog'"):
        evaluation.classes_of(net, source_of((*NAMES, "dog")))
    with pytest.raises(ValueError, match="no examples"):
        evaluation.evaluate(net, source_of(NAMES))


def test_a_few_class_folders_are_found_among_the_networks_classes(
    tmp_path: Path, data_set: str
) -> None:
    few = tmp_path / "few" / "test"
    for name in ("cow", "bee"):
        shutil.copytree(Path(data_set) / "test" / name, few / name)
    net = Net.from_checkpoint(checkpoints.read(write_checkpoint(tmp_path / "it.h5")), "reference")
    parts = [
        evaluation.evaluate(net, open_split(folder, "test"))
        for folder in (data_set, str(tmp_path / "few"))
    ]
    ants = [
        net.run(np.array(Image.open(path))[None]).logits.argmax() == 0
        for path in (Path(data_set) / "test" / "ant").iterdir()
    ]
    assert parts[1].count == parts[0].count - len(ants)
    assert parts[1].right == parts[0].right - sum(ants)


def test_natural_sizes_run_as_they_come(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    records = [
        {"image": rng.integers(0, 256, (*size, 3), np.uint8), "label": i % 3}
        for i, size in enumerate([(9, 12), (12, 12), (12, 9), (9, 12)])
    ]

    class Records(list[Any]):
        def __getitems__(self, indices: range) -> list[Any]:
            return [self[i] for i in indices]

    made = checkpoints.Checkpoint(
        SACT, random_params(rng, SACT), Preprocessing("cifar", 16, fit="keep"), NAMES
    )
    net = Net.from_checkpoint(made, "reference")
    source = Source("it", "test", NAMES, TfdsRecords(Records(records)))
    metrics = evaluation.evaluate(net, source, batch_size=4)
    assert metrics.count == 4
    ones = [net.run(record["image"][None]).flops[0] for record in records]
    assert metrics.flops.mean == np.mean(ones)
    dense = [
        dense_flops(net.plan, size).total[0] for size in [(12, 16), (16, 16), (16, 12), (12, 16)]
    ]
    assert metrics.dense.mean == np.mean(dense)


def test_watching_follows_a_run_to_its_end(
    data_set: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "POLL_SECONDS", 0.01)
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"epoch": 1, "step": 4}\n{"epoch": 2, "step": 8}\n')
    argv = ["--watch", str(run), "--dataset", data_set, "--backend", "reference"]
    codes: list[int] = []
    watcher = threading.Thread(target=lambda: codes.append(command.main(argv)))
    watcher.start()
    try:
        for epoch in (1, 2):
            written = {"epochs": epoch, "steps": 4 * epoch, "steps_planned": 8}
            write_checkpoint(run / "last.h5", **written)
            for _ in range(1000):
                if (run / "watch.jsonl").exists() and len(read_metrics(run)[epoch - 1]) > 2:
                    break
                threading.Event().wait(0.01)
    finally:
        watcher.join(30)
    assert codes == [0]
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    assert said[1].startswith("epoch 2, step 8: accuracy ")
    rows = read_metrics(run)
    assert [row["step"] for row in rows] == [4, 8]
    assert all(row["count"] == 10 and row["backend"] == "reference" for row in rows)
    assert rows[1]["content_hash"] == read_header(run / "last.h5").content_hash
    assert rows[0]["content_hash"] != rows[1]["content_hash"]
    told = [rows[1][name] for name in ("tau", "image_size", "fit", "version")]
    assert told == [0.01, 16, "crop", __version__]
    assert rows[1]["command"].startswith(f"python -m sact_core.evaluate --watch {run}")
    assert command.main(argv) == 0  # nothing new
    assert len((run / "watch.jsonl").read_text().splitlines()) == 2
    assert len(list((run / "watch").glob("events.*"))) == 1


def test_watching_needs_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--watch", str(tmp_path / "none")]) == 2
    assert "is no folder: name the --run-dir" in capsys.readouterr().err
    write_checkpoint(tmp_path / "last.h5")
    assert command.main(["--watch", str(tmp_path)]) == 2
    assert "does not say how far its training is" in capsys.readouterr().err


def test_little_memory_changes_nothing(
    data_set: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Net.from_checkpoint(checkpoints.read(write_checkpoint(tmp_path / "it.h5")), "reference")
    source = open_split(data_set, "test")
    whole = evaluation.evaluate(net, source)
    one = memory.estimate_memory(net.plan, (1, 16, 16, 3))
    sizes: list[int] = []
    forward = net.engine.forward
    monkeypatch.setattr(
        net.engine, "forward", lambda x, **how: sizes.append(len(x)) or forward(x, **how)
    )
    monkeypatch.setattr(memory, "available_memory", lambda: int(8.5 * one))
    parts = evaluation.evaluate(net, source)
    assert parts.summary() == pytest.approx(whole.summary(), rel=1e-6)
    assert (parts.flops, parts.right) == (whole.flops, whole.right)
    assert sizes == [4, 4, 2]  # half of what is free


def test_a_processes_share_of_batches_and_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = resources.cores()
    assert Processes().num_threads() is None
    assert Processes().gather({"a": [1]}) == [{"a": [1]}]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert Processes(1, 4).num_threads() == max(1, cores // 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "10000")
    assert Processes(1, 10000).num_threads() == 1


def torchrun(*argv: str) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*start, *argv],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )


def two_processes(*argv: str) -> tuple[list[int], str, str]:
    """Started as ``torchrun`` starts them; their exit codes, and what they said together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {
        **os.environ,
        **{"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        **{"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
    }
    started = [
        subprocess.Popen(
            [sys.executable, *argv],
            env=environment | {"RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for rank in "01"
    ]
    said = [process.communicate(timeout=240) for process in started]
    codes = [process.returncode for process in started]
    return codes, "".join(out for out, _ in said), "".join(err for _, err in said)


def test_two_processes_of_torchrun_give_what_one_gives(
    data_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(write_checkpoint(tmp_path / "it.h5"))
    argv = ("--checkpoint", file, "--dataset", data_set, "--backend", "reference")
    ref = run_json(capsys, *argv, "--batch-size", "3")
    done = torchrun("-m", "sact_core.evaluate", *argv, "--batch-size", "3", "--json")
    assert done.returncode == 0, done.stderr
    comp = json.loads(done.stdout)  # one object: the second process says nothing
    assert comp.keys() == ref.keys()
    assert comp.pop("command").startswith("torchrun ")
    assert ref.pop("command").startswith("python -m sact_core.evaluate --checkpoint ")
    for key, value in ref.items():
        if "ponder" in key or key in ("eval/Mean Loss", "eval/Cross Entropy"):
            assert comp[key] == pytest.approx(value, rel=1e-12), key
        else:
            assert comp[key] == value, key


def test_what_fails_in_one_process_ends_all_with_one_sentence(
    data_set: str, tmp_path: Path
) -> None:
    file = str(write_checkpoint(tmp_path / "it.h5"))
    argv = ("--checkpoint", file, "--dataset", data_set, "--backend", "reference")
    wrong = two_processes("-m", "sact_core.evaluate", *argv, "--split", "dev")
    script = tmp_path / "fails_in_process_1.py"
    script.write_text(
        "import os, sys\n"
        "from sact_core.evaluate import run\n"
        "from sact_core.evaluate.__main__ import main\n"
        "def fail(*_, **__): raise ValueError('made to fail')\n"
        "if os.environ['RANK'] == '1': run.evaluate = fail\n"
        "raise SystemExit(main(sys.argv[1:]))\n"
    )
    late = two_processes(str(script), *argv)
    for (codes, out, err), sentence in (
        (wrong, f"error: {data_set} has no split 'dev'"),
        (late, "error (process 1): made to fail"),
    ):
        assert all(codes)
        assert not out
        said = [line for line in err.splitlines() if line.startswith("error")]
        assert len(said) == 1, err
        assert said[0].startswith(sentence)


def test_plans_of_all_kinds_have_metrics() -> None:
    for halting in ("none", "act", "sact"):
        plan = build_plan(dataclasses.replace(SACT, halting=halting))
        assert list(Metrics(plan).blocks) == ["block1", "block2", "block3"]
