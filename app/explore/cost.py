"""The run in numbers: prediction, FLOPs, time."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app import controls, figures, loaders, times, views
from app.lecture import glossary
from app.loaders.timing import measure
from app.records import Look, Model, Run
from app.texts import plain
from app.times import Timing
from sact_core.provenance import hardware

#: Up to so many classes are listed in a line.
FEW_CLASSES = 20


def numbers(choice: controls.Choice) -> None:
    """The run in four numbers."""
    run = choice.run
    share = run.executed.total[0] / run.dense.total[0]
    top = int(run.result.logits[0].argmax())
    said = choice.look.model.class_name(top)
    long = len(said) > 12  # it may be cut off
    with st.grid(4, min_column_width=150):
        controls.number(
            "It says",
            plain(said),
            f"{run.result.probabilities[0, top]:.1%} sure",
            help=plain(said.capitalize()) if long else None,
        )
        controls.number(
            "FLOPs",
            figures.si(run.executed.total[0]),
            f"{share:.0%} of dense",
            help=glossary.meaning("FLOPs", "dense")
            + f" Here that is {figures.si(run.dense.total[0])}FLOPs.",
        )
        units = views.mean_units(run.result)
        total = sum(choice.look.model.config.units_per_block)
        if units is None:
            controls.number("Units a position", str(total), "all of them: no halting")
        else:
            controls.number("Units a position", f"{units:.1f}", f"of {total}, on average")
        masked = run.backend == "masked"
        controls.number(
            "Time",
            f"{1000 * run.seconds:.0f} ms",
            engine_name(run),
            help=f"{times.ONCE} Below it is timed in turns with dense networks. "
            + (
                f"The masked engine computes active positions only, in {run.result.precision}."
                if masked
                else "The masked engine is being compiled, which takes a minute once on every "
                "machine. Until then plain NumPy gives the same numbers."
            ),
        )


def engine_name(run: Run) -> str:
    """What took the time, in two words or three."""
    if run.backend != "masked":
        return "plain NumPy"
    precision = run.result.precision
    return "masked engine" + ("" if precision == "float32" else f", {precision}")


def badge(choice: controls.Choice) -> None:
    """Whether the three backends were seen to agree on this image."""
    agree = st.session_state.get(controls.checked_key(choice.look))
    with st.container(horizontal=True, vertical_alignment="center"):
        if agree is None:
            st.badge("Not checked on this image", icon=":material/pending:", color="gray")
        elif agree:
            st.badge("Three backends agree", icon=":material/verified:", color="green")
        else:
            st.badge("Backends differ", icon=":material/error:", color="red")
        controls.page_link("check", "Check", ":material/fact_check:")
        controls.page_link(
            "compare",
            "Compare networks",
            ":material/compare:",
            compare_checkpoint_1=choice.look.model.name,
        )
        controls.page_link("flops", "FLOPs by unit", ":material/account_tree:")


@st.fragment
def says(choice: controls.Choice) -> None:
    """The most likely classes, and how sure it is of any other."""
    st.header("What does it say?", anchor=False)
    probabilities = choice.run.result.probabilities[0]
    best = np.argsort(-probabilities)[:5]
    st.plotly_chart(
        figures.predictions([choice.look.model.class_name(i) for i in best], probabilities[best]),
        key="explore_predictions",
        config=views.QUIET,
        alt="The most likely classes",
    )
    names = choice.look.model.header.class_names
    if names and len(names) <= FEW_CLASSES:
        st.caption(f"It knows {len(names)} classes: {', '.join(map(plain, names))}.")
    elif names:
        any_class(choice.look.model, probabilities)


def any_class(model: Model, probabilities: np.ndarray) -> None:
    """All classes in a list that can be searched, and how sure it is of the chosen one."""
    index: dict[str, int] = {}
    for i in range(len(probabilities)):
        index.setdefault(model.class_name(i), i)
    if st.session_state.get("explore_class") not in index:  # of another network
        st.session_state["explore_class"] = None
    chosen = st.selectbox(
        f"All {len(probabilities):,} classes",
        sorted(index, key=str.casefold),
        index=None,
        placeholder="Search for a class",
        key="explore_class",
    )
    if chosen in index:
        share = float(probabilities[index[chosen]])
        rank = int((probabilities > share).sum()) + 1
        st.caption(f"{plain(chosen)}: {share:.2%} sure, number {rank:,} of its answers.")


@st.fragment
def cost(choice: controls.Choice) -> None:
    """FLOPs by block, and the time it took masked against dense."""
    run = choice.run
    st.header("What did it cost?", anchor=False)
    names, executed, dense = views.cost(run, choice.look.model.plan)
    st.plotly_chart(
        figures.flops_by_block(names, executed, dense),
        key="explore_cost",
        config=views.QUIET,
        alt="FLOPs of each block, this image over every unit running",
    )
    time_it(choice.look, run)


def time_it(look: Look, run: Run) -> None:
    """Time the network with halting, without it, and dense; what was measured stays a while."""
    asked_for, timing = st.session_state.get("explore_timing", (None, None))
    timing = timing if asked_for == look.key else None
    asked = st.session_state.pop("explore_asked", None) == look.key
    halts = look.model.config.halts
    against = "against dense networks" if halts else "in every dense engine"
    label = "Measure again" if asked or timing else f"Time it {against}"
    st.button(label, icon=":material/timer:", key="explore_time", on_click=ask, args=(look,))
    slot = st.empty()
    if asked:
        with controls.guarded(), controls.progress() as bar:

            def say(what: str, done: float) -> None:
                bar.progress(done, what)

            for timing in measure(look, say):
                st.session_state["explore_timing"] = look.key, timing
                with slot.container():
                    times_of(timing, look, run)
    elif timing is not None:
        with slot.container():
            times_of(timing, look, run)
    else:
        st.caption(
            ("Runs it with and without halting in the same engine" if halts else "Runs it here")
            + ", and dense in PyTorch, in turns; "
            "compiling PyTorch's network for the last of them takes a minute or two."
        )


def ask(look: Look) -> None:
    """The button was pressed."""
    st.session_state["explore_asked"] = look.key


def times_of(timing: Timing, look: Look, run: Run) -> None:
    """What was measured, drawn and in words."""
    st.plotly_chart(
        figures.times(
            [times.LABELS[each.side] for each in timing.sides],
            [each.median for each in timing.sides],
            [each.quartiles for each in timing.sides],
        ),
        key=f"explore_times_{len(timing.sides)}",
        config=views.QUIET,
        alt="Median time with halting, without it, and dense"
        if look.model.config.halts
        else "Median time of every dense engine",
    )
    vanilla = loaders.vanilla_flops(look.model.config, run.result.input_size)
    st.markdown(times.words(timing, int(run.executed.total[0]), int(vanilla.total[0])))
    threads = "one thread" if timing.threads == 1 else f"{timing.threads} threads"
    st.caption(
        f"Medians of {len(timing.sides[0].seconds)} turns of this one image, whiskers from "
        f"quartile to quartile; every side has a process of its own with {threads}, computes in "
        "float32 and waits for its turn. "
        "PyTorch runs the same weights without halting, the masked engine (Numba) the rest. "
        f"{plain(hardware())}, which may be busy. {plain(timing.absent)}"
    )
