"""What a command line of ``python -m sact_core.train`` asks for: flags, and the recipe."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from sact_core.config import HALTING_KINDS, NetworkConfig, parse_units
from sact_core.families import FAMILIES
from sact_core.train.recipes import (
    AMP_CHOICES,
    BORDERS,
    CROPS,
    PRESET_FAMILIES,
    PRESETS,
    SCHEDULES,
    TrainingConfig,
    preset,
)


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
    about = "; ".join(f"{name}: {family.about}" for name, family in FAMILIES.items())
    net.add_argument("--family", choices=FAMILIES, help=about)
    net.add_argument("--halting", choices=HALTING_KINDS, help="none (vanilla), act or sact")
    net.add_argument("--units", help="units per block: 5, 1_2_3, or 101, 3_4_6_3 (imagenet)")
    net.add_argument("--base-channels", type=int, help="width of the first block")
    net.add_argument(
        "--sact-kernel-size", type=int, choices=(1, 3), help="of the halting convolutions"
    )
    net.add_argument("--halting-bias", type=float, help="initial bias of the halting logits")
    net.add_argument("--eps", type=float, help="halting slack")
    data = parser.add_argument_group("data")
    data.add_argument("--dataset", help="TFDS name, or a folder of class folders")
    data.add_argument("--train-split", help="to learn from, as TFDS writes it")
    data.add_argument("--eval-split", help="to be tested on, as TFDS writes it")
    data.add_argument(
        "--holdout",
        type=float,
        help="share of each class to evaluate on, of a folder without splits (default: 0.2)",
    )
    data.add_argument("--data-dir", default=None, help="where TFDS keeps its data")
    data.add_argument("--image-size", type=int, help="side of the input, in pixels")
    data.add_argument("--num-train-examples", type=int, help="the first N only, for trials")
    data.add_argument("--crop", choices=CROPS, help="padded (CIFAR), or resized (photographs)")
    data.add_argument("--crop-padding", type=int, help="border of padded crops, in pixels")
    data.add_argument("--crop-border", choices=BORDERS, help="what that border is filled with")
    data.add_argument("--min-area", type=float, help="least share of a photograph in a crop")
    data.add_argument("--colour", type=float, help="strength of changes of colour; 0: none")
    data.add_argument("--no-flip", dest="flip", action="store_false", help="mirror no images")
    data.add_argument("--cutout", type=int, help="side of the square blanked in every image")
    data.add_argument(
        "--data-workers", type=int, default=None, help="threads that decode photographs"
    )
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument(
        "--tau",
        type=float,
        help="price of a unit; with --tau-range, the one to evaluate at (default: its middle)",
    )
    recipe.add_argument(
        "--tau-range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="train one network for every tau in between, told each image's own",
    )
    recipe.add_argument("--epochs", type=float, help="passes over the training images")
    recipe.add_argument("--max-steps", type=int, help="steps to take, in place of --epochs")
    recipe.add_argument("--batch-size", type=int, help="images of a step, over all processes")
    recipe.add_argument("--schedule", choices=SCHEDULES, help="of the learning rate")
    recipe.add_argument("--learning-rate", type=float, help="the highest of the schedule")
    recipe.add_argument("--warmup", type=float, help="share of the steps going up")
    recipe.add_argument("--momentum", type=float, help="of SGD")
    recipe.add_argument(
        "--nesterov", action=argparse.BooleanOptionalAction, help="look ahead by the momentum"
    )
    recipe.add_argument("--l2", type=float, help="weight of the L2 penalty (not of normalisations)")
    recipe.add_argument("--halting-lr", type=float, help="factor for the halting branches")
    recipe.add_argument("--label-smoothing", type=float, help="share spread over all classes")
    recipe.add_argument(
        "--distill-from", help="checkpoint of a teacher, whose soft labels are learnt too"
    )
    recipe.add_argument("--distill-weight", type=float, help="share of the teacher in the loss")
    recipe.add_argument(
        "--distill-temperature", type=float, help="both softmaxes are softened by it"
    )
    recipe.add_argument("--finetune-from", help="checkpoint to start from, halting branches new")
    recipe.add_argument(
        "--finetune-halting", action="store_true", help="take its halting branches too"
    )
    recipe.add_argument(
        "--finetune-first-units",
        action="store_true",
        help="it is deeper: take the first units of each block",
    )
    recipe.add_argument("--seed", type=int, help="of weights, order, augmentation and taus")
    run = parser.add_argument_group("run")
    run.add_argument("--eval-every", type=int, help="epochs between evaluations; 0: never")
    run.add_argument("--amp", choices=AMP_CHOICES, help="auto: bf16 where it is faster")
    run.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, help="with torch.compile, for GPUs"
    )
    run.add_argument("--device", default=None, help="cpu or cuda (default: cuda when there)")
    run.add_argument("--num-threads", type=int, default=None, help="of PyTorch, on a CPU")
    run.add_argument("--run-dir", default=None, help="default: runs/<name>")
    run.add_argument("--resume", action="store_true", default=False, help="go on with a run")
    return parser


def parse_config(args: argparse.Namespace) -> tuple[TrainingConfig, str]:
    """Make the recipe of a command line, and give its choice of ``--amp``.

    Raises
    ------
    ValueError
        If a flag makes no sense; one sentence.
    """
    from sact_core.data.splits import splits_of
    from sact_core.train.start import left_open

    given = vars(args)
    values: dict[str, Any] = preset(args.preset)
    if "finetune_from" in given:
        given = left_open(given) | given
    if "epochs" in given:
        values.pop("max_steps", None)  # the preset's: the user asks for epochs
    family = given.get("family", PRESET_FAMILIES.get(args.preset, NetworkConfig.family))
    facts = FAMILIES[family]
    values = {**facts.training, **values}
    if facts.photographs and given.get("crop") == "padded":
        values |= {"image_size": None, "colour": 0.0}
    if "train_split" not in given and "eval_split" not in given:
        splits = splits_of(given.get("dataset", TrainingConfig.dataset), given.get("holdout"))
        if splits is not None:
            values["train_split"], values["eval_split"] = splits
    elif "holdout" in given:
        raise ValueError("--holdout names both splits: leave out --train-split and --eval-split")
    names = {field.name for field in dataclasses.fields(TrainingConfig)}
    values |= {k: v for k, v in given.items() if k in names}
    amp = values.pop("amp", "off")
    network: dict[str, Any] = {"family": family, "base_channels": facts.usual_channels} | {
        k: given[k]
        for k in ("halting", "base_channels", "sact_kernel_size", "halting_bias", "eps")
        if k in given
    }
    if "tau_range" in given:
        network["tau_conditioned"] = True
        network["tau_low"], network["tau_high"] = given["tau_range"]
        network["tau_default"] = given.get("tau")
    units = given.get("units", str(facts.usual_depth))
    config = NetworkConfig(**network, units_per_block=parse_units(units, family))
    return TrainingConfig(**values, network=config), amp


def run_name(config: TrainingConfig) -> str:
    """Name a run after what it trains, such as ``cifar10_resnet32_sact_tau0.005``."""
    network = config.network
    name = network.name.lower().replace("-", "").replace(" ", "_")
    fixed = network.halts and not network.tau_conditioned
    tau = f"_tau{config.tau:g}" if fixed else ""
    return f"{Path(config.dataset).name}_{name}{tau}"
