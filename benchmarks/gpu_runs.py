"""One run of the family on one device: its flags for larger batches, and its figures."""

from __future__ import annotations

import dataclasses
import shlex
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import gpu_data
import torch
from gpu_steps import DeviceTrainer, Manner

from sact_core import commands
from sact_core.benchmark.machine import earlier_results, machine, results_path, software
from sact_core.benchmark.report import write_results
from sact_core.provenance import hardware
from sact_core.train.options import build_parser as training_parser
from sact_core.train.options import parse_config, run_name
from sact_core.train.run_dir import RunDir
from sact_core.train.start import resolve_amp

#: Flags that make every run a matter of seconds on a CPU; what comes of it knows nothing.
TINY = ("--base-channels", "4", "--num-train-examples", "64", "--max-steps", "4", "--amp", "off")
TINY_BATCH, TINY_TEST = 16, 100

#: A larger batch needs some steps to get going.
LEAST_WARMUP = 0.1

HOW = (
    "Whole runs, one after another, images and augmentation on the device; milliseconds are of a "
    "step in the median epoch, and not comparable between networks of different size."
)


def larger_batches(words: Sequence[str], batch_size: int, tiny: bool = False) -> list[str]:
    """Add to a run's flags what larger batches change of its recipe.

    The rate goes up in proportion to the batch, and is reached over a share of the steps;
    the network is evaluated at the end only.

    Source: Goyal et al. 2017, arXiv:1706.02677.

    Parameters
    ----------
    words : sequence of str
        Flags of ``python -m sact_core.train``.
    batch_size : int
        Images of a step.
    tiny : bool
        Make it a trial of a few small steps.
    """
    words = [*words, *(TINY if tiny else ())]
    batch_size = TINY_BATCH if tiny else batch_size
    config, _ = parse_config(commands.parse(training_parser(), words))
    rate = config.learning_rate * batch_size / config.batch_size
    words += ["--batch-size", str(batch_size), "--learning-rate", f"{rate:g}"]
    if config.schedule != "step":
        words += ["--warmup", f"{max(config.warmup, LEAST_WARMUP):g}"]
    return [*words, "--eval-every", str(max(int(-(-config.epochs // 1)), 1))]


def train_one(
    words: list[str],
    packed: gpu_data.Packed,
    device: str,
    manner: Manner,
    say: Callable[[str], None],
    tiny: bool = False,
) -> DeviceTrainer:
    """Train one run, or go on with it; give its trainer, which is at the end.

    Parameters
    ----------
    words : list of str
        Flags of ``python -m sact_core.train``.
    packed : Packed
        The images.
    device : str
        torch device.
    manner : Manner
        How, beyond the recipe.
    say : callable
        Told what happens, a line each.
    tiny : bool
        Evaluate on a few images only.

    Raises
    ------
    ValueError
        If the recipe makes no sense, or is for other images.
    Diverged, Interrupted
        As `sact_core.train.loop.Trainer.run`.
    """
    args = commands.parse(training_parser(), words)
    config, amp = parse_config(args)
    wanted = (config.dataset, config.train_split, config.eval_split)
    if wanted != (packed.dataset, *packed.splits):
        raise ValueError(
            f"the run is to train on {' '.join(wanted)}, but the parts that are stored are of "
            f"{' '.join((packed.dataset, *packed.splits))}"
        )
    train, test = packed.train, packed.test
    images = {each.split: {"size": len(each)} for each in (train, test)}
    count = min(config.num_train_examples or len(train), len(train))
    train = dataclasses.replace(train, images=train.images[:count], labels=train.labels[:count])
    if tiny:
        first = slice(TINY_TEST)
        test = dataclasses.replace(test, images=test.images[first], labels=test.labels[first])
    if count < config.batch_size:
        raise ValueError(
            f"a batch of {config.batch_size} is larger than the {count} training images"
        )
    run_dir = RunDir(args.run_dir or Path("runs") / run_name(config))
    network = dataclasses.replace(config.network, num_classes=len(train.class_names))
    amp = resolve_amp(amp, device, run_dir.recorded() if args.resume else None)
    config = dataclasses.replace(config, network=network, amp=amp)
    typed = [word for word in words if word != "--resume"]
    command = f"python benchmarks/gpu_family.py run {shlex.join(typed)} --device {device}"
    run_dir.start(config, command, args.resume, images)
    try:
        trainer = DeviceTrainer(
            config, train, test, run_dir, device, args.resume, say, command, manner
        )
        if trainer.resumed:
            say(f"going on from step {trainer.global_step} of {trainer.num_steps}")
        trainer.run()
    finally:
        run_dir.close()
    return trainer


class Results:
    """Speeds of finished runs, as the other measurements keep theirs.

    Parameters
    ----------
    out : Path
        Folder for them.
    device : str
        torch device.
    say : callable
        Told them.
    """

    def __init__(self, out: Path, device: str, say: Callable[[str], None]) -> None:
        self._say = say
        where = machine() | {"hardware": hardware(device)}
        self._path = results_path(out, "train-gpu", where)
        self._values = earlier_results(self._path, where) | {
            "network": "The CIFAR-10 family",
            "how": HOW,
        }

    def add(self, name: str, trainer: DeviceTrainer) -> None:
        """Keep the figures of a run that is over."""
        config, rows = trainer.config, trainer.progress.rows
        speed = statistics.median(row["train/images_per_second"] for row in rows)
        ms = 1e3 * config.batch_size / speed
        kept = [row for row in self._values["rows"] if row["side"] != name]
        first = next((row["ms"] for row in kept if row["side"].startswith("vanilla")), ms)
        found = {
            "amp": config.amp,
            "side": name,
            "batch_size": config.batch_size,
            "threads": torch.get_num_threads(),
            "ms": ms,
            "images_per_second": speed,
            "ratio": ms / first,
            "epochs": rows[-1]["epoch"],
            "seconds": trainer.progress.seconds,
            "accuracy": rows[-1]["eval/Accuracy"],
            "mflops": rows[-1]["Total Flops/mean"] / 1e6,
            "software": software(),
        }
        self._values["rows"] = [*kept, found]
        write_results(self._path, self._values)
        self._say(
            f"{name}: {speed:,.0f} images/s, {found['epochs']} epochs in {found['seconds']:.1f} s "
            f"of training, {found['accuracy']:.2%} at {found['mflops']:.1f} MFLOPs"
        )
