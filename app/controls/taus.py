"""Choosing the price of a unit, where a network takes any."""

from __future__ import annotations

import streamlit as st

from app import loaders
from app.lecture import glossary
from app.records import Model


def choose_tau(
    page: str,
    model: Model,
    name: str = "tau",
    label: str = "τ, the price of a unit",
    first: float | None = None,
) -> float | None:
    """Let the user choose a tau; None where the network was trained for one.

    Parameters
    ----------
    page, name : str
        Make the key.
    model : Model
        What runs at it.
    label : str
        Above the widget.
    first : float, optional
        What is chosen at first; the network's default where left out.
    """
    if model.tau_range is None:
        return None
    low, high = model.tau_range
    key, chosen = f"{page}_{name}", f"chosen_{name}_{model.digest}"
    first = loaders.round_tau(model, first or model.config.tau_default or low)
    carried = st.session_state.get(chosen)
    if key in st.session_state:
        if not low <= (st.session_state[key] or 0) <= high:  # of another network
            st.session_state[key] = first
    elif key not in st.query_params and carried not in (None, first):
        st.query_params[key] = str(carried)
        st.session_state[key] = carried
    tau = st.number_input(
        label,
        low,
        high,
        value=first,
        step=loaders.round_tau(model, low),
        format="%.4g",
        key=key,
        bind="query-params",
        help=f"{glossary.meaning('τ')} This network takes any from {low:g} to {high:g}.",
    )
    tau = min(max(float(tau), low), high)
    st.session_state[chosen] = tau
    return tau


def any_tau(model: Model) -> str:
    """What a network that takes any tau is, in a line."""
    assert model.tau_range is not None
    low, high = model.tau_range
    return (
        f"One network for every τ from {low:g} to {high:g}. More τ makes every halting score "
        "rise: at equal features no position runs longer."
    )
