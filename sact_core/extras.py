"""Packages that the core does without, and the extra that installs each.

``pip install sact-explorer`` brings what reading and running a network takes;
what needs more says so in one sentence, before its work begins.
"""

from __future__ import annotations

import importlib.util

#: Extra of ``pip install 'sact-explorer[EXTRA]'`` -> the modules that it is for.
EXTRAS = {
    "train": ("torch", "google_crc32c"),
    "data": ("tensorflow_datasets", "array_record", "google_crc32c"),
    "plots": ("matplotlib", "plotly"),
    "app": ("streamlit", "plotly", "matplotlib", "torch"),
    "import-tf": ("cramjam", "google_crc32c"),
    "onnx": ("onnx",),
    "notebook": ("anywidget",),
    "bench": ("onnx", "onnxruntime", "openvino"),
}


class MissingPackage(ImportError, ValueError):
    """A package is not installed; the message names the extra that installs it."""


def need(extra: str, what: str, *names: str) -> None:
    """Make sure that packages of an extra are installed; none is loaded.

    Parameters
    ----------
    extra : str
        One of `EXTRAS`.
    what : str
        What they are needed for, such as ``"the dense backend"``.
    *names : str
        Those of the extra that it is; all where left out.

    Raises
    ------
    MissingPackage
        If one is not.
    """
    for name in names or EXTRAS[extra]:
        if importlib.util.find_spec(name) is None:
            raise MissingPackage(sentence(what, name, extra), name=name)


def sentence(what: str, name: str, extra: str | None = None) -> str | None:
    """Say what is missing and how to install it; None for a package of no extra.

    Parameters
    ----------
    what : str
        What needs the package.
    name : str
        The module that could not be imported; its first part counts.
    extra : str, optional
        The extra to name; the first that has the package, where left out.
    """
    name = name.split(".")[0]
    extra = extra or next((each for each, names in EXTRAS.items() if name in names), None)
    if extra is None:
        return None
    return (
        f"{what} needs {name}, which is not installed: pip install 'sact-explorer[{extra}]' "
        "brings it"
    )
