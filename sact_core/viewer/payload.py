"""What the viewer draws, as plain JSON."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sact_core.viewer.colours import colour_table


@dataclass(frozen=True, eq=False)
class Layer:
    """A map at its own resolution, enlarged by nearest neighbour in the browser.

    Attributes
    ----------
    name : str
        Short name for the read-out, such as ``block 1``.
    values : np.ndarray [shape=(h, w)]
    """

    name: str
    values: np.ndarray


@dataclass(frozen=True)
class Scale:
    """Colours of a map.

    Attributes
    ----------
    low, high : float
        Values of the first and last colour.
    unit : str
        What the values count.
    colour_map : str
        One of `sact_core.viewer.colours.STOPS`.
    """

    low: float
    high: float
    unit: str = "units"
    colour_map: str = "viridis"


@dataclass(frozen=True)
class Panel:
    """One view of the image.

    Attributes
    ----------
    title : str
        Above it.
    layers : sequence of int
        Layers that are added up; a negative number ``-1 - i`` subtracts layer i.
    scale : int
        Which scale colours them.
    picture : bool
        Whether the image lies beneath.
    opacity : float
        Of the map over the image, in [0, 1].
    film : bool
        Whether it shows which positions are active at the stage.
    note : str
        Below it, where there is no colour bar.
    side : str
        Small, beside the title.
    alt : str
        For screen readers.
    detail, silent : bool
        Whether the read-out lists every layer, or leaves the panel out.
    says : str
        Name of the value in the read-out.
    """

    title: str
    layers: Sequence[int] = ()
    scale: int = -1
    picture: bool = False
    opacity: float = 1.0
    film: bool = False
    note: str = ""
    side: str = ""
    alt: str = ""
    detail: bool = False
    silent: bool = False
    says: str = ""


@dataclass(frozen=True)
class Stage:
    """A moment of the film: the positions of ``layer`` above ``unit`` are active."""

    layer: int
    unit: int
    label: str
    short: str


@dataclass(frozen=True, eq=False)
class Dial:
    """A slider over prices: the maps of all of them, moved through in the browser.

    Attributes
    ----------
    taus : sequence of float
        Rising.
    frames : sequence of np.ndarray [shape=(len(taus), h, w)]
        Values of every layer at every tau; not negative.
    at : float
        The tau that is shown, one of ``taus``.
    share : sequence of float
        Share of dense FLOPs at every tau.
    says : sequence of str
        What is said beside the slider at every tau.
    marks : sequence of (float, str)
        Taus to mark on the slider, and their names.
    """

    taus: Sequence[float]
    frames: Sequence[np.ndarray]
    at: float
    share: Sequence[float]
    says: Sequence[str]
    marks: Sequence[tuple[float, str]] = ()


def payload(
    image: np.ndarray,
    layers: Sequence[Layer],
    panels: Sequence[Panel],
    scales: Sequence[Scale] = (),
    *,
    mark: tuple[int, int] | None = None,
    stages: Sequence[Stage] = (),
    unit: int = 0,
    swipe: str = "",
    dial: Dial | None = None,
    clickable: bool = False,
    hint: str = "",
    max_height: int = 420,
    panel_width: int = 230,
) -> dict[str, Any]:
    """Pack arrays and settings for the browser.

    Parameters
    ----------
    image : np.ndarray [shape=(H, W, 3), uint8]
        What the network sees.
    layers : sequence of Layer
        Maps that panels refer to by index.
    panels : sequence of Panel
        What to draw; they zoom and pan together.
    scales : sequence of Scale
        Colours that panels refer to by index.
    mark : tuple of int, optional
        Row and column of the input to frame.
    stages : sequence of Stage
        The film, first to last; empty for none.
    unit : int
        Stage that is shown.
    swipe : str
        Where given, the first two panels share one view of that title.
    dial : Dial, optional
        A slider that moves all layers through prices.
    clickable : bool
        Whether a click chooses a position.
    hint : str
        Read-out while nothing is pointed at.
    max_height, panel_width : int
        Of a panel, in pixels.
    """
    size = image.shape[:2]
    data: dict[str, Any] = {
        "size": list(size),
        "image": image_url(image),
        "maps": [
            {
                "name": layer.name,
                "h": layer.values.shape[0],
                "w": layer.values.shape[1],
                "data": _base64(np.asarray(layer.values, "<f4")),
            }
            for layer in layers
        ],
        "scales": [
            {
                "low": float(scale.low),
                "high": float(scale.high),
                "unit": scale.unit,
                "table": _base64(colour_table(scale.colour_map)),
            }
            for scale in scales
        ],
        "panels": [_panel(panel) for panel in panels],
        "mark": list(mark) if mark is not None else None,
        "clickable": clickable,
        "hint": hint,
        "mode": "swipe" if swipe else "panels",
        "title": swipe,
        "max_height": max_height,
        "panel_width": panel_width,
    }
    if dial is not None:
        for each, frames in zip(data["maps"], dial.frames, strict=True):
            each["step"], each["frames"] = _frames(frames)
            del each["data"]  # the frames hold it
        data["dial"] = {
            "taus": [float(tau) for tau in dial.taus],
            "at": int(np.abs(np.asarray(dial.taus) - dial.at).argmin()),
            "share": [float(share) for share in dial.share],
            "says": list(dial.says),
            "marks": [{"tau": float(tau), "name": name} for tau, name in dial.marks],
        }
    if stages:
        data["stages"] = [
            {"map": s.layer, "unit": s.unit, "label": s.label, "short": s.short} for s in stages
        ]
        data["unit"] = min(max(unit, 0), len(stages) - 1)
    return data


def image_url(image: np.ndarray) -> str:
    """Pack an image into a PNG data URL.

    Parameters
    ----------
    image : np.ndarray [shape=(h, w, 3), uint8]
    """
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=3)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _panel(panel: Panel) -> dict[str, Any]:
    terms = [
        {"map": index, "sign": 1} if index >= 0 else {"map": -1 - index, "sign": -1}
        for index in panel.layers
    ]
    return {
        "title": panel.title,
        "terms": terms,
        "scale": panel.scale,
        "picture": panel.picture,
        "opacity": panel.opacity,
        "film": panel.film,
        "note": panel.note,
        "side": panel.side,
        "alt": panel.alt,
        "detail": panel.detail,
        "silent": panel.silent,
        "says": panel.says,
    }


def _frames(values: np.ndarray) -> tuple[float, str]:
    """Values in 16 bits, and what one step of them is worth."""
    step = max(float(values.max()), 1e-6) / 65535
    return step, _base64(np.round(values / step).astype("<u2"))


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
