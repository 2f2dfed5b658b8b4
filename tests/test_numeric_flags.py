"""Every number that a command takes has bounds: what is beyond is one sentence, at once."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from sact_core import checkpoint as checkpoints
from tests.networks import any_tau_checkpoint
from tests.test_imports import COMMANDS
from tests.training import flags as training_flags
from tests.training import write_data_set

#: What no flag of its kind takes.
WHOLE = ["1" + 20 * "0", "-1" + 20 * "0", 5000 * "9"]
REAL = ["nan", "inf", "-inf", "1e300", "-1e300"]
THREADS = ["2000000000", "0", "-1"]

#: How a command is called so that nothing but the number is wrong.
CALLS: dict[str, list[str]] = {
    "ponder": ["PHOTO", "--checkpoint", "NET", "--out", "OUT"],
    "export_maps": ["PHOTO", "--checkpoint", "NET", "--out", "OUT/m.h5"],
    "objects": ["PHOTO", "--checkpoint", "NET", "--boxes", "BOXES"],
    "damage kinds": ["--checkpoint", "NET", "--dataset", "DATA", "--split", "test"],
    "damage worst": ["--checkpoint", "NET", "--dataset", "DATA", "--split", "test"],
    "doubt": ["--checkpoint", "NET", "--dataset", "DATA", "--split", "test", "--labels", "COUNTS"],
    "saliency": ["DATA/train", "--checkpoint", "NET"],
    "draw_maps": ["absent.h5", "--out", "OUT"],
    "average": ["NET", "NET", "--out", "OUT/average.h5"],
    "calibrate": ["NET", "--dataset", "DATA", "--out", "OUT/a.h5"],
    "import_tf": ["absent", "--out", "OUT/a.h5"],
    "import_torch": ["absent", "--as", "cifar", "--out", "OUT/a.h5"],
    "app": [],
    "figure maps": ["PHOTO", "--checkpoint", "NET", "--out", "OUT/f.svg"],
    "figure curve": ["NET", "--out", "OUT/f.csv"],
    "export_onnx": ["NET", "--out", "OUT/a.onnx"],
    "evaluate": ["--checkpoint", "NET", "--dataset", "DATA", "--split", "test"],
    "prepare": ["cifar10", "--archive", "absent", "--data-dir", "OUT"],
    "train": [],
    "benchmark infer": ["--only", "resnet32-batch1", "--no-start", "--out", "OUT"],
    "benchmark halting": ["--out", "OUT"],
    "benchmark family": ["NET", "--dataset", "DATA", "--split", "test", "--out", "OUT"],
    "benchmark train": ["--out", "OUT"],
}


def module_of(call: str):
    name = call.split()[0]
    package = "sact_core." + name
    if importlib.util.find_spec(package).submodule_search_locations is not None:
        package += ".__main__"
    return importlib.import_module(package)


def numeric_flags():
    """Every flag of every command that takes numbers, and numbers that it refuses."""
    found = []
    for call in CALLS:
        module, words = module_of(call), call.split()[1:]
        parser = module.build_parser()
        for word in words:
            (parts,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
            parser = parts.choices[word]
        for action in parser._actions:
            kind = getattr(action.type, "kind", action.type)
            if kind not in (int, float):
                continue
            flag = action.option_strings[-1]
            values = WHOLE if kind is int else REAL
            if flag.endswith(("threads", "workers")):
                values = [*values, *THREADS]
            count = action.nargs if isinstance(action.nargs, int) else 1
            found.append(pytest.param(call, flag, values, count, id=f"{call} {flag}"))
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("numbers")
    checkpoints.write(folder / "net.h5", any_tau_checkpoint())
    data = write_data_set(folder / "data", 24)
    photo = sorted((folder / "data/train").rglob("*.png"))[0]
    (folder / "boxes.json").write_text(json.dumps({"boxes": {photo.name: [[0, 0, 1, 1]]}}))
    (folder / "out").mkdir()
    np.save(folder / "counts.npy", np.ones((24, 3), int))
    return {
        "NET": str(folder / "net.h5"),
        "DATA": data,
        "PHOTO": str(photo),
        "BOXES": str(folder / "boxes.json"),
        "COUNTS": str(folder / "counts.npy"),
        "OUT": str(folder / "out"),
    }


def test_every_command_is_among_them() -> None:
    assert {call.split()[0] for call in CALLS} == set(COMMANDS) - {"__main__"}


@pytest.mark.parametrize(("call", "flag", "values", "count"), numeric_flags())
def test_a_number_out_of_bounds_is_one_sentence(
    call: str, flag: str, values: list[str], count: int, made: dict[str, str], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for work in ("family.measure_family", "infer.measure_case", "halting.measure_halting",
                 "train.measure_steps"):  # fmt: skip
        monkeypatch.setattr(f"sact_core.benchmark.{work}", lambda *_, **__: pytest.fail("begun"))
    argv = training_flags("DATA", tmp_path / "run") if call == "train" else CALLS[call]
    for name, path in made.items():
        argv = [word.replace(name, path) for word in argv]
    name = flag.strip("-")
    for value in values:
        more = [f"{flag}={value}"] if count == 1 else [flag, *[value] * count]
        try:
            code = module_of(call).main([*call.split()[1:], *argv, *more])
        except SystemExit as ended:  # as argparse refuses
            code = ended.code
        said = capsys.readouterr()
        assert (code, said.out, said.err.count("error: ")) == (2, "", 1), (value[:9], said)
        sentence = said.err[said.err.index("error: ") :]
        assert sentence.count("\n") == 1
        assert name in sentence or name.replace("-", "_") in sentence, sentence
        assert len(sentence) < 300
        assert not (tmp_path / "run").exists()
