"""Train a network.

::

    python -m sact_core.train --preset fast                                # vanilla ResNet-32
    python -m sact_core.train --preset finetune --halting sact --tau 0.005 \\
        --finetune-from runs/vanilla/last.h5
    python -m sact_core.train --preset finetune --dataset ~/photos --finetune-halting \\
        --finetune-from pretrained/NAME.h5                                 # your own classes
    python -m sact_core.train --preset authors --halting act --units 18 --tau 0.001
    python -m sact_core.train --preset finetune --halting sact --tau-range 0.002 0.2 \\
        --finetune-from runs/vanilla/last.h5           # one network for every tau
    python -m sact_core.train --preset photographs --dataset caltech101 --units 50 \\
        --image-size 128                                                   # ImageNet family
    python -m sact_core.train --preset teach --halting sact --tau-range 0.01 0.6 \\
        --finetune-from NAME.h5 --distill-from NAME.h5 --labels none \\
        --dataset caltech101 ~/photos                  # halting for a network that is trained
    torchrun --nproc-per-node=2 --local-addr=127.0.0.1 -m sact_core.train …    # two processes
    python -m sact_core.train … --resume                                   # go on

``--finetune-from FILE`` starts from a checkpoint, whose network and image size hold
unless flags say otherwise; for other classes, the classifier is drawn anew. Of a
folder of class folders without splits, a share of every class is held out.

With the ImageNet family, images may have any size: every step decodes random parts
of them. CIFAR's are decoded once.

``--grow-from FILE`` starts from a network of the same kind with fewer units, whose
function it keeps.

``--batch-size`` counts the images of a step over all processes: two processes
with 128 take 64 each and follow the loss curve of one with 128.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sact_core import rendezvous
from sact_core.commands import at_least_one, parse, run
from sact_core.extras import need
from sact_core.processes import Processes, Stopped
from sact_core.resources import cores
from sact_core.train.options import build_parser, parse_config, run_name
from sact_core.train.recipes import TrainingConfig, config_to_dict

if TYPE_CHECKING:
    from sact_core.data.source import Examples, Source
    from sact_core.train.run_dir import RunDir


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parse(build_parser(), argv)
    processes = Processes.from_environment()
    return run(
        lambda: _train(args, argv, processes),
        stopped="stopped before anything new was kept",
        who=processes.who,
    )


def _train(args: argparse.Namespace, argv: list[str], processes: Processes) -> int:
    config, amp = parse_config(args)
    need("train", "training")
    run_dir, config, load = _prepare(args, config, amp, processes, processes.command("train", argv))
    from sact_core.train.loop import Diverged, Interrupted, Trainer
    from sact_core.train.report import Bar

    say: Callable[[str], None] = _print if processes.is_first else lambda text: None
    try:
        train, test = load()
        device = _device(args)
        processes.start(device)
        config = _same_everywhere(config, processes, (train, test))
        trainer = Trainer(
            config,
            train,
            test,
            run_dir,
            device,
            processes,
            args.resume,
            say,
            processes.command("train", argv),
            _data_workers(args, processes),
        )
        if trainer.resumed:
            say(f"going on from step {trainer.global_step} of {trainer.num_steps}")
        say(
            f"{config.network.name}: {trainer.feed.num_train} images, {trainer.num_steps} steps, "
            f"{trainer.dense_flops / 1e6:.1f} MFLOPs when every unit runs, "
            f"{'bfloat16' if config.amp == 'bf16' else 'float32'}; in {run_dir.path}"
        )
        labelled = trainer.config.labels != "none"
        bar = Bar(
            trainer.num_steps,
            trainer.steps_per_epoch,
            trainer.global_step,
            labelled=labelled,
        )
        try:
            row = trainer.run(bar if processes.is_first else None)
        finally:
            bar.close()
    except Interrupted:
        again = argv if "--resume" in argv else [*argv, "--resume"]
        say(f"stopped and saved; go on with: {processes.command('train', again)}")
        return 130
    except Diverged:
        kept = "the last good state is kept" if run_dir.has_state else "no state was kept yet"
        say(
            f"the loss is no longer finite at step {trainer.global_step + 1}; {kept} in "
            f"{run_dir.path}. Start again with a lower --learning-rate."
        )
        return 1
    except RuntimeError as error:
        if processes.world > 1 and rendezvous.is_lost(error):
            raise Stopped("another process has stopped") from None
        raise
    finally:
        processes.end()
        run_dir.close()
    for line in trainer.feed.skipped():
        say(line)
    say(f"done: {trainer.summary(row)}; {run_dir.path / 'last.h5'}")
    return 0


def _prepare(
    args: argparse.Namespace,
    config: TrainingConfig,
    amp: str,
    processes: Processes,
    command: str,
) -> tuple[RunDir, TrainingConfig, Callable[[], tuple[Examples | Source, Examples | Source]]]:
    """Check everything that needs no images, and start the run directory.

    Returns it, the whole recipe, and what decodes the images or gives them to decode.
    """
    from sact_core.data.source import load_source
    from sact_core.train.memory import require_memory
    from sact_core.train.run_dir import RunDir
    from sact_core.train.sets import open_sets
    from sact_core.train.sizes import count_images, sides
    from sact_core.train.start import (
        require_compiler,
        resolve_amp,
        training_preprocessing,
        use_threads,
    )

    at_least_one(args, "num_threads", "data_workers")
    if config.batch_size % processes.world or config.batch_size < 2 * processes.world:
        raise ValueError(
            f"a batch of {config.batch_size} images cannot be shared by {processes.world} "
            f"processes: each needs the same number, at least 2"
        )
    sets = open_sets(config, args.data_dir)
    train, test = sets.train, sets.test
    num_train = min(config.num_train_examples or len(train), len(train))
    largest = max((count_images(config, side) for side in sides(config)), default=0)
    largest = max(largest, config.batch_size)
    if num_train < largest:
        raise ValueError(
            f"a batch of {largest} is larger than the {num_train} training images: "
            f"give a smaller --batch-size"
        )
    run_dir = RunDir(args.run_dir or Path("runs") / run_name(config))
    recorded = run_dir.recorded() if args.resume else None
    device = _device(args)
    config = dataclasses.replace(
        config,
        network=dataclasses.replace(config.network, num_classes=sets.num_classes),
        amp=resolve_amp(amp, device, recorded),
    )
    if device.startswith("cpu"):
        require_memory(config, train, test, processes)
    use_threads(args.num_threads, processes)
    if config.compile:
        require_compiler(device)
    if processes.is_first:
        images = {source.split: _which(source) for source in (train, test)}
        run_dir.start(config, command, args.resume, images)
    if config.crop == "resized":
        return run_dir, config, lambda: (train, test)
    fit = None
    if config.image_size is not None:
        fit = training_preprocessing(config, config.image_size)
    return (
        run_dir,
        config,
        lambda: (load_source(train, config.num_train_examples, fit), load_source(test, None, fit)),
    )


def _same_everywhere(
    config: TrainingConfig, processes: Processes, sets: tuple[Examples | Source, Examples | Source]
) -> TrainingConfig:
    """Refuse processes that would train something else; the first one's number format holds.

    Machines may see different files under the same names, and multiply differently.
    """
    places = (
        "dataset",
        "finetune_from",
        "distill_from",
        "distill_also",
        "grow_from",
    )  # each has its own
    mine = {
        "recipe": {k: v for k, v in config_to_dict(config).items() if k not in places},
        "images": [len(each) for each in sets],
        "classes": [list(each.class_names) for each in sets],
    }
    first, *others = processes.gather(mine)
    amp = first["recipe"]["amp"]
    for rank, theirs in enumerate(others, 1):
        theirs["recipe"]["amp"] = amp
        differing = [name for name in mine if first[name] != theirs[name]]
        if differing:
            raise ValueError(
                f"the {' and the '.join(differing)} of process {rank} are not those of the first: "
                f"give every machine the same command, data set and files"
            )
    return dataclasses.replace(config, amp=amp)


def _which(source: Source) -> dict[str, Any]:
    """What tells the images of a split from others, wherever they lie."""
    return {"size": len(source)} | ({"digest": source.digest} if source.digest else {})


def _data_workers(args: argparse.Namespace, processes: Processes) -> int:
    """Threads that decode: as asked, or this process' share of the processor's."""
    if args.data_workers is not None:
        return int(args.data_workers)
    return processes.num_threads() or cores()


def _device(args: argparse.Namespace) -> str:
    import torch

    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"device {device!r} is not to be had: {reason}") from None
    return device


def _print(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
