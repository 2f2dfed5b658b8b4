"""All photographs in a table, to sort and to take home."""

from __future__ import annotations

from functools import partial

import streamlit as st

from app import exports, times
from app.photographs import looked_at
from app.photographs.rows import Seen, run_again


def table(seen: Seen) -> None:
    """The table; a row that is chosen is the one that is shown large."""
    rows = [
        {
            "photograph": photo.name,
            "says": row.says,
            "sure": row.sure,
            "share": row.share,
            "mflops": row.flops / 1e6,
            "milliseconds": 1000 * row.seconds,
        }
        for photo, row in zip(seen.photos, seen.rows, strict=True)
    ]
    st.header("All in a table", anchor=False)
    names = [photo.name for photo in seen.photos]
    st.dataframe(
        rows,
        hide_index=True,
        height=min(38 + 35 * len(rows), 458),
        on_select=partial(looked_at.take_row, names),
        selection_mode="single-row",
        column_config={
            "photograph": st.column_config.TextColumn("Photograph", pinned=True),
            "says": "It says",
            "sure": st.column_config.NumberColumn("Sure", format="percent"),
            "share": st.column_config.ProgressColumn(
                "Of dense", min_value=0, max_value=1, format="percent"
            ),
            "mflops": st.column_config.NumberColumn("MFLOPs", format="%.0f"),
            "milliseconds": st.column_config.NumberColumn("ms", format="%.1f", help=times.ONCE),
        },
        key="photographs_table",
        alt="Every photograph with its answer and its cost",
    )
    with st.container(horizontal=True):
        st.download_button(
            "Table (.csv)",
            partial(csv, seen),
            "photographs.csv",
            key="photographs_download",
            on_click="ignore",
            icon=":material/download:",
        )
        st.button(
            "Run again",
            icon=":material/replay:",
            key="photographs_again",
            on_click=run_again,
            args=(seen,),
            help="Runs the network over all of them anew.",
        )


def csv(seen: Seen) -> str:
    """The table as CSV, whose rows say what they are of."""
    pictures = [(photo.name, photo.origin) for photo in seen.photos]
    return exports.photographs(seen.look, pictures, seen.rows)
