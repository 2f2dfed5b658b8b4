"""Parts of every page: headings, numbers, links, errors, and choices that go along.

Every widget's key starts with the page's name and lives in the URL. What was
chosen on one page is offered first on the next.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import views
from app.folders import InputError
from app.lecture import glossary, words
from app.texts import MAX_NAME, plain, plain_lines


def heading(title: str, sentence: str, terms: Sequence[str] = ()) -> DeltaGenerator:
    """Title of a page, the one sentence that explains it, and what its words mean.

    Parameters
    ----------
    title, sentence : str
        As they are shown.
    terms : sequence of str
        Keys of `app.lecture.glossary.TERMS` that the page uses.

    Returns
    -------
    container
        The sentence's place, to say another there.
    """
    st.title(title, anchor=False)
    with st.container(horizontal=True, vertical_alignment="center", key="words"):
        place = st.empty()
        if terms:
            words.explain(*terms)
    place.markdown(sentence)
    return place


def number(label: str, value: str, note: str = "", help: str | None = None) -> None:
    """A number that matters, with a note beneath."""
    st.metric(
        label,
        value,
        note or None,
        delta_color="off",
        delta_arrow="off",
        border=True,
        help=help,
    )


@contextmanager
def guarded() -> Iterator[None]:
    """Turn what a user did wrong into one sentence; the page stops, the app goes on."""
    try:
        yield
    except InputError as error:
        say_error(error)
        st.stop()


@contextmanager
def progress(text: str = "") -> Iterator[DeltaGenerator]:
    """A bar while something runs, gone when it ends, be it by an error."""
    bar = st.progress(0.0, text or None)
    try:
        yield bar
    finally:
        bar.empty()


def say_error(error: object) -> None:
    """Say what went wrong; names in it may be anybody's."""
    st.error(plain_lines(error), icon=":material/error:")


def page_link(file: str, label: str, icon: str, **query: str) -> None:
    """Link to another page, where this one is part of the whole app."""
    from streamlit.errors import StreamlitAPIException

    try:
        st.page_link(f"app/pages/{file}.py", label=label, icon=icon, query_params=query or None)
    except (StreamlitAPIException, KeyError):
        return


def choose_metric(
    page: str, on_change: Callable[..., None] | None = None, args: tuple[Any, ...] = ()
) -> str:
    """Let the user choose what a map shows: ``"ponder_cost"`` or ``"num_units"``."""
    return st.segmented_control(
        "Map",
        list(views.METRICS),
        default="ponder_cost",
        required=True,
        format_func=views.METRICS.__getitem__,
        key=f"{page}_metric",
        bind="query-params",
        on_change=on_change,
        args=args,
        help=glossary.meaning("ponder map", "ponder cost"),
    )


def select(
    page: str,
    name: str,
    label: str,
    options: list[str],
    index: int,
    on_change: Callable[..., None] | None = None,
    label_visibility: Literal["visible", "collapsed"] = "visible",
    titles: Mapping[str, str] | None = None,
) -> str:
    """A select box whose choice goes along to the other pages.

    A link to something that is not here is said, and the default taken. Where options have
    ``titles``, these are shown; the link holds the option.
    """
    key = f"{page}_{name}"
    wanted = st.query_params.get(key)
    if wanted is not None and wanted not in options and key not in st.session_state:
        st.warning(
            f"The link asks for {plain(wanted, MAX_NAME)}, which is not here.",
            icon=":material/link_off:",
        )
    carry(page, name, options)
    if titles is not None and wanted in options and key not in st.session_state:
        st.session_state[key] = wanted
    chosen = st.selectbox(
        label,
        options,
        index=index,
        key=key,
        bind="query-params" if titles is None else None,
        format_func=str if titles is None else lambda option: titles.get(option, option),
        on_change=on_change,
        args=(page,) if on_change is not None else (),
        label_visibility=label_visibility,
    )
    chosen = chosen if chosen in options else options[index]  # it comes from the browser
    if titles is not None:
        if chosen != options[index]:
            st.query_params[key] = chosen
        elif key in st.query_params:
            del st.query_params[key]
    st.session_state[f"chosen_{name}"] = chosen
    return chosen


def honour(
    key: str, options: Container[Any], meant: Callable[[str], str | None], several: bool = False
) -> None:
    """Take what a link says in words of its own, such as a file's name, as the page has it.

    Parameters
    ----------
    key : str
        Of the widget that is drawn next, and in the link.
    options : container
        As the widget writes them.
    meant : callable
        The option that some words stand for; None where they stand for none.
    several : bool
        Whether the widget takes several.
    """
    asked = st.query_params.get_all(key)
    if key in st.session_state or all(each in options for each in asked):
        return
    found = [each if each in options else meant(each) or each for each in asked]
    if found != asked:
        st.query_params[key] = found
        st.session_state[key] = found if several else found[-1]


def carry(page: str, name: str, options: Container[Any], shown: Callable[[Any], str] = str) -> None:
    """Offer first what was chosen on another page, and put it into the URL.

    Parameters
    ----------
    page, name : str
        Make the key.
    options : container
        What can be chosen here; anything else is not carried.
    shown : callable
        How the widget writes an option, which is what the URL holds.
    """
    key, carried = f"{page}_{name}", st.session_state.get(f"chosen_{name}")
    if key in st.session_state or key in st.query_params or carried not in options:
        return
    st.query_params[key] = shown(carried)
    st.session_state[key] = carried
