"""Explore: an image, its ponder map, and why each position stopped."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import streamlit as st

from app import controls, exports, figures, loaders, views
from app.loaders import Run
from app.viewer import Panel, Scale, payload
from app.viewer import component as viewer

PAGE = "explore"


@st.fragment(key="explore_hero")
def hero(choice: controls.Choice) -> None:
    """The image, the ponder map beside it and over it."""
    run = choice.run
    if choice.model.config.halting == "none":
        vanilla(run)
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        metric = st.segmented_control(
            "Map",
            list(views.METRICS),
            default="ponder_cost",
            required=True,
            format_func=views.METRICS.__getitem__,
            key="explore_metric",
            bind="query-params",
        )
        stretch = st.segmented_control(
            "Scale",
            list(views.SCALES),
            default="fixed",
            required=True,
            format_func=views.SCALES.__getitem__,
            key="explore_scale",
            bind="query-params",
            help="Fixed: every map of this network has the same colours, from one unit a block "
            "to all of them. Stretched: from the lowest to the highest values of this map.",
        )
        colour_map = st.selectbox(
            "Colours",
            figures.COLOUR_MAPS,
            key="explore_colours",
            bind="query-params",
            width=130,
        )
        opacity = st.slider(
            "Opacity over the image",
            0,
            100,
            65,
            5,
            format="%d%%",
            key="explore_opacity",
            bind="query-params",
            width=220,
        )
    layers = views.layers(run.result, metric)
    low, high = views.limits(choice.model.config, run.result, metric, stretch)
    every = range(len(layers))
    by_position = choice.model.config.halting == "sact"
    height, width = run.seen.shape[:2]
    viewer.show(
        payload(
            run.seen,
            layers,
            [
                Panel(
                    "What the network sees",
                    picture=True,
                    note=f"{width} × {height} pixels",
                    alt=f"{choice.picture.name} as the network receives it",
                ),
                Panel(
                    views.METRICS[metric],
                    every,
                    0,
                    detail=True,
                    alt=f"{views.METRICS[metric]} of {choice.picture.name}: {views.summary(run)}",
                ),
                Panel(
                    "Over the image",
                    every,
                    0,
                    picture=True,
                    opacity=opacity / 100,
                    silent=True,
                    alt=f"{views.METRICS[metric]} laid over {choice.picture.name}",
                ),
            ],
            [Scale(low, high, "units", colour_map)],
            mark=position(run) if by_position else None,
            clickable=by_position,
            hint="Point at the map to read it. Click a position to see why it stopped there."
            if by_position
            else "ACT decides for the whole image at once: one value everywhere.",
        ),
        "explore_map",
        on_position=take_position,
    )


def vanilla(run: Run) -> None:
    """A network without halting has no map."""
    left, right = st.columns([1, 2], vertical_alignment="center")
    with left:
        height, width = run.seen.shape[:2]
        viewer.show(
            payload(
                run.seen,
                [],
                [Panel("What the network sees", picture=True, note=f"{width} × {height} pixels")],
            ),
            "explore_picture",
        )
    right.info(
        "This network does not halt: every position runs every unit, so there is no ponder map. "
        "Choose a SACT checkpoint to see one.",
        icon=":material/info:",
    )


def numbers(choice: controls.Choice) -> None:
    """The run in four numbers."""
    run = choice.run
    share = run.executed.total[0] / run.dense.total[0]
    top = int(run.result.logits[0].argmax())
    with st.grid(4, min_column_width=150):
        controls.number(
            "It says",
            choice.model.class_name(top),
            f"{run.result.probabilities[0, top]:.1%} sure",
        )
        controls.number(
            "FLOPs",
            figures.si(run.executed.total[0]),
            f"{share:.0%} of dense",
            help="Two per multiply-add, convolutions only. Dense: every position runs every "
            f"unit, which takes {figures.si(run.dense.total[0])}FLOPs.",
        )
        units = views.mean_units(run.result)
        total = sum(choice.model.config.units_per_block)
        if units is None:
            controls.number("Units a position", str(total), "all of them: no halting")
        else:
            controls.number("Units a position", f"{units:.1f}", f"of {total}, on average")
        controls.number("Time", f"{1000 * run.seconds:.0f} ms", "masked engine")


def badge(choice: controls.Choice) -> None:
    """Whether the three backends were seen to agree on this image."""
    agree = st.session_state.get(controls.checked_key(choice))
    with st.container(horizontal=True, vertical_alignment="center"):
        if agree is None:
            st.badge("Not checked on this image", icon=":material/pending:", color="gray")
        elif agree:
            st.badge("Three backends agree", icon=":material/verified:", color="green")
        else:
            st.badge("Backends differ", icon=":material/error:", color="red")
        controls.page_link("check", "Check", ":material/fact_check:")
        controls.page_link("compare", "Compare networks", ":material/compare:")
        controls.page_link("flops", "FLOPs by unit", ":material/account_tree:")


@st.fragment(key="explore_why")
def why(choice: controls.Choice) -> None:
    """Why the chosen position stopped where it did, block by block."""
    run = choice.run
    st.header("Why did it stop there?", anchor=False)
    height, width = run.result.input_size
    if choice.model.config.halting == "act":
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
    for block, cell in zip(run.result.blocks, st.columns(len(run.result.blocks)), strict=True):
        with cell:
            trace = views.trace(block, (row, column), run.result.input_size)
            st.markdown(f"**{views.block_name(block.name)}** · {trace.sentence}")
            st.plotly_chart(
                figures.why_stopped(
                    trace.halting_proba,
                    trace.num_units,
                    trace.remainder,
                    choice.model.config.eps,
                ),
                key=f"explore_why_{block.name}",
                config=views.QUIET,
                alt=f"Halting scores and running sum in {block.name}: {trace.sentence}",
            )


def position(run: Run) -> tuple[int, int]:
    """The chosen row and column, the middle of the image at first."""
    height, width = run.result.input_size
    row = st.session_state.get("explore_row", height // 2)
    column = st.session_state.get("explore_column", width // 2)
    return int(np.clip(row, 0, height - 1)), int(np.clip(column, 0, width - 1))


def take_position() -> None:
    """A click on the map."""
    clicked = viewer.position("explore_map")
    if clicked is not None:
        st.session_state["explore_row"], st.session_state["explore_column"] = clicked
        refresh()


def refresh() -> None:
    """Draw anew what shows the chosen position, and nothing else."""
    st.rerun(["explore_hero", "explore_why"])


@st.fragment(key="explore_film")
def film(choice: controls.Choice) -> None:
    """Which positions are still active, unit by unit."""
    run = choice.run
    st.header("Watch it think", anchor=False)
    stages, active = views.film(run.result)
    left, right = st.columns([1, 1], gap="large")
    with left:
        unit = (
            st.slider(
                "Unit of the network",
                1,
                len(stages),
                1,
                key="explore_unit",
                bind="query-params",
            )
            - 1
        )
        viewer.show(
            payload(
                run.seen,
                views.layers(run.result, "num_units"),
                [
                    Panel(
                        "Still thinking",
                        range(len(run.result.blocks)),
                        picture=True,
                        film=True,
                        silent=True,
                        note="In colour: this unit works on them. Dark: they have stopped.",
                        alt=f"{choice.picture.name} with {stages[unit].label}",
                    )
                ],
                stages=stages,
                unit=unit,
                max_height=380,
            ),
            "explore_film_map",
            on_unit=take_unit,
        )
    with right:
        st.markdown(
            "Unit 1 of a block works on every position. Those that have stopped keep their value "
            "and cost nothing more; their neighbours still read it. A block is over as soon as "
            "no position is active."
        )
        st.plotly_chart(
            figures.active_share(choice.model.config.units_per_block, active, unit, 330),
            key="explore_active",
            config=views.QUIET,
            alt=f"Share of positions active in every unit; {stages[unit].label}",
        )


def take_unit() -> None:
    """The film has paused."""
    unit = viewer.unit("explore_film_map")
    if unit is not None:
        most = st.session_state.get("explore_units", 1)
        st.session_state["explore_unit"] = int(np.clip(unit + 1, 1, most))


@st.fragment
def cost(choice: controls.Choice) -> None:
    """FLOPs by block, and the time it took masked against dense."""
    run = choice.run
    st.header("What did it cost?", anchor=False)
    names, executed, dense = views.cost(run)
    st.plotly_chart(
        figures.flops_by_block(names, executed, dense),
        key="explore_cost",
        config=views.QUIET,
        alt="FLOPs of each block, this image over every unit running",
    )
    this = (choice.model.digest, choice.picture.digest, choice.image_size, choice.fit)
    if st.button("Time it against the dense network", icon=":material/timer:", key="explore_time"):
        st.session_state["explore_timed"] = this
    if st.session_state.get("explore_timed") != this:
        return
    with controls.guarded():
        measured = loaders.times(choice.model, choice.picture, choice.image_size, choice.fit)
    st.plotly_chart(
        figures.times(
            ["masked (NumPy, Numba)", "dense (PyTorch)"],
            np.array([measured["masked"], measured["dense"]]),
        ),
        key="explore_times",
        config=views.QUIET,
        alt="Median time masked and dense",
    )
    st.caption("Median of 7 runs of this one image on this machine, which may be busy.")


def says(choice: controls.Choice) -> None:
    """The most likely classes."""
    st.header("What does it say?", anchor=False)
    probabilities = choice.run.result.probabilities[0]
    best = np.argsort(-probabilities)[:5]
    st.plotly_chart(
        figures.predictions([choice.model.class_name(i) for i in best], probabilities[best]),
        key="explore_predictions",
        config=views.QUIET,
        alt="The most likely classes",
    )
    names = choice.model.header.class_names
    if names and len(names) <= 20:
        st.caption(f"It knows {len(names)} classes: {', '.join(names)}.")


def blocks(choice: controls.Choice) -> None:
    """The map of each block, with the value of every position on hover."""
    run, config = choice.run, choice.model.config
    metric = st.session_state.get("explore_metric", "ponder_cost")
    scale = st.session_state.get("explore_scale", "fixed")
    st.header("Block by block", anchor=False)
    st.markdown(
        "Every block works at a resolution of its own and decides anew. The ponder map above is "
        "the sum of these."
    )
    layers = views.layers(run.result, metric)
    for i, cell in enumerate(st.columns(len(layers))):
        height, width = layers[i].values.shape
        cell.markdown(f"**{layers[i].name.capitalize()}** · {width} × {height} positions")
        cell.plotly_chart(
            figures.ponder_map(
                layers[i].values,
                limits=views.limits(config, run.result, metric, scale, i),
                colour_map=st.session_state.get("explore_colours", "viridis"),
                size=run.result.input_size,
            ),
            key=f"explore_block_{i}",
            config=views.QUIET,
            alt=f"{views.METRICS[metric]} of {layers[i].name}",
        )


def take_home(choice: controls.Choice) -> None:
    """Downloads, and the command that gives the same."""
    run, model, picture = choice.run, choice.model, choice.picture
    metric = st.session_state.get("explore_metric", "ponder_cost")
    scale = st.session_state.get("explore_scale", "fixed")
    colours = st.session_state.get("explore_colours", "viridis")
    opacity = st.session_state.get("explore_opacity", 65) / 100
    limits = views.limits(model.config, run.result, metric, scale)
    stem = f"{picture.name.rsplit('.', 1)[0]}_{model.name}".replace("/", "_").replace(": ", "_")
    stem = stem.replace(" ", "_")
    label = f"{views.METRICS[metric].lower()}, units"
    st.header("Take it with you", anchor=False)
    files: list[tuple[str, str, Callable[[], bytes | str]]] = [
        ("Map", f"{stem}_map.png", partial(exports.map_png, run, metric, limits, colours)),
        (
            "Overlay",
            f"{stem}_overlay.png",
            partial(exports.overlay_png, run, metric, limits, colours, opacity),
        ),
        (
            "Colour bar",
            f"{stem}_colour_bar.png",
            partial(exports.colour_bar_png, limits, colours, label),
        ),
        ("Arrays", f"{stem}.h5", partial(exports.hdf5, model, picture, run)),
        ("Map as array", f"{stem}_map.npy", partial(exports.npy, run, metric)),
        ("Numbers", f"{stem}.csv", partial(exports.table, model, picture, run)),
    ]
    with st.container(horizontal=True):
        for name, file, make in files:
            st.download_button(
                f"{name} (.{file.rsplit('.', 1)[1]})",
                make,
                file,
                key=f"explore_download_{name}",
                on_click="ignore",
                icon=":material/download:",
            )
    st.markdown("The same from the command line:")
    st.code(
        exports.command(model, picture, choice.image_size, choice.fit, colours, scale),
        language="bash",
        wrap_lines=True,
    )


controls.heading(
    "Where does the network think?",
    "A network with spatially adaptive computation time decides **for every position of an "
    "image** after how many residual units to stop. Bright positions took the most thought.",
)
choice = controls.choose(PAGE)
with controls.guarded():
    choice.run  # noqa: B018 - so that an error is said before anything is drawn
hero(choice)
numbers(choice)
badge(choice)
halts = choice.model.config.halting != "none"
if halts:
    why(choice)
    st.session_state["explore_units"] = sum(choice.model.config.units_per_block)
    film(choice)
left, right = st.columns(2, gap="large")
with left:
    says(choice)
with right:
    cost(choice)
if choice.model.config.halting == "sact":
    blocks(choice)
if halts:
    take_home(choice)
