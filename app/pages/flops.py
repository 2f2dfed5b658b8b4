"""FLOPs: where they go, block by block, unit by unit, layer by layer."""

from __future__ import annotations

from functools import partial

import numpy as np
import streamlit as st

from app import controls, exports, figures, loaders, views
from app.flops import pays
from app.lecture import glossary
from app.records import Look, Run

PAGE = "flops"
COUNTS = {"flops": "FLOPs", "multiply_adds": "Multiply-adds"}


def totals(run: Run, factor: int, unit: str) -> None:
    """The whole network in four numbers."""
    executed, dense = int(run.executed.total[0]) // factor, int(run.dense.total[0]) // factor
    branches = int(run.executed.halting[0]) // factor
    with st.grid(4, min_column_width=150):
        controls.number("Executed", figures.si(executed), f"{executed:,} {unit}")
        controls.number("If every unit ran", figures.si(dense), f"{dense:,} {unit}")
        controls.number("Saved", f"{1 - executed / dense:.1%}", figures.si(dense - executed))
        controls.number(
            "Halting branches",
            f"{branches / executed:.2%}",
            "of what was executed",
            help=glossary.meaning("halting branch"),
        )


@st.fragment
def reconcile(choice: controls.Choice, factor: int, unit: str) -> None:
    """Our count beside PyTorch's own."""
    st.header("Does PyTorch count the same?", anchor=False)
    run = choice.run
    model, size = choice.look.model, run.result.input_size
    this = (model.digest, size)
    if st.button("Count with PyTorch", icon=":material/calculate:", key="flops_reconcile"):
        st.session_state["flops_counted"] = this
    if st.session_state.get("flops_counted") != this:
        st.caption(
            "Runs the dense network once under torch.utils.flop_counter, which knows nothing of "
            "this program."
        )
        return
    with controls.guarded():
        theirs = loaders.torch_flops(model, size)
    ours = int(run.dense.total[0])
    vanilla = int(loaders.vanilla_flops(model.config, size).total[0])
    rows = {
        f"This program: every position runs every unit, in {unit}": f"{ours // factor:,}",
        f"torch.utils.flop_counter, dense network, in {unit}": f"{theirs // factor:,}",
        "Difference": f"{(ours - theirs) // factor:,}",
        f"The same ResNet without halting branches, in {unit}": f"{vanilla // factor:,}",
    }
    st.table(rows, border="horizontal", alt="Our dense count beside PyTorch's")
    if ours == theirs:
        st.success("Both counts agree to the last FLOP.", icon=":material/check_circle:")
    else:
        st.error("The counts differ.", icon=":material/error:")


def unit_seconds(look: Look) -> dict[str, float]:
    """Seconds by unit, measured when the page first shows this look, or again when asked."""
    if not loaders.ready():
        return {}
    seconds: dict[str, float]
    measured_of, seconds = st.session_state.get("flops_seconds", (None, {}))
    if measured_of != look.key:
        with controls.guarded(), st.spinner("Timing every unit …"):
            seconds = loaders.unit_seconds(look)
        st.session_state["flops_seconds"] = look.key, seconds
    return seconds


def measure_again() -> None:
    """The button was pressed: what was measured is forgotten."""
    st.session_state.pop("flops_seconds", None)


controls.heading(
    "Where do the FLOPs go?",
    "Every rectangle is a part of the network: its **area** is what it costs when every position "
    "runs, its **colour** how much of that this image really needed.",
    terms=("residual unit", "block", "FLOPs", "dense", "halting branch", "ring", "masked engine"),
)
choice = controls.choose(PAGE)
model = choice.look.model
run = controls.run(PAGE, choice)
counts = st.segmented_control(
    "Count",
    list(COUNTS),
    default="flops",
    required=True,
    format_func=COUNTS.__getitem__,
    key="flops_count",
    bind="query-params",
    help=glossary.meaning("FLOPs"),
)
factor, unit = (1, "FLOPs") if counts == "flops" else (2, "multiply-adds")
totals(run, factor, unit)
tree = views.tree(model.plan, run)
st.plotly_chart(
    figures.treemap(
        [node.name for node in tree],
        [node.parent for node in tree],
        [node.label for node in tree],
        np.array([node.dense for node in tree]) // factor,
        np.array([node.executed for node in tree]) // factor,
        unit,
    ),
    key="flops_tree",
    config=views.QUIET,
    alt="Treemap of blocks, units and layers by dense FLOPs, coloured by the share executed",
)
st.caption("Click a block or unit to look inside; click the bar on top to come back.")

st.header("Unit by unit", anchor=False)
seconds = unit_seconds(choice.look)
names = list(run.executed.units)
st.plotly_chart(
    figures.units(
        [name.replace("block", "block ").replace("/unit", ", unit ") for name in names],
        np.array([run.dense.units[name][0] for name in names]) // factor,
        np.array([run.executed.units[name][0] for name in names]) // factor,
        np.array([1000 * seconds.get(name, 0.0) for name in names]) if seconds else None,
        unit,
    ),
    key="flops_units",
    config=views.QUIET,
    alt="Executed and dense cost of every unit, and the time it took",
)
if seconds:
    st.caption(
        "Orange: what the masked engine took for each unit in "
        f"{loaders.net(model).precision}, median of 5 runs of this one image on this machine."
    )
    st.button("Measure again", icon=":material/timer:", key="flops_measure", on_click=measure_again)
else:
    st.caption(
        "The masked engine is being compiled, which takes a minute once on every machine; then "
        "its time for each unit stands here too."
    )

st.header("Layer by layer", anchor=False)
rows = views.layer_rows(model.plan, run, factor)
st.dataframe(
    rows,
    hide_index=True,
    height=380,
    column_config={
        "layer": st.column_config.TextColumn("Layer", pinned=True),
        "weight": st.column_config.TextColumn("Weight", help="height × width × in × out"),
        "dense": st.column_config.NumberColumn(f"Dense {unit}", format="localized"),
        "executed": st.column_config.NumberColumn(f"Executed {unit}", format="localized"),
        "share": st.column_config.ProgressColumn(
            "Executed", min_value=0, max_value=1, format="percent"
        ),
        "positions": st.column_config.NumberColumn("Positions computed", format="localized"),
        "of": st.column_config.NumberColumn("of", format="localized"),
    },
    key="flops_table",
    alt="Every layer with its cost",
)
st.download_button(
    "Table (.csv)",
    partial(exports.layers, choice.look, run, rows),
    f"flops_{exports.stem(choice.look, run)}.csv",
    key="flops_download",
    on_click="ignore",
    icon=":material/download:",
)
pays.where(choice)
reconcile(choice, factor, unit)
