"""What a command line of ``python -m sact_core.train`` asks for: flags, and the recipe."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sact_core.config import NetworkConfig, parse_units
from sact_core.families import FAMILIES
from sact_core.settings import Setting, add_setting, settings
from sact_core.train.presets import PRESET_FAMILIES, PRESET_NETWORKS, PRESETS, preset
from sact_core.train.recipes import AMP_CHOICES, SIZE_STEP, TrainingConfig

#: Settings of a network that a flag, or the network to start from, decides.
HALTING_FLAGS = (
    *("halting", "base_channels", "sact_kernel_size", "halting_bias", "eps", "block_output"),
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
    net.add_argument(
        "--units",
        help="units per block: 5, 1_2_3, or 101, 3_4_6_3 (imagenet), or 1 for Lite1 (mobile)",
    )
    for each in settings(NetworkConfig).values():
        if each.group == "network":
            add_setting(net, each, _defaults(each))
    for name in ("data", "recipe", "run"):
        group = parser.add_argument_group(name)
        for each in settings(TrainingConfig).values():
            if each.group == name:
                choices = AMP_CHOICES if each.name == "amp" else None
                add_setting(group, each, _defaults(each), choices)
                _add_beside(group, each.name)
    group.add_argument("--device", default=None, help="cpu or cuda (default: cuda when there)")
    group.add_argument("--num-threads", type=int, default=None, help="of PyTorch, on a CPU")
    group.add_argument("--run-dir", default=None, help="default: runs/<name>")
    group.add_argument("--resume", action="store_true", default=False, help="go on with a run")
    return parser


def _add_beside(group: argparse._ArgumentGroup, name: str) -> None:
    """Add what is no setting of a recipe beside the setting that it has to do with."""
    if name == "labels":
        text = settings(TrainingConfig)["dataset"].help
        group.add_argument(
            "--dataset",
            nargs="+",
            help=f"{text} (default: cifar10)",
        )
    elif name == "image_size":
        group.add_argument(
            "--sizes",
            type=int,
            nargs=2,
            metavar=("LOW", "HIGH"),
            help=f"images of one size at each step, drawn anew from LOW to HIGH in steps of "
            f"{SIZE_STEP} pixels, as many of them as cost what --batch-size of --image-size do"
            + _differing("size_low", "size_high"),
        )
    elif name == "eval_split":
        group.add_argument(
            "--holdout",
            type=float,
            help="share of each class to evaluate on, of a folder without splits (default: 0.2), "
            "or of each data set where labels are none (default: 0.05)",
        )
        group.add_argument("--data-dir", default=None, help="where TFDS keeps its data")
    elif name == "cutout":
        group.add_argument(
            "--data-workers", type=int, default=None, help="threads that decode photographs"
        )
    elif name == "tau":
        group.add_argument(
            "--tau-range",
            type=float,
            nargs=2,
            metavar=("LOW", "HIGH"),
            help="train one network for every tau in between, told each image's own, and "
            "evaluate it at --tau (default: the middle)",
        )


def _differing(*names: str) -> str:
    """Say which presets set what several settings make up."""
    found = [
        f"{name}: {' '.join(_written(values[each]) for each in names)}"
        for name, values in PRESETS.items()
        if names[0] in values
    ]
    return f" ({', '.join(found)})" if found else ""


def _defaults(each: Setting) -> str:
    """Say what holds where a flag is left out: whatever the recipe, and in recipes that differ."""
    found = {} if each.default in (None, "") else {"default": each.default}
    families = (
        (name, {**facts.training, "base_channels": facts.usual_channels})
        for name, facts in FAMILIES.items()
    )
    presets = ((name, values | PRESET_NETWORKS.get(name, {})) for name, values in PRESETS.items())
    others: list[tuple[str, Mapping[str, Any]]] = [*presets, *families]
    found |= {
        name: values[each.name]
        for name, values in others
        if values.get(each.name, each.default) != each.default
    }
    return ", ".join(f"{name}: {_written(value)}" for name, value in found.items())


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def parse_config(args: argparse.Namespace) -> tuple[TrainingConfig, str]:
    """Make the recipe of a command line, and give its choice of ``--amp``.

    Raises
    ------
    ValueError
        If a flag makes no sense; one sentence.
    """
    from sact_core.data.splits import splits_of
    from sact_core.data.unlabelled import HOLDOUT, JOINT, unlabelled_splits
    from sact_core.train.start import left_open

    given = dict(vars(args))
    if "dataset" in given:
        given["dataset"] = JOINT.join(given["dataset"])
    if "sizes" in given:
        given["size_low"], given["size_high"] = given["sizes"]
    values: dict[str, Any] = preset(args.preset)
    given = PRESET_NETWORKS.get(args.preset, {}) | given
    if given.get("finetune_from") or given.get("grow_from"):
        given = left_open(given) | given
    if "epochs" in given:
        values.pop("max_steps", None)  # the preset's: the user asks for epochs
    family = given.get("family", PRESET_FAMILIES.get(args.preset, NetworkConfig.family))
    facts = FAMILIES[family]
    values = {**facts.training, **values}
    if facts.photographs and given.get("crop") == "padded":
        values |= {"image_size": None, "colour": 0.0}
        values |= {"size_low": None, "size_high": None, "mixup": 0.0}
    if given.get("labels") == "none":
        values |= {"distill_weight": 1.0, "label_smoothing": 0.0}
        share = given.get("holdout", HOLDOUT)
        values["train_split"], values["eval_split"] = unlabelled_splits(share)
    elif "train_split" not in given and "eval_split" not in given:
        splits = splits_of(given.get("dataset", TrainingConfig.dataset), given.get("holdout"))
        if splits is not None:
            values["train_split"], values["eval_split"] = splits
    if "holdout" in given and ("train_split" in given or "eval_split" in given):
        raise ValueError("--holdout names both splits: leave out --train-split and --eval-split")
    names = {field.name for field in dataclasses.fields(TrainingConfig)}
    values |= {k: v for k, v in given.items() if k in names}
    amp = values.pop("amp", "off")
    network: dict[str, Any] = {"family": family, "base_channels": facts.usual_channels} | {
        k: given[k] for k in HALTING_FLAGS if k in given
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
