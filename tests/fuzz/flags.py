"""Flags of every command."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from sact_core import checkpoint as checkpoints
from sact_core.backends.masked.warm import warm
from tests.fuzz.kinds import Case, Kind, called, module_of, networks, photograph
from tests.fuzz.mutation import Rng, pick

#: Every command with its sub-command, and what it needs at least.
NEEDS: dict[str, list[str]] = {
    "ponder": ["photo.png", "--checkpoint", "sact.h5", "--out", "out"],
    "export_maps": ["photos", "--checkpoint", "sact.h5", "--out", "out.h5"],
    "evaluate": ["--checkpoint", "sact.h5", "--dataset", "photos", "--split", "all"],
    "objects": ["photos", "--checkpoint", "sact.h5", "--boxes", "boxes.json"],
    "doubt": ["--checkpoint", "sact.h5", "--dataset", "photos", "--labels", "counts.npy"],
    "saliency": ["gaze", "--checkpoint", "sact.h5"],
    "draw_maps": ["maps.h5", "--out", "out"],
    "average": ["sact.h5", "sact.h5", "--out", "out.h5"],
    "import_tf": ["bundle", "--out", "out.h5"],
    "export_onnx": ["sact.h5", "--out", "out.onnx"],
    "prepare": ["birds", "--archive", "photos", "--data-dir", "data"],
    "calibrate": ["sact.h5", "--dataset", "photos", "--split", "all", "--out", "out.h5"],
    "damage kinds": ["--checkpoint", "sact.h5", "--dataset", "photos", "--split", "all"],
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
        for name in ("train/a", "train/b", "test/a", "test/b"):
            for i in range(3):
                (good / "photos" / name).mkdir(parents=True, exist_ok=True)
                photograph(good / "photos" / name / f"{name[:2]}{name[-1]}{i}.png", 10 + i)
        write(good / "maps.h5", [7.0, 6.0])
        write_boxes(good / "boxes.json", {"tea0.png": [[0, 0, 0.6, 0.6]]})
        import numpy as np

        pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
        write_example(good / "gaze", "Art", 1, pixels, pixels[..., 0] < 99)
        np.save(good / "counts.npy", pixels[:6, :3, 0])
        self.write_measured(good)
        self.flags = {name: _flags(name) for name in NEEDS}
        warm()  # Ctrl-C gets lost in Numba's compiler

    def write_measured(self, good: Path) -> None:
        """What was measured of a network, and a state dict of one."""
        import torch

        point = {"eval/Accuracy": 0.5, "Total Flops/mean": 1e6, "count": 9}
        curve = {"network": "n", "content_hash": "x", "rows": [{"tau": t, **point} for t in (1, 2)]}
        (good / "curve.json").write_text(json.dumps(curve))
        params = networks()[1].params
        torch.save({name: torch.from_numpy(v) for name, v in params.items()}, good / "state.pth")

    def make(self, rng: Rng, folder: Path) -> Case:
        for path in self.good.iterdir():
            _copy(path, folder / path.name)
        name = str(pick(rng, list(NEEDS)))
        argv = list(NEEDS[name])
        name, *sub = name.split()
        way = rng.random()
        if way < 0.1:
            del argv[int(rng.integers(len(argv)))]
        elif way < 0.3:
            argv[int(rng.integers(len(argv)))] = str(pick(rng, WORDS))
        for _ in range(int(rng.integers(1, 4))):
            flag, wanted, choices = pick(rng, self.flags[" ".join((name, *sub))])
            argv.append(flag)
            for _ in range(wanted):
                right = choices and rng.random() < 0.6
                argv.append(str(pick(rng, choices if right else WORDS)))
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
    """Flags of a command: how many words each takes, and which it names."""
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
        found.append((action.option_strings[0], words, list(action.choices or [])))
    return found
