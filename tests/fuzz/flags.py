"""Flags of every command."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from sact_core import checkpoint as checkpoints
from sact_core.backends.masked.warm import warm
from tests.fuzz.kinds import Case, Kind, called, module_of, networks, photograph
from tests.fuzz.mutation import Rng, pick
from tests.networks import random_params

#: Every command with its sub-command, and what it needs at least.
NEEDS: dict[str, list[str]] = {
    "ponder": ["photo.png", "--checkpoint", "sact.h5", "--out", "out"],
    "export_maps": ["photos", "--checkpoint", "sact.h5", "--out", "out.h5"],
    "evaluate": ["--checkpoint", "sact.h5", "--dataset", "photos", "--split", "test"],
    "objects": ["photos", "--checkpoint", "sact.h5", "--boxes", "boxes.json"],
    "doubt": ["--checkpoint", "sact.h5", "--dataset", "photos", "--labels", "counts.npy"],
    "saliency": ["gaze", "--checkpoint", "sact.h5", "--blur", "1", "--centre-weight", "0.5"],
    "draw_maps": ["maps.h5", "--out", "out"],
    "average": ["trained.h5", "trained.h5", "--out", "out.h5"],
    "import_tf": ["bundle", "--out", "out.h5"],
    "export_onnx": ["sact.h5", "--out", "out.onnx"],
    "prepare": ["birds", "--archive", "photos", "--data-dir", "data"],
    "calibrate": ["sact.h5", "--dataset", "photos", "--split", "all", "--out", "out.h5"],
    "damage kinds": ["--checkpoint", "sact.h5", "--dataset", "photos", "--split", "test"],
    "damage worst": ["--checkpoint", "any.h5", "--image", "photo.png", "--steps", "1"],
    "figure maps": ["photo.png", "--checkpoint", "any.h5", "--out", "out.png"],
    "figure curve": ["curve.json", "--out", "out.svg"],
    "import_torch": ["state.pth", "--as", "cifar", "--out", "out.h5"],
    "benchmark infer": ["--only", "resnet32-batch1", "--against", "curve.json"],
    "benchmark report": ["--out", "benchmarks"],
    "train": [
        "--preset", "fast", "--dataset", "photos", "--run-dir", "run", "--units", "1",
        "--base-channels", "2", "--max-steps", "1", "--batch-size", "2", "--image-size", "8",
    ],
}  # fmt: skip

#: What flags without choices are given where they are to be right; others by their type.
RIGHT: dict[str, list[str]] = {
    "checkpoint": ["any.h5", "sact.h5", "act.h5", "vanilla.h5"],
    "dataset": ["photos"], "data_dir": ["."], "split": ["test", "train", "test[:2]", "all"],
    "device": ["cpu"], "tau": ["0.01", "0.5"], "taus": ["0.01", "0.1", "0.5"],
    "target_flops": ["0.3", "0.9"], "num_threads": ["1", "2"], "num_workers": ["0", "1"],
    "data_workers": ["0", "1"], "image_size": ["8", "16", "33"], "sizes": ["8", "16"],
    "labels_from": ["any.h5", "vanilla.h5"], "rival": ["curve.json"], "watch": ["run"],
    "html": ["out.html"], "plot": ["out.svg"], "figure": ["out.svg"], "table": ["out.csv"],
    "per_image": ["each.csv"], "keep": ["kept"], "photographs": ["Art/001", "Art/002"],
    "distill_from": ["vanilla.h5"], "finetune_from": ["sact.h5"], "grow_from": ["sact.h5"],
    "units": ["1", "1,2,2", "2"], "scope": [""], "preset": ["fast"],
    "train_split": ["train", "test"], "eval_split": ["test"], "readme": ["README.md"],
}  # fmt: skip
RIGHT_BY_TYPE = {int: ["1", "2", "3", "8"], float: ["0.01", "0.5", "1", "4"]}

WORDS = [
    *("0", "1", "2", "-1", "-0", "0.5", "1e-320", "1e400", "nan", "inf", "-inf", "1_000", "1e3"),
    *("\u0663", "2000000000", "4096", "100000", "65536", "32", "16", "7", "0.01", "1.5"),
    *("9" * 20, "9" * 5000, "-" + "9" * 400, "0x10", "", " ", "\x00", "\x1b[2J", "\ud800", "a"),
    *("a" * 5000, "../x", "photos", "photo.png", "sact.h5", "any.h5", "act.h5", "vanilla.h5"),
    *("maps.h5", "broken.h5", "absent", "absent/x", "photos/a", "out", "1,2", "8,16", "1_2_3"),
    *("test", "all", "test[:1]", "test[1:0]", "all[", "train+test", "test[:99999999999999999999%]"),
    *("curve.json", "counts.npy", "out.csv", "out.html", "out.tex", "out.svg", "/dev/null"),
    *("\u202e", "0,0", ",", "16,", "[x](http://a.example)"),
]  # fmt: skip


class Flags(Kind):
    """Calls of every command with strange flags, missing ones and strange values."""

    stops = 4.0
    cost = 4

    def __init__(self, good: Path) -> None:
        super().__init__(good)
        from tests.test_draw_maps import write
        from tests.test_objects import write_boxes
        from tests.test_saliency import write_example

        names = ("any", "sact", "act", "vanilla")
        for name, one in zip(names, networks(), strict=True):
            checkpoints.write(good / f"{name}.h5", one)
        (good / "broken.h5").write_bytes((good / "sact.h5").read_bytes()[:-99])
        photograph(good / "photo.png")
        (good / "README.md").write_text("# Networks\n")
        for name in ("train/a", "train/b", "test/a", "test/b"):
            first = 3 * name.endswith("b")  # answers find images by these numbers
            for i in range(first, first + 3):
                (good / "photos" / name).mkdir(parents=True, exist_ok=True)
                photograph(good / "photos" / name / f"{name[:2]}{name[-1]}{i}.png", 10 + i)
        write(good / "maps.h5", [7.0, 6.0])
        write_boxes(good / "boxes.json", {"tea0.png": [[0, 0, 0.6, 0.6]]})
        pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
        for number in (1, 2):
            write_example(good / "gaze", "Art", number, pixels, pixels[..., number] < 99)
        np.save(good / "counts.npy", np.eye(3)[[0, 0, 0, 1, 1, 1]] * 40 + np.arange(3))
        self.write_trained(good)
        self.write_measured(good)
        self.flags = {name: _flags(name) for name in NEEDS}
        warm()  # Ctrl-C gets lost in Numba's compiler

    def write_measured(self, good: Path) -> None:
        """What was measured of a network."""
        from sact_core.benchmark.machine import machine
        from tests.test_benchmark_against import measured

        point = {"eval/Accuracy": 0.5, "Total Flops/mean": 1e6, "count": 9}
        curve = {"network": "n", "content_hash": "x", "rows": [{"tau": t, **point} for t in (1, 2)]}
        (good / "curve.json").write_text(json.dumps(curve))
        (good / "benchmarks").mkdir()
        results = {"machine": machine(), "rows": [measured(4.0)]}
        (good / "benchmarks" / "infer-it.json").write_text(json.dumps(results))

    def write_trained(self, good: Path) -> None:
        """Networks as a training and other frameworks write them."""
        import torch

        from sact_core.backends.dense import Network
        from sact_core.import_tf.names import to_tf_names
        from sact_core.plans import build_plan
        from sact_core.train.recipes import TrainingConfig, config_to_dict
        from tests.tf_writer import write_bundle

        one = networks()[1]
        recipe = config_to_dict(TrainingConfig(one.config, "photos", image_size=8, batch_size=4))
        provenance = {**one.provenance, "recipe": recipe}
        checkpoints.write(good / "trained.h5", dataclasses.replace(one, provenance=provenance))
        names = to_tf_names(build_plan(one.config))
        write_bundle(good / "bundle", {names[k]: one.params[k] for k in names})
        config = dataclasses.replace(one.config, base_channels=4)
        params = random_params(np.random.default_rng(0), config)
        torch.save(Network(build_plan(config), params).state_dict(), good / "state.pth")

    def make(self, rng: Rng, folder: Path) -> Case:
        for path in self.good.iterdir():
            _copy(path, folder / path.name)
        name = str(pick(rng, list(NEEDS)))
        argv = list(NEEDS[name])
        name, *sub = name.split()
        way = rng.random()
        if way < 0.1:
            del argv[int(rng.integers(len(argv)))]
        elif way < 0.2:
            argv[int(rng.integers(len(argv)))] = str(pick(rng, WORDS))
        strange = rng.random() < 0.5  # the other half is mostly of what each flag takes
        for _ in range(int(rng.integers(1, 4))):
            flag, wanted, right = pick(rng, self.flags[" ".join((name, *sub))])
            argv.append(flag)
            for _ in range(wanted):
                known = right and rng.random() >= (0.4 if strange else 0.05)
                argv.append(str(pick(rng, right if known else WORDS)))
        case = called(name, [*sub, *argv])

        def run() -> int:
            try:
                return case.run()
            except SystemExit as end:  # argparse has said what is wrong
                return 0 if end.code is None else int(end.code)

        return Case(case.shown, run)


def _copy(path: Path, to: Path) -> None:
    """Each input has its own, which commands may write to."""
    if path.is_dir():
        shutil.copytree(path, to)
    else:
        shutil.copyfile(path, to)


def _flags(name: str) -> list[tuple[str, int, list[Any]]]:
    """Flags of a command: how many words each takes, and which are right."""
    name, *sub = name.split()
    parser: argparse.ArgumentParser = module_of(name).build_parser()
    for each in sub:
        [inner] = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        parser = inner.choices[each]
    found = []
    for action in parser._actions:
        if not action.option_strings or action.dest == "help":
            continue
        words = action.nargs if isinstance(action.nargs, int) else 1
        right = action.choices or RIGHT.get(action.dest) or RIGHT_BY_TYPE.get(action.type) or []
        found.append((action.option_strings[0], words, list(right)))
    return found
