"""Train a network.

::

    python -m sact_core.train --preset fast                                # vanilla ResNet-32
    python -m sact_core.train --preset finetune --halting sact --tau 0.005 \\
        --finetune-from runs/vanilla/last.h5
    python -m sact_core.train --preset authors --halting act --units 18 --tau 0.001
    torchrun --nproc-per-node=2 -m sact_core.train --preset fast           # two processes
    python -m sact_core.train … --resume                                   # go on
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sact_core.config import FAMILIES, HALTING_KINDS, NetworkConfig, parse_units
from sact_core.train.recipes import AMP, PRESETS, SCHEDULES, TrainingConfig, preset


def build_parser() -> argparse.ArgumentParser:
    """Describe the command."""
    parser = argparse.ArgumentParser(
        prog="python -m sact_core.train",
        description="Train a network; every flag overrides the preset.",
        argument_default=argparse.SUPPRESS,
    )
    add = parser.add_argument
    add("--preset", default="authors", help=f"recipe: {', '.join(PRESETS)} (default: authors)")
    net = parser.add_argument_group("network")
    net.add_argument("--family", choices=FAMILIES)
    net.add_argument("--halting", choices=HALTING_KINDS, help="none (vanilla), act or sact")
    net.add_argument("--units", help="units per block: 5, 1_2_3, or 101, 3_4_6_3 (imagenet)")
    net.add_argument("--base-channels", type=int)
    net.add_argument("--sact-kernel-size", type=int, choices=(1, 3))
    net.add_argument("--halting-bias", type=float, help="initial bias of the halting logits")
    net.add_argument("--eps", type=float, help="halting slack")
    data = parser.add_argument_group("data")
    data.add_argument("--dataset", help="TFDS name, or a folder of class folders")
    data.add_argument("--train-split")
    data.add_argument("--eval-split")
    data.add_argument("--data-dir", default=None, help="where TFDS keeps its data")
    data.add_argument("--image-size", type=int, default=None, help="crop and resize to this side")
    data.add_argument("--num-train-examples", type=int, help="the first N only, for trials")
    data.add_argument("--crop-padding", type=int)
    data.add_argument("--no-flip", dest="flip", action="store_false")
    data.add_argument("--cutout", type=int, help="side of the square blanked in every image")
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument("--tau", type=float, help="price of a unit")
    recipe.add_argument("--epochs", type=float)
    recipe.add_argument("--max-steps", type=int)
    recipe.add_argument("--batch-size", type=int, help="images of a step, over all processes")
    recipe.add_argument("--schedule", choices=SCHEDULES)
    recipe.add_argument("--learning-rate", type=float)
    recipe.add_argument("--warmup", type=float, help="share of the steps going up")
    recipe.add_argument("--momentum", type=float)
    recipe.add_argument("--nesterov", action=argparse.BooleanOptionalAction)
    recipe.add_argument("--l2", type=float)
    recipe.add_argument("--halting-lr", type=float, help="factor for the halting branches")
    recipe.add_argument("--label-smoothing", type=float)
    recipe.add_argument("--distill-from", help="checkpoint of a teacher")
    recipe.add_argument("--distill-weight", type=float)
    recipe.add_argument("--distill-temperature", type=float)
    recipe.add_argument("--finetune-from", help="checkpoint to start from, halting branches new")
    recipe.add_argument("--seed", type=int)
    run = parser.add_argument_group("run")
    run.add_argument("--amp", choices=AMP)
    run.add_argument("--compile", action=argparse.BooleanOptionalAction)
    run.add_argument("--device", default=None, help="cpu or cuda (default: cuda when there)")
    run.add_argument("--num-threads", type=int, default=None)
    run.add_argument("--run-dir", default=None, help="default: runs/<name>")
    run.add_argument("--resume", action="store_true", default=False, help="go on with a run")
    return parser


def parse_config(args: argparse.Namespace) -> TrainingConfig:
    """Make the recipe of a command line.

    Raises
    ------
    ValueError
        If a flag makes no sense; one sentence.
    """
    values: dict[str, Any] = preset(args.preset)
    given = vars(args)
    names = {field.name for field in dataclasses.fields(TrainingConfig)}
    values |= {k: v for k, v in given.items() if k in names}
    network = {
        k: given[k]
        for k in ("family", "halting", "base_channels", "sact_kernel_size", "halting_bias", "eps")
        if k in given
    }
    family = network.get("family", "cifar")
    if family == "imagenet" and "base_channels" not in network:
        network["base_channels"] = 64
    units = given.get("units", "5" if family == "cifar" else "50")
    config = NetworkConfig(**network, units_per_block=parse_units(units, family))
    return TrainingConfig(**values, network=config)


def run_name(config: TrainingConfig) -> str:
    """Name a run after what it trains, such as ``cifar10_resnet32_sact_tau0.005``."""
    network = config.network
    name = network.name.lower().replace("-", "").replace(" ", "_")
    tau = "" if network.halting == "none" else f"_tau{config.tau:g}"
    return f"{Path(config.dataset).name}_{name}{tau}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = build_parser().parse_args(argv)
    command = shlex.join(["python", "-m", "sact_core.train", *argv])
    try:
        config = parse_config(args)
        return _train(config, args, command)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _train(config: TrainingConfig, args: argparse.Namespace, command: str) -> int:
    from sact_core.data import load_split
    from sact_core.train.run_dir import RunDir

    run_dir = RunDir(args.run_dir or Path("runs") / run_name(config))
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    say = _sayer(rank)
    sizes = (args.data_dir, None, args.image_size)
    test = load_split(config.dataset, config.eval_split, *sizes)
    train = load_split(
        config.dataset,
        config.train_split,
        args.data_dir,
        config.num_train_examples,
        args.image_size,
    )
    if len(train.class_names) != config.network.num_classes:
        network = dataclasses.replace(config.network, num_classes=len(train.class_names))
        config = dataclasses.replace(config, network=network)
    if len(train) < config.batch_size:
        raise ValueError(
            f"a batch of {config.batch_size} is larger than the {len(train)} training images"
        )
    if rank == 0:
        run_dir.start(config, command, args.resume)

    import torch

    from sact_core.train.loop import Diverged, Interrupted, Trainer

    if args.num_threads:
        torch.set_num_threads(args.num_threads)
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if world > 1:
        torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    trainer = Trainer(config, train, test, run_dir, device, rank, world, say, command)
    if args.resume and trainer.resume():
        say(f"going on from epoch {trainer.progress.epoch + 1}, step {trainer.progress.step}")
    say(
        f"{config.network.name}: {len(train)} images, {trainer.num_steps} steps, "
        f"{trainer.dense_flops / 1e6:.1f} MFLOPs when every unit runs; in {run_dir.path}"
    )
    resume = command if "--resume" in command else f"{command} --resume"
    try:
        row = trainer.run(_bars(trainer, say))
    except Interrupted:
        say(f"stopped and saved; go on with: {resume}")
        return 130
    except Diverged:
        say("the loss is no longer finite; the last good state is kept. Try a lower learning rate.")
        return 1
    finally:
        if world > 1:
            torch.distributed.destroy_process_group()
    say(f"done: {summary(row)}; {run_dir.path / 'last.h5'}")
    return 0


def summary(row: dict[str, Any]) -> str:
    """Say an epoch's metrics in one line."""
    units = " / ".join(f"{v:.2f}" for k, v in row.items() if k.endswith("num_units_mean"))
    return (
        f"epoch {row['epoch']}: train loss {row['train/Total Loss']:.4f}, "
        f"accuracy {row['train/Accuracy']:.2%}; test accuracy {row['eval/Accuracy']:.2%}, "
        f"{row['Total Flops/mean'] / 1e6:.1f} MFLOPs ({row['flops_share']:.1%} of dense)"
        + (f", units {units}" if units else "")
        + f"; {row['train/images_per_second']:.0f} images/s, "
        f"{row['train/share_waiting_for_data']:.1%} of it waiting for data"
    )


def _sayer(rank: int) -> Callable[[str], None]:
    def say(text: str) -> None:
        if rank == 0:
            print(text, flush=True)

    return say


def _bars(trainer: Any, say: Callable[[str], None]) -> Callable[[int, int], Any]:
    """Progress bars on a terminal; elsewhere one line an epoch."""
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    state: dict[str, Any] = {"rows": len(trainer.progress.rows)}

    def make(epoch: int, steps: int) -> Callable[[int, dict[str, float]], None]:
        for row in trainer.progress.rows[state["rows"] :]:
            say(f"{time.strftime('%H:%M:%S')} {summary(row)}")
        state["rows"] = len(trainer.progress.rows)
        total = -(-trainer.num_steps // trainer.steps_per_epoch)
        bar = tqdm(
            total=steps,
            initial=trainer.progress.step,
            desc=f"epoch {epoch + 1}/{total}",
            disable=not terminal,
            leave=False,
        )

        def show(step: int, running: dict[str, float]) -> None:
            bar.update(step - bar.n)
            if step % 10 == 0 or step == steps:
                bar.set_postfix_str(
                    f"{running['images/s']:.0f} images/s, loss {running['loss']:.3f}, accuracy "
                    f"{running['accuracy']:.1%}, FLOPs {running['flops']:.0%} of dense"
                )
            if step == steps:
                bar.close()

        return show

    return make


if __name__ == "__main__":
    raise SystemExit(main())
