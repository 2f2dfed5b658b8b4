"""The viewer's own files: what a browser runs, and how it looks."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

#: What the module of each host is put together of. ``explorer`` is a viewer of maps with
#: what follows it: film, dial, why a position stopped, what was said and what it cost.
SCRIPTS = {
    "streamlit": ("viewer", "host_streamlit"),
    "page": ("viewer", "block", "parts", "explorer", "host_page"),
    "widget": ("viewer", "block", "parts", "explorer", "host_widget"),
}
STYLES = {
    "streamlit": ("viewer",),
    "page": ("theme", "viewer", "explorer", "page"),
    "widget": ("theme", "viewer", "explorer"),
}


@cache
def text(name: str) -> str:
    """Read a file of this folder, such as ``viewer.js``."""
    return (files("sact_core.viewer") / name).read_text(encoding="utf-8")


def template() -> str:
    """Give the elements that a viewer finds in its host, as HTML."""
    return text("viewer.html")


@cache
def script(host: str) -> str:
    """Give the JavaScript module for a host, one of `SCRIPTS`."""
    parts = [text(f"{name}.js") for name in SCRIPTS[host]]
    if "explorer" in SCRIPTS[host]:
        parts.insert(0, f"const TEMPLATE = {json.dumps(template())}\n")
    if host == "widget":  # which brings its style along
        parts.insert(0, f"const STYLE = {json.dumps(style(host))}\n")
    return "\n".join(parts)


@cache
def style(host: str) -> str:
    """Give the style sheet for a host, one of `STYLES`."""
    return "\n".join(text(f"{name}.css") for name in STYLES[host])
