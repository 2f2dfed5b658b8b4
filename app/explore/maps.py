"""The image with its ponder map, and why a position stopped."""

from __future__ import annotations

from functools import partial

import streamlit as st

from app import controls, families, figures, views
from app.controls import dial as any_tau
from app.records import Model, Run
from app.texts import plain
from app.viewer import Panel, Scale, payload
from app.viewer import component as viewer

OPACITY = 65  # per cent, of the map over the image at first


@st.fragment(key="explore_hero")
def hero(choice: controls.Choice) -> None:
    """The image, the ponder map beside it and over it."""
    run = choice.run
    if not choice.look.model.config.halts:
        vanilla(run, controls.that_halts(choice.look.model))
        return
    by_position = choice.look.model.config.by_position
    stage = st.container()
    with st.popover("View", icon=":material/palette:"):
        metric = controls.choose_metric("explore", redraw, (by_position,))
        stretch = st.segmented_control(
            "Scale",
            list(views.SCALES),
            default="fixed",
            required=True,
            format_func=views.SCALES.__getitem__,
            key="explore_scale",
            bind="query-params",
            on_change=redraw,
            args=(by_position,),
            help="Fixed: every map of this network has the same colours, from one unit a block "
            "to all of them. Stretched: from the lowest to the highest values of this map.",
        )
        colour_map = st.selectbox(
            "Colours",
            figures.COLOUR_MAPS,
            key="explore_colours",
            bind="query-params",
            on_change=redraw,
            args=(by_position,),
        )
        opacity = st.slider(
            "Opacity over the image",
            0,
            100,
            OPACITY,
            5,
            format="%d%%",
            key="explore_opacity",
            bind="query-params",
            on_change=redraw,
            args=(by_position,),
        )
    with stage:
        draw(choice, metric, limits_of(choice, metric, stretch), colour_map, opacity / 100)


def draw(
    choice: controls.Choice,
    metric: str,
    limits: tuple[float, float],
    colour_map: str,
    opacity: float,
) -> None:
    """The viewer, with the slider of tau where the network takes any."""
    run = choice.run
    by_position = choice.look.model.config.by_position
    layers = views.layers(run.result, metric)
    dial = None
    if choice.look.model.tau_range is not None:
        any_tau.say_budget("explore")
        with controls.guarded():
            every_tau = any_tau.run_all(choice.look, run)
        dial = any_tau.slider(choice.look.model, every_tau, metric, choice.look.tau)
    viewer.show(
        payload(
            run.seen.pixels,
            layers,
            views.panels(
                run,
                choice.look.picture.name,
                views.METRICS[metric],
                layers,
                f"{views.METRICS[metric]} of {choice.look.picture.name}: {views.summary(run)}",
                f"{views.METRICS[metric]} laid over {choice.look.picture.name}",
                opacity,
            ),
            [Scale(*limits, "units", colour_map)],
            mark=position(run) if by_position else None,
            dial=dial,
            clickable=by_position,
            hint="Point at the map to read it. Click a position to see why it stopped there."
            if by_position
            else "ACT decides for the whole image at once: one value everywhere.",
        ),
        "explore_map",
        on_position=take_position,
        on_tau=partial(any_tau.take_tau, "explore", "explore_map"),
        on_target=partial(any_tau.take_target, "explore", "explore_map", choice.look),
    )


def limits_of(choice: controls.Choice, metric: str, scale: str) -> tuple[float, float]:
    """Values of the first and last colour of the map on the screen."""
    if scale == "stretched" and choice.look.model.tau_range is not None:
        # One scale for all taus, or dragging would show nothing.
        with controls.guarded():
            return any_tau.stretched(any_tau.run_all(choice.look, choice.run), metric)
    return views.limits(choice.look.model.config, choice.run.result, metric, scale)


def vanilla(run: Run, halting: Model | None) -> None:
    """A network without halting has no map; one that halts is a step away."""
    left, right = st.columns([1, 2], vertical_alignment="center")
    with left:
        height, width = run.seen.pixels.shape[:2]
        viewer.show(
            payload(
                run.seen.pixels,
                [],
                [Panel("What the network sees", picture=True, note=f"{width} × {height} pixels")],
            ),
            "explore_picture",
        )
    with right:
        st.info(
            "This network does not halt: every position runs every unit, so there is no ponder "
            "map. Choose a SACT checkpoint to see one"
            + ("." if halting is None else f", such as {plain(families.title(halting))}."),
            icon=":material/info:",
        )
        if halting is not None:
            st.button(
                "Show one that halts",
                icon=":material/swap_horiz:",
                key="explore_halting",
                on_click=show_network,
                args=(halting.name,),
            )


def show_network(name: str) -> None:
    """Another network is chosen, by a button."""
    st.session_state["explore_checkpoint"] = name
    st.rerun(scope="app")


@st.fragment(key="explore_why")
def why(choice: controls.Choice) -> None:
    """Why the chosen position stopped where it did, block by block."""
    run = choice.run
    st.header("Why did it stop there?", anchor=False)
    height, width = run.result.input_size
    if choice.look.model.config.by_image:
        st.markdown("ACT decides once for the whole image, block by block.")
        row = column = 0
    else:
        cells = st.columns([1, 2], vertical_alignment="center", gap="medium")
        with cells[0], st.container(horizontal=True):
            row = st.number_input(
                "Row",
                0,
                height - 1,
                height // 2,
                key="explore_row",
                bind="query-params",
                on_change=refresh,
            )
            column = st.number_input(
                "Column",
                0,
                width - 1,
                width // 2,
                key="explore_column",
                bind="query-params",
                on_change=refresh,
            )
        cells[1].markdown(
            "After every unit the position gives a **halting score**, and the scores (blue) pile "
            "up. It stops at the unit where the pile reaches **1 − ε** (dashed). What was missing "
            "to 1 before that unit is the **remainder** (orange); **ponder cost = units run + "
            "remainder**."
        )
    shown = views.deciding(choice.look.model.config)
    for i, cell in zip(shown, st.columns(len(shown)), strict=True):
        block = run.result.blocks[i]
        with cell:
            trace = views.trace(block, (row, column), run.result.input_size)
            st.markdown(f"**{views.block_name(block.name)}** · {trace.sentence}")
            st.plotly_chart(
                figures.why_stopped(
                    trace.halting_proba,
                    trace.num_units,
                    trace.remainder,
                    choice.look.model.config.eps,
                ),
                key=f"explore_why_{block.name}",
                config=views.QUIET,
                alt=f"Halting scores and running sum in {block.name}: {trace.sentence}",
            )


def settle_position(run: Run) -> None:
    """Decide on the position before anything that shows it is drawn.

    At first it is the link's, or the middle; where the size of the input has changed,
    it is the same place of the image.
    """
    size, before = run.result.input_size, st.session_state.get("explore_size")
    st.session_state["explore_size"] = size
    for key, side, i in (("explore_row", size[0], 0), ("explore_column", size[1], 1)):
        if key not in st.session_state:
            asked = st.query_params.get(key)
            at = whole_number(asked) if asked is not None else None
            if at is None:
                continue  # the middle
        else:
            at = int(st.session_state[key])
            if before is not None and before != size:
                at = int((at + 0.5) * side / before[i])
        st.session_state[key] = min(max(at, 0), side - 1)


def whole_number(text: str) -> int | None:
    """A number of a link, as a widget takes it; None where it is none."""
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        return None


def position(run: Run) -> tuple[int, int]:
    """The chosen row and column, the middle of the image at first."""
    height, width = run.result.input_size
    row = st.session_state.get("explore_row", height // 2)
    column = st.session_state.get("explore_column", width // 2)
    return int(row), int(column)


def take_position() -> None:
    """A click on the map."""
    clicked = viewer.position("explore_map")
    if clicked is not None:
        st.session_state["explore_row"], st.session_state["explore_column"] = clicked
        refresh()


def refresh() -> None:
    """Draw anew what shows the chosen position, and nothing else."""
    st.rerun(["explore_hero", "explore_why", "explore_take_home"])


def redraw(by_position: bool) -> None:
    """Draw anew what has a metric, a scale or colours, and nothing else."""
    drawn = ["explore_hero", "explore_take_home"]
    st.rerun([*drawn, "explore_blocks"] if by_position else drawn)
