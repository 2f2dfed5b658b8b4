"""The maps of several networks: beside one another, swiped, or subtracted."""

from __future__ import annotations

from functools import partial

import streamlit as st

from app import controls, drawn, exports, figures, handing, loaders, views
from app.exports import Shown
from app.records import Look, Model, Picture, Run
from app.texts import file_stem
from app.viewer import Layer, Panel, Scale, payload
from app.viewer import component as viewer

VIEWS = {"side": "Side by side", "swipe": "Swipe", "difference": "Difference"}


def maps(
    models: list[Model], names: list[str], runs: list[Run], picture: Picture, numbers: list[int]
) -> Shown:
    """The maps in one view: beside one another, swiped, or subtracted.

    Parameters
    ----------
    models, names, runs : list
        Networks, what they are called and their runs. One that does not halt has a map of
        one value: all of its units, everywhere.
    picture : Picture
        What all of them saw.
    numbers : list of int
        Of the networks, as the page counts all that were chosen.

    Returns
    -------
    Shown
        How they are shown.
    """
    with st.container(horizontal=True, vertical_alignment="bottom"):
        view = st.segmented_control(
            "View",
            list(VIEWS),
            default="side",
            required=True,
            format_func=VIEWS.__getitem__,
            key="compare_view",
            bind="query-params",
        )
        metric = controls.choose_metric("compare")
        colours = st.selectbox(
            "Colours", figures.COLOUR_MAPS, key="compare_colours", bind="query-params", width=130
        )
        opacity = st.slider(
            "Opacity over the image",
            0,
            100,
            100,
            5,
            format="%d%%",
            key="compare_opacity",
            bind="query-params",
            width=220,
        )
    layers: list[Layer] = []
    spans: list[range] = []
    for model, run in zip(models, runs, strict=True):
        halts = model.config.halts
        own = views.layers(run.result, metric) if halts else views.static_layers(model.config)
        spans.append(range(len(layers), len(layers) + len(own)))
        layers += own
    low, high = views.common_limits([model.config for model in models], metric)
    scales = [Scale(low, high, "units", colours)]
    panels = [
        Panel(
            f"{numbers[i]}  {names[i]}",
            spans[i],
            0,
            picture=opacity < 100,
            opacity=opacity / 100,
            says=str(numbers[i]),
            side="" if model.config.halts else "no halting",
            alt=f"{views.METRICS[metric]} of {names[i]}: "
            + (views.summary(run) if model.config.halts else "all units everywhere"),
        )
        for i, (model, run) in enumerate(zip(models, runs, strict=True))
    ]
    swipe = ""
    hint = "Zoom and pan move all maps together. Point at one to read them all."
    if view == "swipe":
        swipe = f"{views.METRICS[metric]} of networks {numbers[0]} and {numbers[1]}"
        panels = panels[:2]
        hint = (
            f"Drag the slider: network {numbers[0]} on the left of the line, network {numbers[1]} "
            "on the right."
        )
    elif view == "difference":
        difference = [*spans[1], *(-1 - i for i in spans[0])]
        first, second = (
            views.total_map(model.config, run, metric)
            for model, run in zip(models[:2], runs[:2], strict=True)
        )
        total = second.mean() - first.mean()
        most = views.largest_difference(first, second)
        scales.append(Scale(-most, most, "units", "difference"))
        panels = [
            *panels[:2],
            Panel(
                f"Network {numbers[1]} − network {numbers[0]}",
                difference,
                1,
                says="difference",
                side=f"{total:+.2f} on average",
                alt=f"Signed difference, {total:+.2f} units on average",
            ),
        ]
        hint = f"Orange: network {numbers[1]} thinks more there. Blue: less."
    viewer.show(
        payload(
            runs[0].seen.pixels,
            layers,
            panels,
            scales,
            swipe=swipe,
            hint=hint,
            max_height=520 if swipe else 440,
            panel_width=230,
        ),
        "compare_maps",
    )
    return Shown(metric, colours, "fixed", (low, high), opacity / 100)


def hand_on(
    looks: list[Look], names: list[str], runs: list[Run], shown: Shown, drawn_ones: list[int]
) -> None:
    """Offer all networks beside one another as one HTML file, and their maps as a figure."""
    file = stem(looks)
    with st.container(horizontal=True):
        controls.hand_on("compare", f"{file}.html", partial(interactive, looks, names, runs, shown))
        view = st.session_state.get("compare_view", "side")
        which = drawn_ones[: 2 if view == "swipe" else None]
        drawing = drawn.side_by_side(
            looks, runs, names, shown, which=which, difference=view == "difference"
        )
        controls.figures("compare", file, [drawing])


def stem(looks: list[Look]) -> str:
    """Beginning of the names of files."""
    models = [look.model.name for look in looks]
    return file_stem(exports.image_stem(looks[0].picture), *models[:2], "compare")


def interactive(looks: list[Look], names: list[str], runs: list[Run], shown: Shown) -> bytes:
    """The networks' maps as one HTML file."""
    thoughts = [
        loaders.thought(look, run, name) for look, run, name in zip(looks, runs, names, strict=True)
    ]
    return handing.page(looks, runs, thoughts, shown)
