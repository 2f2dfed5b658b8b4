"""The photograph that is looked at, with its map; previous, next, and thumbnails."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from app import controls, loaders, views
from app.controls.networks import uploaded_pictures
from app.folders import InputError
from app.loaders import many
from app.photographs.rows import Seen
from app.records import Look, Run
from app.texts import plain
from app.viewer import Panel, Scale, payload
from app.viewer import component as viewer

THUMBNAILS = 12
AT = "photographs_at"  # name of the photograph that is looked at


def looked_at(seen: Seen) -> None:
    """One photograph large, the others small."""
    st.header("Look at them", anchor=False)
    names = [photo.name for photo in seen.photos]
    at = names.index(st.session_state[AT]) if st.session_state.get(AT) in names else 0
    left, right = st.columns([5, 8], gap="large")
    with left:
        with st.container(horizontal=True, vertical_alignment="center"):
            for label, icon, step in (
                ("Previous", ":material/chevron_left:", -1),
                ("Next", ":material/chevron_right:", 1),
            ):
                st.button(
                    label,
                    icon=icon,
                    key=f"photographs_{label.lower()}",
                    disabled=not 0 <= at + step < len(names),
                    on_click=choose,
                    args=(names[min(max(at + step, 0), len(names) - 1)],),
                )
            if st.button("Open in Explore", icon=":material/visibility:", key="photographs_open"):
                open_in_explore(seen, at)
        thumbnails(seen, at)
    with right:
        photo, row = seen.photos[at], seen.rows[at]
        st.markdown(
            f"**{plain(photo.name)}**, {at + 1:,} of {len(names):,}: {plain(row.says)}, "
            f"{row.sure:.0%} sure · {row.share:.0%} of dense · {1000 * row.seconds:.0f} ms"
        )
        try:
            look = replace(seen.look, picture=photo.open())
            draw(look, loaders.run(look))
        except InputError as error:
            controls.say_error(error)


def draw(look: Look, run: Run) -> None:
    """What the network sees, and its map."""
    width = f"{run.seen.pixels.shape[1]} × {run.seen.pixels.shape[0]} pixels"
    if not look.model.config.halts:
        panels, layers, scales = [Panel("What the network sees", picture=True, note=width)], [], []
    else:
        layers = views.layers(run.result, "ponder_cost")
        title = views.METRICS["ponder_cost"]
        said = f"{title} of {look.picture.name}: {views.summary(run)}"
        panels = views.panels(run, look.picture.name, title, layers, said, "")[:2]
        ends = views.limits(look.model.config, run.result, "ponder_cost", "fixed")
        scales = [Scale(*ends, "units", "viridis")]
    viewer.show(payload(run.seen.pixels, layers, panels, scales, max_height=300), "photographs_map")


def thumbnails(seen: Seen, at: int) -> None:
    """A dozen photographs around the one that is looked at."""
    begin = at // THUMBNAILS * THUMBNAILS
    with st.grid(6, min_column_width=72, gap="small") as grid:
        for i in range(begin, min(begin + THUMBNAILS, len(seen.photos))):
            photo = seen.photos[i]
            with grid.cell():
                try:
                    small = many.thumbnail(photo)
                except InputError:
                    continue  # it has gone since it ran
                st.image(small, width="stretch", alt=photo.name)
                st.button(
                    f"{i + 1}",
                    key=f"photographs_thumbnail_{i - begin}",
                    type="primary" if i == at else "tertiary",
                    on_click=choose,
                    args=(photo.name,),
                    help=plain(photo.name),
                    width="stretch",
                )


def choose(name: str) -> None:
    """Look at another one."""
    st.session_state[AT] = name


def take_row(names: list[str]) -> None:
    """A row of the table was chosen."""
    state = st.session_state.get("photographs_table") or {}
    rows = state.get("selection", {}).get("rows") or []
    if rows and isinstance(rows[0], int) and 0 <= rows[0] < len(names):
        choose(names[rows[0]])


def open_in_explore(seen: Seen, at: int) -> None:
    """Go to Explore with this photograph, network and tau."""
    photo = seen.photos[at]
    with controls.guarded():
        name = photo.open().name
        if photo.origin != "example" and name not in uploaded_pictures():
            source = photo.source
            data = source if isinstance(source, bytes) else many.contents(source)
            name = uploaded_pictures().add(name, data).name
    query = {"explore_image": name, "explore_checkpoint": seen.look.model.name}
    st.session_state["explore_image"], st.session_state["chosen_image"] = name, name
    st.switch_page("app/pages/explore.py", query_params=query)
