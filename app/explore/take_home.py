"""The map of each block, and what can be taken home."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st

from app import controls, drawn, exports, figures, handing, loaders, views
from app.explore.maps import OPACITY, limits_of, position
from app.families import title
from app.records import Look, Run


@st.fragment(key="explore_blocks")
def blocks(choice: controls.Choice) -> None:
    """The map of each block, with the value of every position on hover."""
    run, config = choice.run, choice.look.model.config
    metric = st.session_state.get("explore_metric", "ponder_cost")
    scale = st.session_state.get("explore_scale", "fixed")
    st.header("Block by block", anchor=False)
    shown = views.deciding(config)
    rest = len(config.units_per_block) - len(shown)
    st.markdown(
        "Every block works at a resolution of its own and decides anew. The ponder map above is "
        "the sum of these"
        + (f", and of the {rest} of one unit, which never halt." if rest else ".")
    )
    layers = views.layers(run.result, metric)
    for i, cell in zip(shown, st.columns(len(shown)), strict=True):
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


@st.fragment(key="explore_take_home")
def take_home(choice: controls.Choice) -> None:
    """Downloads, and the command that gives the same."""
    run, look = choice.run, choice.look
    metric = st.session_state.get("explore_metric", "ponder_cost")
    scale = st.session_state.get("explore_scale", "fixed")
    shown = exports.Shown(
        metric,
        st.session_state.get("explore_colours", "viridis"),
        scale,
        limits_of(choice, metric, scale),
        st.session_state.get("explore_opacity", OPACITY) / 100,
    )
    stem = exports.stem(look, run)
    drawn_stem = stem if metric == "ponder_cost" else f"{stem}_{metric}"
    st.header("Take it with you", anchor=False)
    files: list[tuple[str, str, Callable[[], bytes | str]]] = [
        ("Map", f"{drawn_stem}_map.png", partial(exports.map_png, look, run, shown)),
        ("Overlay", f"{drawn_stem}_overlay.png", partial(exports.overlay_png, look, run, shown)),
        (
            "Colour bar",
            f"{drawn_stem}_colour_bar.png",
            partial(exports.colour_bar_png, look, run, shown),
        ),
        ("Arrays", f"{stem}.h5", partial(exports.hdf5, look, run, shown)),
        ("Map as array", f"{drawn_stem}_map.npz", partial(exports.npz, look, run, shown)),
        ("Numbers", f"{stem}.csv", partial(exports.table, look, run, shown)),
    ]
    if look.picture.origin != "example":
        own = f"{exports.image_stem(look.picture)}.png"
        said = exports.about(look, run, shown)
        files.append(("Image", own, partial(exports.image_png, look.picture, said)))
    at = position(run) if look.model.config.by_position else None
    with st.container(horizontal=True):
        controls.hand_on("explore", f"{stem}.html", partial(interactive, look, run, shown, at))
        for name, file, make in files:
            st.download_button(
                f"{name} (.{file.rsplit('.', 1)[1]})",
                make,
                file,
                key=f"explore_download_{name}",
                on_click="ignore",
                icon=":material/download:",
            )
        controls.figures("explore", f"{drawn_stem}_figure", [drawn.one(look, run, shown)])
    st.markdown("The same from the command line:")
    st.code(exports.command(look, shown, run.result.precision), language=None, wrap_lines=True)


def interactive(
    look: Look, run: Run, shown: exports.Shown, at: tuple[int, int] | None = None
) -> bytes:
    """All that the page shows, as one HTML file."""
    thought = loaders.thought(look, run, title(look.model))
    return handing.page([look], [run], [thought], shown, at)
