"""Write figures, each with what it shows and how it was made inside the file."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sact_core.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Endings of figures.
FIGURES = (".svg", ".pdf", ".png")
#: Dots per inch of PNG, which the other figures do not have.
DPI = 300


@contextmanager
def style(font_size: float) -> Iterator[None]:
    """Draw with one size of type, the same bytes each time, maps and images kept apart."""
    import matplotlib

    with matplotlib.rc_context(
        {
            "font.size": font_size,
            "axes.titlesize": font_size,
            "axes.labelsize": font_size,
            "xtick.labelsize": font_size,
            "ytick.labelsize": font_size,
            "legend.fontsize": font_size,
            "text.parse_math": False,  # names are strangers'
            "image.composite_image": False,
            "pdf.fonttype": 42,  # type that a publisher can embed
            "svg.hashsalt": "sact",
        }
    ):
        yield


def write_figure(path: Path, figure: Figure, about: Mapping[str, Any]) -> None:
    """Write a figure at its own width, as its ending says.

    Parameters
    ----------
    path : Path
        Ends in one of `FIGURES`.
    figure, about
        As in `figure_bytes`.

    Raises
    ------
    ValueError
        If its parts have no room beside each other.
    OSError
        If it cannot be written.
    """
    write_bytes(path, figure_bytes(path.suffix.lower(), figure, about))


def figure_bytes(ending: str, figure: Figure, about: Mapping[str, Any], dpi: float = DPI) -> bytes:
    """Give a figure at its own width as a file.

    Parameters
    ----------
    ending : str
        One of `FIGURES`.
    figure : Figure
        Drawn within `style`.
    about : mapping
        What it shows and how it was made: ``title``, ``version`` and more, as JSON in the
        metadata of the file (SVG and PNG: Description, PDF: Subject).
    dpi : float
        Of PNG, and of what has pixels in the others.

    Raises
    ------
    ValueError
        If its parts have no room beside each other.
    """
    text = json.dumps(about)
    title, creator = str(about["title"]), f"SACT Explorer {about['version']}"
    metadata: dict[str, dict[str, Any]] = {
        ".svg": {"Title": title, "Description": text, "Creator": creator, "Date": None},
        ".pdf": {"Title": title, "Subject": text, "Creator": creator, "CreationDate": None},
        ".png": {"Title": title, "Description": text, "Software": creator},
    }
    out = io.BytesIO()
    with warnings.catch_warnings():
        # Matplotlib only warns, and draws all parts over each other.
        warnings.filterwarnings("error", "constrained_layout not applied", UserWarning)
        try:
            figure.savefig(out, format=ending[1:], dpi=dpi, metadata=metadata[ending])
        except UserWarning:
            width = figure.get_figwidth()
            raise ValueError(
                f"a figure {width:g} inches wide has no room for what it shows: make it wider"
            ) from None
    return out.getvalue()
