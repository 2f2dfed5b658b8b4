"""Where halting pays on this machine, measured when asked."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app import controls, figures, views
from app.loaders import vanilla_flops
from app.loaders.paying import accuracies, measure_where
from app.paying import FORMATS, Where, about_image, told, without_scales
from app.texts import plain
from sact_core.benchmark import break_even, cheapest
from sact_core.benchmark.formats import FASTEST
from sact_core.provenance import hardware


@st.fragment
def where(choice: controls.Choice) -> None:
    """The section: a button, what goes on, and what was measured."""
    st.header("Where does halting pay?", anchor=False)
    model, (height, width) = choice.look.model, choice.run.result.input_size
    divisor = model.plan.divisor
    side = max(divisor, round((height * width) ** 0.5 / divisor) * divisor)
    this = (model.config, side)
    found_of, found = st.session_state.get("flops_where", (None, None))
    found = found if found_of == this else None
    asked = st.session_state.pop("flops_where_asked", None) == this
    label = "Measure again" if asked or found else "Measure it on this machine"
    st.button(label, icon=":material/grid_on:", key="flops_pays", on_click=_ask, args=(this,))
    slot = st.empty()
    if asked:
        slot.empty()
        with controls.guarded(), controls.progress() as bar:

            def say(what: str, done: float) -> None:
                bar.progress(done, what)

            found = measure_where(model.config, side, say)
        st.session_state["flops_where"] = this, found
    if found is None:
        st.caption(
            f"Times {model.config.name} {_sizes(side, (height, width))}, against the fastest dense "
            "networks that are installed here, at several densities and batch sizes, in turns; it "
            "takes a minute or two."
        )
        return
    with slot.container():
        _show(found, choice)


def _sizes(side: int, image: tuple[int, int]) -> str:
    """Say on what is measured: a square of as many pixels as the image has."""
    square, own = f"{side} × {side}", f"{image[1]} × {image[0]}"
    return (
        f"at {own} pixels"
        if own == square
        else (f"on a square of {square} pixels, about as many as this image's {own}")
    )


def _ask(this: tuple[object, int]) -> None:
    """The button was pressed."""
    st.session_state["flops_where_asked"] = this


def _show(found: Where, choice: controls.Choice) -> None:
    own, rival = _formats()
    gaps = found.gaps(own, rival)
    for gap in gaps:
        st.info(plain(gap, 1500), icon=":material/info:")
    if not gaps:
        _map(found, own, rival, choice)
    model = choice.look.model
    if own == "int8" and not gaps and not model.header.scales_hash:
        st.caption(without_scales(plain(model.name)))
    threads = "one thread" if found.threads == 1 else f"{found.threads} threads"
    st.caption(
        plain(
            f"Numbers say how many times as fast the masked engine is as the fastest of "
            f"{'; '.join(found.rivals)}, as far as they compute in the chosen number format. "
            f"Medians of few, short turns with {threads} and random weights, "
            f"{_sizes(found.side, choice.run.result.input_size)}, halting steered to each density; "
            f"{hardware()}, which may be busy.{found.left_out()}",
            1500,
        )
        + " `python -m sact_core.benchmark infer --map FILE.h5` measures longer and against more."
    )


def _formats() -> tuple[str, str]:
    """The number formats of ours and of rivals that are held against each other."""
    chosen = []
    with st.container(horizontal=True):
        for label, key in (("Ours in", "flops_pays_own"), ("Rivals in", "flops_pays_rival")):
            chosen.append(
                st.segmented_control(
                    label,
                    list(FORMATS),
                    default=FASTEST,
                    required=True,
                    format_func=FORMATS.__getitem__,
                    key=key,
                )
            )
    return chosen[0], chosen[1]


def _map(found: Where, own: str, rival: str, choice: controls.Choice) -> None:
    """Heat map and sentences of one pair of number formats."""
    cells = found.cells(own, rival)
    batches = sorted({cell.batch for cell in cells})
    ratios = sorted({cell.ratio for cell in cells}, reverse=True)
    by_place = {(cell.batch, cell.ratio): cell for cell in cells}
    grid = [[by_place[batch, ratio] for ratio in ratios] for batch in batches]
    st.plotly_chart(
        figures.paying(
            [f"batch {batch}" for batch in batches],
            [f"{ratio:.0%}" for ratio in ratios],
            np.array([[cell.speedup for cell in line] for line in grid]),
            [[told(cell) for cell in line] for line in grid],
        ),
        key="flops_where_map",
        config=views.QUIET,
        alt="Times as fast as the fastest rival, by batch size and FLOPs needed",
    )
    st.markdown(f"**{break_even.verdict(found.rows, own, rival)}**")
    config, run = choice.look.model.config, choice.run
    if config.halts:
        vanilla = int(vanilla_flops(config, run.result.input_size).total[0])
        st.markdown(about_image(cells, int(run.executed.total[0]) / vanilla))
    _accuracy(found, own, rival, choice)


def _accuracy(found: Where, own: str, rival: str, choice: controls.Choice) -> None:
    """Accuracy against milliseconds, where what the network gets right is known."""
    model = choice.look.model
    known, side = accuracies(), model.header.preprocessing.image_size
    if not any(entry["content_hash"] == model.digest for entry in known):
        return
    if found.side != side:
        st.caption(
            f"Accuracy against milliseconds is shown for images of {side} × {side} pixels, as this "
            "network was tested on."
        )
        return
    batches = sorted({row["batch"] for row in found.rows})
    batch = st.segmented_control(
        "Images at once", batches, default=batches[-1], required=True, key="flops_pays_batch"
    )
    points = [
        point
        for point in cheapest.points_of_map(found.rows, known, model.digest, batch)
        if (own if point.own else rival) in (FASTEST, point.number_format)
    ]
    if not points:
        return
    st.plotly_chart(
        figures.accuracy_against_ms(points),
        key="flops_where_accuracy",
        config=views.QUIET,
        alt="Accuracy against milliseconds for an image, ours and rivals, by number format",
    )
    st.markdown(f"**{plain(cheapest.sentence(points), 500)}**")
