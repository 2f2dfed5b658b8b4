"""Compare: two to four networks on one image, aligned."""

from __future__ import annotations

import math

import streamlit as st

from app import controls, loaders, stated, tabled, times
from app.compare.maps import hand_on, maps, stem
from app.drawn import about_runs, ponder_words
from app.families import title
from app.records import Look, Model, Picture, Run
from app.texts import plain

PAGE = "compare"


def choose() -> tuple[list[Look], list[Run], Picture]:
    """Two to four checkpoints, at a tau each where they take any, and one image."""
    with st.container(border=True, key="compare_choice"):
        columns = st.columns([2, 4, 4], vertical_alignment="bottom")
        count = columns[0].segmented_control(
            "Networks",
            [2, 3, 4],
            default=2,
            required=True,
            key="compare_count",
            bind="query-params",
        )
        row = columns[2].container(horizontal=True)
        with row:
            controls.add_your_own(PAGE)
        models: list[Model] = []
        taus: list[float | None] = []
        # Two rows of two: a quarter of the page would cut the end of a name, its tau.
        rows_of = [2, 2] if count == 4 else [int(count)]
        for i, cell in enumerate(cell for n in rows_of for cell in st.columns(n)):
            with cell:
                models.append(
                    controls.choose_model(
                        PAGE, f"checkpoint_{i + 1}", f"Network {i + 1}", fallback=i, by_kind=False
                    )
                )
                taus.append(choose_tau(models, i))
        with columns[1]:
            picture = controls.choose_picture(PAGE, models[0])
        with row:
            fitting = controls.choose_input(PAGE, models[0], picture)
        own = models[0].header.preprocessing
        image_size, fit = fitting.image_size or own.image_size, fitting.fit or own.fit
        with controls.guarded():
            looks = [
                Look(model, picture, image_size, fit, tau)
                for model, tau in zip(models, taus, strict=True)
            ]
            runs = [loaders.run(look) for look in looks]
        controls.price_list(
            PAGE, Look(models[0], picture, fitting.image_size, fitting.fit), fitting
        )
        sides = {run.result.input_size for run in runs}
        crops = {
            (
                m.header.preprocessing.kind if fit == "crop" else "",
                m.header.preprocessing.crop_fraction,
            )
            for m in models
        }
        note = ""
        if fit != "keep" and len(crops) > 1:
            note = " These networks cut the image differently, so the maps do not line up exactly."
        elif len(sides) > 1:
            note = " These networks take slightly different sizes; maps are laid over the first."
        height, width = runs[0].result.input_size
        formats = {run.result.precision for run in runs} - {"float32"}
        computed = f" Computed in {', '.join(sorted(formats))}." if formats else ""
        st.caption(f"All see {plain(picture.name)} at {width} × {height} pixels.{note}{computed}")
    return looks, runs, picture


def choose_tau(models: list[Model], i: int) -> float | None:
    """Tau of a network that takes any; one that is there twice starts at another."""
    model = models[i]
    if model.tau_range is None:
        return None
    low, high = model.tau_range
    before = sum(other.digest == model.digest for other in models[:i])
    first = (model.config.tau_default, high, low, math.sqrt(low * high))[before]
    return controls.choose_tau(PAGE, model, f"tau_{i + 1}", f"τ of network {i + 1}", first)


def name_of(model: Model, tau: float | None) -> str:
    """What a network is called here."""
    name = title(model)
    return name if tau is None else f"{name}, at τ = {tau:g}"


controls.heading(
    "Which network thinks where?",
    "Two to four networks look at the same image. All maps have **one colour scale** and move "
    "together.",
    terms=("ponder cost", "τ", "FLOPs", "dense", "sure", "accuracy", "static network"),
)
looks, runs, picture = choose()
models = [look.model for look in looks]
taus = [look.tau for look in looks]
shown = [name_of(model, tau) for model, tau in zip(models, taus, strict=True)]
halting = [i for i, model in enumerate(models) if model.config.halts]
static = [i for i in range(len(models)) if i not in halting]
drawn = sorted([*halting, *static[:1]]) if len(halting) == 1 else halting
if static:
    names = plain(", ".join(title(models[i]) for i in static))
    st.info(
        f"{names}: no halting, so every position runs every unit"
        + (": a map of one colour." if halting and len(halting) < 2 else ", and there is no map.")
        + " It is in the table below.",
        icon=":material/info:",
    )
if halting:
    drawn_as = maps(
        [models[i] for i in drawn],
        [shown[i] for i in drawn],
        [runs[i] for i in drawn],
        picture,
        [i + 1 for i in drawn],
    )
    hand_on(looks, shown, runs, drawn_as, drawn)
rows = [
    {
        "network": f"{i + 1}  {shown[i]}",
        "says": model.class_name(int(run.result.logits[0].argmax())),
        "sure": 100 * float(run.result.probabilities[0].max()),
        "flops": run.executed.total[0] / 1e6,
        "share": 100 * float(run.executed.total[0] / run.dense.total[0]),
        "milliseconds": 1000 * run.seconds if run.backend == "masked" else None,
        "units": tabled.units_by_block(run),
        "tau": "–" if (tau := model.tau if taus[i] is None else taus[i]) is None else f"{tau:g}",
        "accuracy": (stated.accuracy(model, taus[i]) or "–").partition(" right")[0],
    }
    for i, (model, run) in enumerate(zip(models, runs, strict=True))
]
st.dataframe(
    rows,
    hide_index=True,
    column_config={
        # Widths of a laptop's page, 1,000 px in all. Higher rows let a long text go on below.
        "network": st.column_config.TextColumn("Network", width=250),
        "says": st.column_config.TextColumn("It says", width=130),
        "sure": st.column_config.ProgressColumn(
            "Sure", min_value=0, max_value=100, format="%.1f%%", width=115
        ),
        "flops": st.column_config.NumberColumn("MFLOPs", format="%.1f", width=85),
        "share": st.column_config.NumberColumn("of dense", format="%.1f%%", width=80),
        "milliseconds": st.column_config.NumberColumn(
            "Took, ms", format="%.0f", help=times.ONCE, width=80
        ),
        "units": st.column_config.TextColumn(
            "Units by block", help="On average over positions.", width=140
        ),
        "tau": None,  # it is in the name; the table's own menu shows it
        "accuracy": st.column_config.TextColumn("Accuracy", help="At this τ.", width=80),
    },
    row_height=68,  # above 64 Streamlit wraps text
    placeholder="–",
    key="compare_table",
    alt="Predictions, FLOPs and units of each network",
)
about = about_runs(looks, runs, f"networks: {picture.name}")
controls.tables(
    PAGE, stem(looks), [tabled.networks(looks, runs, shown, about, ponder_words(looks))]
)
known = [stated.accuracy(model, tau) for model, tau in zip(models, taus, strict=True)]
if any(known):
    st.caption(
        " · ".join(f"Network {i + 1}: {plain(text)}" for i, text in enumerate(known) if text) + "."
    )
if any(run.backend != "masked" for run in runs):
    st.caption(times.NOT_YET)
controls.measure_again(PAGE, looks)
says = {row["says"] for row in rows}
if len(says) > 1 and len({model.header.class_names for model in models}) == 1:
    st.caption("The networks disagree on what this is.")
