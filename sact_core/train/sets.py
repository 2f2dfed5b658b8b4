"""The images that a run trains and is tested on, opened, and the classes that it learns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sact_core.checkpoint import read_header
from sact_core.data.folders import EVALUATED
from sact_core.data.source import Source
from sact_core.data.splits import open_split, path_of
from sact_core.data.unlabelled import JOINT, names_of, open_unlabelled
from sact_core.data.walk import sub_folders
from sact_core.train.recipes import TrainingConfig


@dataclass(frozen=True)
class Sets:
    """What is opened: two splits, and how many classes there are."""

    train: Source
    test: Source
    num_classes: int


def open_sets(config: TrainingConfig, data_dir: str | Path | None) -> Sets:
    """Open both splits of a recipe without decoding them.

    Without labels, the classes are the teacher's.

    Parameters
    ----------
    config : TrainingConfig
        The recipe.
    data_dir : path, optional
        As in `sact_core.data.splits.open_split`.

    Raises
    ------
    ValueError
        If one is absent or cannot be read, their classes differ or are one alone; without
        labels, if the checkpoint to start from knows other classes than the teacher; if the
        maps of a teacher are to be matched and are of another kind.
    """
    if config.match_maps:
        _refuse_other_maps(config)
    splits = config.train_split, config.eval_split
    if config.labels == "none":
        header = read_header(config.distill_from)
        names, num_classes = tuple(header.class_names), header.config.num_classes
        start = config.finetune_from or config.grow_from
        if start:
            _refuse_others(config.distill_from, (num_classes, names), start)
        train, test = (
            replace(open_unlabelled(config.dataset, split, data_dir), class_names=names)
            for split in splits
        )
        return Sets(train, test, num_classes)
    if len(names_of(config.dataset)) > 1:
        raise ValueError(
            f"{config.dataset.replace(JOINT, ' and ')} have classes of their own: give one "
            f"--dataset, or --labels none to learn from a teacher's answers alone"
        )
    train, test = (open_split(config.dataset, split, data_dir) for split in splits)
    if train.class_names != test.class_names:
        raise ValueError(
            f"the classes of {config.train_split} and {config.eval_split} of {config.dataset} "
            f"differ: {_difference(train.class_names, test.class_names)}"
        )
    if len(train.class_names) == 1:
        raise ValueError(_one_class(config.dataset, train.class_names[0]))
    return Sets(train, test, len(train.class_names))


def _one_class(dataset: str, name: str) -> str:
    """What to say of a data set in which nothing is to be told apart."""
    split = path_of(dataset) / name
    if name.lower() in EVALUATED and split.is_dir() and sub_folders(split):
        return (
            f"{dataset} has the split {name} and no train: put the images to train on in "
            f"{dataset}/train, or give the folder {split}, of which a share is held out"
        )
    return f"{dataset} has one class, {name}: a network learns to tell two or more apart"


def _refuse_others(teacher: str, known: tuple[int, tuple[str, ...]], start: str) -> None:
    """Refuse a checkpoint to start from that does not answer what the teacher does."""
    header = read_header(start)
    num_classes, names = known
    theirs = header.config.num_classes
    if theirs != num_classes:
        raise ValueError(
            f"the teacher {teacher} has {num_classes} classes, {start} {theirs}: without labels "
            f"both must answer the same"
        )
    for one, other in zip(names, header.class_names, strict=False):  # either may not name them
        if one != other:
            raise ValueError(
                f"the teacher {teacher} knows other classes than {start}: {one!r} where that has "
                f"{other!r}; without labels both must answer the same"
            )


def _refuse_other_maps(config: TrainingConfig) -> None:
    """Refuse a teacher whose blocks' outputs are not those of the network in kind."""
    teacher, ours = read_header(config.distill_from).config, config.network
    facts = {
        "family": (teacher.family, ours.family),
        "width": (teacher.base_channels, ours.base_channels),
    }
    for what, (one, other) in facts.items():
        if one != other:
            raise ValueError(
                f"the teacher's {what} is {one}, not {other}: its maps cannot be matched; give "
                f"--match-maps 0"
            )


def _difference(one: tuple[str, ...], other: tuple[str, ...]) -> str:
    apart = sorted(set(one) ^ set(other))
    return ", ".join(apart[:5]) + (" and more" if len(apart) > 5 else "")
