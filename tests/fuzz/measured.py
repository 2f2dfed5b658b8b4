"""What was measured, as commands read it: curves, people's answers, results of a benchmark."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from sact_core import checkpoint as checkpoints
from tests.fuzz.kinds import Case, Kind, called, networks, photograph
from tests.fuzz.mutation import Rng, change_json, damage, edge_in_place, json_bytes, pick


class Curves(Kind):
    """What ``evaluate --taus … --json`` printed, through ``figure curve``."""

    cost = 2

    def __init__(self, good: Path) -> None:
        super().__init__(good)
        one = networks()[0]
        checkpoints.write(good / "net.h5", one)
        row = {"eval/Accuracy": 0.5, "Total Flops/mean": 1e6, "Total Flops/std": 9.0, "count": 9}
        self.record = {
            "network": "cifar-resnet-14", "content_hash": checkpoints.content_hash(one),
            "dataset": "cifar10", "split": "test", "image_size": 32,
            "rows": [{"tau": 0.1**i, **row, "Total Flops/mean": 1e6 + i} for i in range(3)],
        }  # fmt: skip

    def make(self, rng: Rng, folder: Path) -> Case:
        beside = rng.random() < 0.3
        path = folder / ("net.curve.json" if beside else "it.json")
        path.write_bytes(json_bytes(rng, change_json(rng, self.record)))
        if beside:
            (folder / "net.h5").symlink_to(self.good / "net.h5")
        ending = pick(rng, ("csv", "tex", "md", "svg"))
        given = folder / "net.h5" if beside else path
        return called("figure", ["curve", given, "--out", folder / f"out.{ending}"])


class Answers(Kind):
    """Files of people's answers, through ``doubt``."""

    cost = 2

    def __init__(self, good: Path) -> None:
        super().__init__(good)
        checkpoints.write(good / "net.h5", networks()[1])
        for i in range(6):
            (good / "photos" / "abc"[i % 3]).mkdir(parents=True, exist_ok=True)
            photograph(good / "photos" / "abc"[i % 3] / f"{2 * (i % 3) + i // 3}.png", 8 + i)
        self.counts = np.eye(3)[[0, 0, 1, 1, 2, 2]] * 40 + np.arange(3)

    def make(self, rng: Rng, folder: Path) -> Case:
        kind = str(pick(rng, ("<i8", ">i4", "<f4", ">f8", "u1", "<f2", "?", "<c8", "S3", "<U2")))
        counts = self.counts.copy()
        if rng.random() < 0.4:
            at = tuple(int(rng.integers(side)) for side in counts.shape)
            counts[at] = pick(rng, (0, -1, 1e300, math.nan, math.inf, -math.inf, 1e-320))
        if rng.random() < 0.2:
            counts = pick(rng, (counts.T, counts[:0], counts[0], counts[..., None], counts * 0))
        with np.errstate(all="ignore"):
            np.save(folder / "it.npy", counts.astype(kind))
        data = (folder / "it.npy").read_bytes()
        if rng.random() < 0.2:
            data = edge_in_place(rng, data, [118, 1])
        if rng.random() < 0.6:
            data = damage(rng, data, head=int(pick(rng, (0, 12, 128))))
        (folder / "it.npy").write_bytes(data)
        argv: list[Any] = ["--checkpoint", self.good / "net.h5", "--backend", "reference"]
        argv += ["--dataset", self.good / "photos", "--split", "all", "--resamples", "10"]
        return called("doubt", [*argv, "--labels", folder / "it.npy"])


class Results(Kind):
    """Results of an earlier ``benchmark infer``, as ``--against`` and ``report`` read them."""

    def __init__(self, good: Path) -> None:
        super().__init__(good)
        from sact_core.benchmark.machine import machine
        from tests.test_benchmark_against import measured

        rows = [measured(4.0), measured(3.0, ratio=0.3)]
        self.record = json.loads(json.dumps({"machine": machine(), "rows": rows}))

    def make(self, rng: Rng, folder: Path) -> Case:
        from sact_core.benchmark.against import read_earlier

        if rng.random() < 0.5:
            (folder / "benchmarks").mkdir()
            path = folder / "benchmarks" / "infer-it.json"
            path.write_bytes(json_bytes(rng, change_json(rng, self.record)))
            return called("benchmark", ["report", "--out", folder / "benchmarks"])
        path = folder / "infer-it.json"
        path.write_bytes(json_bytes(rng, change_json(rng, self.record)))
        wanted = {(row["case"], row["threads"], row["ratio"]) for row in self.record["rows"]}

        def run() -> int:
            try:
                read_earlier(path, self.record["machine"], wanted, ["masked", "vanilla"])
            except (ValueError, OSError) as error:
                print(f"error: {error}")
                return 2
            return 0

        return Case("read_earlier", run)
