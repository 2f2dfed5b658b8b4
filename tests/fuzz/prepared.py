"""Data sets that TFDS prepared: damaged shards and descriptions, and records that are strange."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from sact_core import checkpoint as checkpoints
from tests.fuzz.kinds import Case, Kind, called, networks
from tests.fuzz.mutation import EDGES, Rng, change_json, damage, json_bytes, pick

FORMATS = ("tfrecord", "array_record")


class Prepared(Kind):
    """Data sets in either format, through ``evaluate``."""

    cost = 2

    def __init__(self, good: Path) -> None:
        super().__init__(good)
        from tests.test_prepared import write_data_set

        checkpoints.write(good / "it.h5", networks()[1])
        self.files = {}
        for name in FORMATS:
            folder = write_data_set(good / name, name)
            self.files[name] = {path.name: path.read_bytes() for path in folder.iterdir()}

    def make(self, rng: Rng, folder: Path) -> Case:
        files = dict(self.files[str(pick(rng, FORMATS))])
        where = folder / "grey_squares" / "1.0.0"
        where.mkdir(parents=True)
        name = str(pick(rng, sorted(files)))
        if name.endswith(".json") and rng.random() < 0.8:
            files[name] = json_bytes(rng, change_json(rng, json.loads(files[name])))
        elif "tfrecord" in name and rng.random() < 0.6:
            files[name] = strange_records(rng)
        elif rng.random() < 0.1:
            del files[name]
        else:
            files[name] = damage(rng, files[name], head=int(pick(rng, (0, 16, 64))))
        for each, data in files.items():
            (where / each).write_bytes(data)
        split = str(pick(rng, ("test", "train", "train[:3]", "test[50%:]")))
        argv = ["--dataset", "grey_squares", "--data-dir", folder, "--split", split]
        argv += ["--checkpoint", self.good / "it.h5", "--backend", "reference"]
        case = called("evaluate", argv)
        return Case(f"{name}: {case.shown}", case.run)


def strange_records(rng: Rng) -> bytes:
    """A file of records with the right checksums, of damaged examples or another length."""
    from tests.test_prepared import square, tfrecord

    examples = [square(i) for i in range(int(pick(rng, (0, 2, 3, 5))))] or [b""]
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(examples)))
        examples[at] = damage(rng, examples[at], head=int(pick(rng, (0, 30))), most=3)
    data = tfrecord(examples)
    if rng.random() < 0.3:
        data = struct.pack("<Q", int(pick(rng, EDGES)) & ((1 << 64) - 1)) + data[8:]
    return data
