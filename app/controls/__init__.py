"""What the pages share: choosing a checkpoint and an image, and saying what went wrong.

``networks`` chooses a checkpoint, ``pictures`` an image, ``sizes`` how one is
fitted to the other and what that costs, ``taus`` the price of a unit and ``dial``
its slider in the viewer; ``handing`` and ``drawn`` offer what is shown as files;
``basics`` holds what every page has.

Every widget's key starts with the page's name and lives in the URL. What was
chosen on one page is offered first on the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from app import loaders
from app.controls.basics import (
    choose_metric,
    guarded,
    heading,
    number,
    page_link,
    progress,
    say_error,
)
from app.controls.drawn import figures, tables
from app.controls.handing import hand_on
from app.controls.networks import KINDS, choose_model, meant, offered, that_halts
from app.controls.pictures import TEST_IMAGE, add_your_own, choose_picture
from app.controls.sizes import (
    Fitting,
    choose_input,
    describe,
    measure_again,
    price,
    price_list,
    side_row,
)
from app.controls.taus import any_tau, choose_tau
from app.folders import InputError
from app.records import Look, Run

__all__ = [
    "KINDS",
    "TEST_IMAGE",
    "Choice",
    "Fitting",
    "add_your_own",
    "any_tau",
    "checked_key",
    "choose",
    "choose_input",
    "choose_metric",
    "choose_model",
    "choose_picture",
    "choose_tau",
    "describe",
    "facts",
    "figures",
    "guarded",
    "hand_on",
    "heading",
    "meant",
    "measure_again",
    "number",
    "offered",
    "page_link",
    "price",
    "price_list",
    "progress",
    "run",
    "say_error",
    "side_row",
    "tables",
    "that_halts",
]


@dataclass(frozen=True, eq=False)
class Choice:
    """What a page looks at.

    Attributes
    ----------
    look : Look
        The network, the image, and how one looks at the other.
    fitting : Fitting
        How the image is fitted, with what else could be chosen.
    price : container, optional
        Where the page says what the image costs.
    """

    look: Look
    fitting: Fitting
    price: Any = field(default=None, repr=False)

    @property
    def run(self) -> Run:
        """The network's run over the image, cached."""
        return loaders.run(self.look)


def choose(
    page: str, halting: tuple[str, ...] = ("sact", "act", "none"), brief: bool = False
) -> Choice:
    """Let the user choose a checkpoint and an image; stop where there is none.

    Parameters
    ----------
    page : str
        Name of the page; keys start with it.
    halting : tuple of str
        Kinds of networks that the page can show.
    brief : bool
        Whether the page says elsewhere, by `facts`, what is looked at.
    """
    line = None
    with st.container(border=True, key=f"{page}_choice"):
        columns = st.columns([5, 4, 4], vertical_alignment="bottom")
        row = columns[2].container(horizontal=True)
        with row:
            add_your_own(page)
        with columns[0]:
            model = choose_model(page, halting=halting)
        with columns[1]:
            picture = choose_picture(page, model)
        tau = None
        with row, st.popover("Settings", icon=":material/tune:", width="stretch") as settings:
            if model.tau_range is not None:
                tau = choose_tau(page, model)
                st.caption(any_tau(model))
            fitting = choose_input(page, model, picture, within=settings)
        look = Look(model, picture, fitting.image_size, fitting.fit, tau)
        if not brief:
            line = st.empty()
            if model.config.facts.photographs:
                with guarded():
                    line.markdown(price(model, loaders.cost(look)))
            st.caption(describe(look))
    return Choice(look, fitting, line)


def facts(choice: Choice) -> None:
    """What is looked at, and what that cost."""
    look = choice.look
    if look.model.config.facts.photographs:
        st.caption(price(look.model, loaders.cost(look), choice.run))
    st.caption(describe(look))


def run(page: str, choice: Choice) -> Run:
    """Run the network; where its price stood, stands what it was. Stops where it cannot."""
    try:
        done = choice.run
    except InputError as error:
        price_list(page, choice.look, choice.fitting)  # says what would be possible
        say_error(error)
        st.stop()
    if choice.price is not None and choice.look.model.config.facts.photographs:
        choice.price.markdown(price(choice.look.model, loaders.cost(choice.look), done))
    price_list(page, choice.look, choice.fitting)
    return done


def checked_key(look: Look) -> str:
    """Key under which it is kept whether the backends agreed on this look."""
    return "checked_" + "_".join(map(str, look.key))
