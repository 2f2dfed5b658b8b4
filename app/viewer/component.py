"""The viewer on a page."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import streamlit as st

from sact_core.viewer import sources


def show(
    data: dict[str, Any],
    key: str,
    on_position: Callable[[], None] | None = None,
    on_unit: Callable[[], None] | None = None,
    on_tau: Callable[[], None] | None = None,
    on_target: Callable[[], None] | None = None,
) -> None:
    """Draw the viewer.

    Parameters
    ----------
    data : dict
        From `sact_core.viewer.payload`.
    key : str
        Starts with the page's name.
    on_position : callable, optional
        Called after a click; `position` gives it.
    on_unit : callable, optional
        Called when the film pauses; `unit` gives the stage.
    on_tau, on_target : callable, optional
        Called when the slider of tau, or of the budget, was let go; `dialled` gives
        the number.
    """
    _component()(
        key=key,
        data=data,
        on_position_change=on_position or _nothing,
        on_unit_change=on_unit or _nothing,
        on_tau_change=on_tau or _nothing,
        on_target_change=on_target or _nothing,
    )


def position(key: str) -> tuple[int, int] | None:
    """Row and column that were clicked, whole numbers inside no particular image."""
    value = (st.session_state.get(key) or {}).get("position")
    # It comes from the browser: nothing is taken for granted.
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    if not all(isinstance(part, int) and not isinstance(part, bool) for part in value):
        return None
    return int(value[0]), int(value[1])


def unit(key: str) -> int | None:
    """Stage at which the film paused."""
    value = (st.session_state.get(key) or {}).get("unit")
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def dialled(key: str, name: str) -> float | None:
    """Where a slider was let go: ``"tau"``, or ``"target"``, a share of dense FLOPs."""
    value = (st.session_state.get(key) or {}).get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if math.isfinite(value) and value > 0 else None


@cache
def _component() -> Any:
    return st.components.v2.component(
        "sact_viewer",
        html=sources.template(),
        css=sources.style("streamlit"),
        js=sources.script("streamlit"),
    )


def _nothing() -> None:
    pass
