"""The viewer's own files: what a browser runs, and how it looks."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def text(name: str) -> str:
    """Read a file of this folder, such as ``viewer.js``."""
    return (files("sact_core.viewer") / name).read_text(encoding="utf-8")


def script(host: str) -> str:
    """Give the JavaScript module for a host: the viewer, then what this host adds.

    Parameters
    ----------
    host : str
        ``"streamlit"``: one viewer on a page of the app.
    """
    return "\n".join(text(f"{name}.js") for name in SCRIPTS[host])


#: What the module of each host is put together of.
SCRIPTS = {"streamlit": ("viewer", "host_streamlit")}
