"""What pages show of networks over an image, as one HTML file to hand on; no Streamlit.

The file is that of `sact_core.handout`: it opens offline and can be looked into.
"""

from __future__ import annotations

from collections.abc import Sequence

from app import exports
from app.exports import Shown
from app.records import Look, Run
from sact_core import handout
from sact_core.handout import Thought

#: What the pages say beside their button.
HELP = (
    "One file that opens in any browser, offline, and can be looked into: maps, film, why a "
    "position stopped, FLOPs and where all of it comes from."
)


def page(
    looks: Sequence[Look],
    runs: Sequence[Run],
    thoughts: Sequence[Thought],
    shown: Shown,
    position: tuple[int, int] | None = None,
) -> bytes:
    """Make the file.

    Parameters
    ----------
    looks, runs : sequence of Look and of Run
        What the page shows, over one image. Of those that halt, commands are told
        that give the same.
    thoughts : sequence of Thought
        What stands beside one another in the file.
    shown : Shown
        How maps are shown.
    position : tuple of int, optional
        Row and column that are looked at first.
    """
    picture, seen = looks[0].picture, runs[0].seen
    commands = [
        exports.command(look, shown, run.result.precision, f"--html={exports.stem(look, run)}.html")
        for look, run in zip(looks, runs, strict=True)
        if look.model.config.halts
    ]
    scene = handout.scene(
        picture.name,
        seen.pixels,
        thoughts,
        limits={shown.metric: shown.limits},
        position=position,
        about=[("Image", picture.name)],
    )
    return handout.page(
        [scene],
        command="\n".join(commands),
        provenance={
            "networks": [exports.about(*each, shown) for each in zip(looks, runs, strict=True)]
        },
        colour_map=shown.colour_map,
        opacity=shown.opacity,
        metric=shown.metric,
    )


def family(looks: Sequence[Look], runs: Sequence[Run], label: str, at: int) -> Thought:
    """Networks that differ in tau only, as one whose price can be turned.

    Parameters
    ----------
    looks, runs : sequence of Look and of Run
        Tau rising, all over one image.
    label : str
        What they are called together.
    at : int
        Which is looked at first.
    """
    first = looks[0].model
    about = [row for look, run in zip(looks, runs, strict=True) for row in rows(look, run)]
    return Thought(
        label,
        first.config,
        first.plan,
        first.header.class_names,
        [run.result for run in runs],
        [look.model.tau for look in looks],
        at,
        about,
    )


def rows(look: Look, run: Run) -> list[tuple[str, str]]:
    """Where a network's numbers come from, in words."""
    return handout.about_rows(exports.about(look, run))
