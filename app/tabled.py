"""What pages show as tables for a paper or a program; no Streamlit."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from app import exports, stated
from app.records import Look, Model, Run
from sact_core import __version__
from sact_core.tables import table_text
from sact_core.texts import shown

if TYPE_CHECKING:
    from app.loaders.dataset import Outcomes
    from app.sweep.mind import Answer


@dataclass(frozen=True)
class Table:
    """A table that a page offers.

    Attributes
    ----------
    label : str
        Told where there are several.
    header, rows : sequence
        As `sact_core.tables.table_text` takes them.
    about : mapping
        What it shows and where it comes from, ``title`` included.
    command : tuple of str
        Words that give the same.
    """

    label: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    about: Mapping[str, Any]
    command: tuple[str, ...]

    def text(self, ending: str) -> str:
        """The table as a file with this ending, one of `sact_core.tables.TABLES`."""
        return table_text(ending, self.header, self.rows, said(self.about, self.command))


def said(about: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """What a file says of its origin: with the version, and the command that gives the same."""
    return {**about, "version": __version__, "command": shlex.join(words)}


def network(model: Model, tau: float | None, name: str) -> dict[str, Any]:
    """What a file says of a network that is called so."""
    own = model.header.preprocessing
    return {
        "name": name,
        "file": model.name,
        "content_hash": model.digest,
        "tau": model.tau if tau is None else tau,
        "image_size": own.image_size,
        "fit": own.fit,
    }


def over_tau(
    answers: Sequence[Answer], about: Mapping[str, Any], command: tuple[str, ...]
) -> Table:
    """What is said of an image at several taus, and at what cost."""
    header = ["tau", "it says", "sure, %", "MFLOPs", "of dense, %", "units a position"]
    timed = all(each.milliseconds is not None for each in answers)
    rows = []
    for each in answers:
        cells = [f"{each.tau:.4g}", each.says, f"{100 * each.sure:.1f}", f"{each.flops / 1e6:.2f}"]
        cells += [f"{100 * each.share:.1f}", "" if each.units is None else f"{each.units:.2f}"]
        rows.append(cells + ([f"{each.milliseconds:.1f}"] if timed else []))
    header += ["ms"] if timed else []
    return Table("Every τ", header, rows, about, command)


def networks(
    looks: Sequence[Look],
    runs: Sequence[Run],
    names: Sequence[str],
    about: Mapping[str, Any],
    command: tuple[str, ...],
) -> Table:
    """What networks say of one image, and at what cost."""
    timed = all(run.backend == "masked" for run in runs)
    header = ["network", "tau", "it says", "sure, %", "MFLOPs", "of dense, %", "units by block"]
    header += [*(["ms"] if timed else []), "accuracy"]
    rows = []
    for look, run, name in zip(looks, runs, names, strict=True):
        model, spent = look.model, int(run.executed.total[0])
        tau = model.tau if look.tau is None else look.tau
        best = int(run.result.logits[0].argmax())
        rows.append(
            [
                name,
                "" if tau is None else f"{tau:.4g}",
                model.class_name(best),
                f"{100 * run.result.probabilities[0, best]:.1f}",
                f"{spent / 1e6:.2f}",
                f"{100 * spent / int(run.dense.total[0]):.1f}",
                units_by_block(run),
                *([f"{1000 * run.seconds:.1f}"] if timed else []),
                (stated.accuracy(model, look.tau) or "").partition(" right")[0],
            ]
        )
    return Table("Networks", header, rows, about, command)


def units_by_block(run: Run) -> str:
    """Units run in each block, on average."""
    means = [
        "all" if block.num_units is None else f"{block.num_units[0].mean():.1f}"
        for block in run.result.blocks
    ]
    return " · ".join(means)


def split(
    outcomes: Outcomes,
    names: Sequence[str],
    about: Mapping[str, Any],
    command: tuple[str, ...],
) -> list[Table]:
    """A test split by class, and image by image."""
    groups = {"all": np.ones(len(outcomes.labels), bool)}
    groups |= {name: outcomes.labels == i for i, name in enumerate(names)}
    by_class = [[name, *_sums(outcomes, group)] for name, group in groups.items() if group.any()]
    sums = ["images", "right, %", "MFLOPs, mean", "MFLOPs, std", "of dense, %", "units a position"]
    by_image = [
        [
            str(int(outcomes.indices[i])),
            names[outcomes.labels[i]],
            names[outcomes.predictions[i]],
            f"{100 * outcomes.sure[i]:.2f}",
            str(int(outcomes.right[i])),
            str(int(outcomes.flops[i])),
            f"{100 * outcomes.flops[i] / outcomes.dense[i]:.2f}",
            f"{outcomes.units[i]:.3f}",
        ]
        for i in range(len(outcomes.labels))
    ]
    header = ["image", "label", "prediction", "sure, %", "right", "FLOPs", "of dense, %"]
    return [
        Table("Classes", ["class", *sums], by_class, about, command),
        Table("Images", [*header, "units a position"], by_image, about, command),
    ]


def split_over_tau(
    taus: Sequence[float],
    outcomes: Sequence[Outcomes],
    changed: Sequence[int],
    about: Mapping[str, Any],
    command: tuple[str, ...],
) -> Table:
    """A test split at several taus; ``changed`` counts images with another answer by then."""
    header = ["tau", "images", "right, %", "MFLOPs, mean", "MFLOPs, std", "of dense, %"]
    rows = [
        [f"{tau:.4g}", *_sums(each, np.ones(len(each.labels), bool)), str(count)]
        for tau, each, count in zip(taus, outcomes, changed, strict=True)
    ]
    header += ["units a position", "changed answers"]
    return Table("Every τ", header, rows, about, command)


def evaluate_words(model: Model, tau: float | None, count: int | None) -> tuple[str, ...]:
    """Words of the command that runs a test split, or so many images of it."""
    words = ["python", "-m", "sact_core.evaluate", "--checkpoint", exports.checkpoint_word(model)]
    if model.data_folder is not None:
        words += ["--dataset", shown(model.data_folder.name)]
    words += [] if tau is None else ["--tau", f"{tau:.12g}"]
    words += [] if count is None else ["--num-examples", str(count)]
    return (*words, "--per-image", "images.csv")


def _sums(outcomes: Outcomes, group: np.ndarray) -> list[str]:
    flops = outcomes.flops[group]
    return [
        str(len(flops)),
        f"{100 * outcomes.right[group].mean():.2f}",
        f"{flops.mean() / 1e6:.2f}",
        f"{flops.std() / 1e6:.2f}",
        f"{100 * (flops / outcomes.dense[group]).mean():.1f}",
        f"{outcomes.units[group].mean():.3f}",
    ]
