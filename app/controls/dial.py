"""A network that takes any tau on a page: its slider, and what happens when it is let go."""

from __future__ import annotations

import streamlit as st

from app import families, figures, loaders, views
from app.folders import InputError, sentence
from app.records import Look, Model, Run
from app.texts import plain_lines
from app.viewer import Dial
from app.viewer import component as viewer


def run_all(look: Look, run: Run) -> loaders.Dial:
    """The image at many taus, those of the specialists and the chosen one among them.

    Raises
    ------
    InputError
        As `loaders.dial`.
    """
    marks = [tau for tau, _ in specialist_marks(look.model)]
    dial = loaders.dial(look, marks)
    return dial if look.tau is None else loaders.with_run(dial, look.tau, run)


def specialist_marks(model: Model) -> list[tuple[float, str]]:
    """Taus of the checkpoints that were trained for one, and what to call the mark."""
    assert model.tau_range is not None
    low, high = model.tau_range
    found = families.specialists(model, loaders.shipped_models())
    taus = [(member.tau, families.title(member)) for member in found if member.tau is not None]
    return [(tau, f"τ = {tau:g}: {name} was trained for it") for tau, name in taus
            if low <= tau <= high]  # fmt: skip


def slider(model: Model, dial: loaders.Dial, metric: str, tau: float | None) -> Dial:
    """The dial as the viewer draws it."""
    best = dial.probabilities.max(axis=1)
    return Dial(
        taus=dial.taus.tolist(),
        frames=getattr(dial, metric),
        at=tau if tau is not None else float(dial.taus[0]),
        share=dial.share.tolist(),
        says=[
            f"{figures.si(flops)}FLOPs · {model.class_name(int(says))}, {sure:.0%}"
            for flops, says, sure in zip(dial.flops, dial.says, best, strict=True)
        ],
        marks=specialist_marks(model),
    )


def stretched(dial: loaders.Dial, metric: str) -> tuple[float, float]:
    """Ends of a scale from the least to the most of all taus."""
    ends = [(maps.min(axis=0), maps.max(axis=0)) for maps in getattr(dial, metric)]
    low, high = float(sum(a.min() for a, _ in ends)), float(sum(b.max() for _, b in ends))
    return views.readable(low, high)


def take_tau(page: str, key: str, name: str = "tau") -> None:
    """The slider of tau was let go."""
    tau = viewer.dialled(key, "tau")
    if tau is not None:
        st.session_state[f"{page}_{name}"] = tau
        st.rerun()


def take_target(page: str, key: str, look: Look, name: str = "tau") -> None:
    """The slider of the budget was let go: find the tau that spends it."""
    target = viewer.dialled(key, "target")
    if target is None:
        return
    try:
        found = loaders.find_tau(look, min(target, 1.0))
    except InputError as error:
        st.session_state[f"{page}_budget"] = str(error)
    else:
        st.session_state[f"{page}_{name}"] = loaders.round_tau(look.model, found.tau)
        if found.warning:
            st.session_state[f"{page}_budget"] = sentence(ValueError(found.warning))
    st.rerun()


def say_budget(page: str) -> None:
    """What there is to say of the last budget: that no tau spends it, for one."""
    problem = st.session_state.pop(f"{page}_budget", None)
    if problem:
        st.warning(plain_lines(problem), icon=":material/savings:")
