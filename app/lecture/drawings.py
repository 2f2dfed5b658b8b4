"""Figures that are drawn, in the colours of the page."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st


def draw(name: str) -> None:
    """Draw one: ``"unit"``, a residual unit; ``"block"``, positions that stop in a block."""
    with st.container(key=f"start_{name}"):
        _component(name)(key=f"start_drawing_{name}")


@cache
def _component(name: str) -> Any:
    folder = Path(__file__).parent
    return st.components.v2.component(
        f"sact_drawing_{name}",
        html=(folder / f"{name}.svg").read_text(encoding="utf-8"),
        css=(folder / "drawings.css").read_text(encoding="utf-8"),
    )
