"""Evaluate each new checkpoint of a run while it trains.

What is found goes to ``watch.jsonl`` in the run's folder, where it completes the
run's own metrics, and to TensorBoard as ``watch``.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

from sact_core.commands import origin
from sact_core.data.records import Unreadable
from sact_core.evaluate.run import prepare_job
from sact_core.extras import need
from sact_core.measures.metrics import rights

POLL_SECONDS = 2.0


def watch(args: argparse.Namespace) -> None:
    """Evaluate each new checkpoint of a run until it has taken its last step.

    Raises
    ------
    ValueError, OSError
        As `evaluate`; if there is no such folder or it cannot be written to.
    """
    need("train", "--watch, which writes for TensorBoard,", "google_crc32c")
    from sact_core.checkpoint import content_hash, read
    from sact_core.processes import Processes
    from sact_core.train.events import EventWriter
    from sact_core.train.run_dir import RunDir, read_rows

    folder = Path(args.watch)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: name the --run-dir of a training run")
    rows = read_rows(folder / "watch.jsonl")
    (folder / "watch").mkdir(exist_ok=True)
    events = EventWriter(folder / "watch", rows[-1]["step"] + 1 if rows else 0)
    file, seen = folder / "last.h5", None
    while True:
        stamp = (file.stat().st_mtime_ns, file.stat().st_ino) if file.exists() else None
        if stamp == seen:
            time.sleep(POLL_SECONDS)
            continue
        seen = stamp
        checkpoint = read(file)
        record = checkpoint.provenance
        step = record.get("steps")
        if not isinstance(step, int):
            raise ValueError(f"{file} does not say how far its training is")
        if not any(row.get("step") == step for row in rows):
            job = prepare_job(checkpoint, args, Processes())
            metrics = job.run(Processes())
            found = metrics.summary()
            about: dict[str, Any] = {
                "dataset": job.source.name,
                "split": job.source.split,
                "count": metrics.count,
                "backend": args.backend,
                "tau": metrics.tau if job.net.config.halts else None,
                **origin(job.net, content_hash(checkpoint), args.command),
            }
            if left_out := Unreadable(metrics.left_out):
                about["skipped"] = left_out.record()
            rows.append({"epoch": record.get("epochs"), "step": step} | found | about)
            RunDir(folder).write_metrics(rows, "watch.jsonl")
            events.write(step, found)
            if args.json:
                print(json.dumps(rows[-1]), flush=True)
            else:
                print(_line(rows[-1]), flush=True)
                if left_out:
                    print(left_out.line(job.num_examples), flush=True)
        if step >= record.get("steps_planned", math.inf):
            return


def _line(row: dict[str, Any]) -> str:
    units = " / ".join(f"{v:.2f}" for k, v in row.items() if k.endswith("num_units_mean"))
    told, key = next(iter(rights(row).items()))
    loss = f", loss {row['eval/Mean Loss']:.4f}" if "eval/Mean Loss" in row else ""
    return (
        f"epoch {row['epoch']}, step {row['step']}: {told} {row[key]:.2%}{loss}, "
        f"{row['Total Flops/mean'] / 1e6:.1f} MFLOPs"
        + (f", units {units}" if units else "")
        + f" ({row['count']:,} images of {row['split']})"
    )
