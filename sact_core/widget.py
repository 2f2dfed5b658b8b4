"""A network over one photograph, to look into in a notebook: ``net.explore(image)``.

The same explorer as in a file to hand on (`sact_core.handout`), by anywidget: in Jupyter,
VS Code and marimo. Everything that it shows goes to the browser once, as bytes; what is
chosen there comes back as traits, which can be set from Python too.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import anywidget
import numpy as np
import traitlets

from sact_core import __version__
from sact_core.handout import Options, Thought, about_rows, document, scene, think, write_page
from sact_core.maps.limits import unit_limits
from sact_core.result import Result
from sact_core.viewer import colour_table, sources

if TYPE_CHECKING:
    from sact_core.backends import Net


class Explorer(anywidget.AnyWidget):
    """What a network did with a photograph, at one price of a unit or at many.

    Attributes
    ----------
    position : tuple of int
        Row and column of the input that are looked at.
    tau : float or None
        Price of a unit whose maps are shown; a price that is set becomes the nearest of
        `taus`. None where the network was trained for one that is not known.
    unit : int
        Unit of the film, from 1 to all units of all blocks.
    thought : Thought
        What the network did, at every price.
    """

    _esm = sources.script("widget")

    _data = traitlets.Bytes(b"").tag(sync=True)
    position = traitlets.Tuple(traitlets.Int(), traitlets.Int()).tag(sync=True)
    # Of a Float or Any that may be None, None is not validated.
    tau = traitlets.TraitType(None).tag(sync=True)
    unit = traitlets.Int(1).tag(sync=True)

    def __init__(self, thought: Thought, pixels: np.ndarray, **options: Unpack[Options]) -> None:
        self.thought, self._pixels, self._options = thought, pixels, options
        self._scene = scene("Image", pixels, [thought])
        height, width = pixels.shape[:2]
        data = document([self._scene], **options)
        super().__init__(
            _data=json.dumps(data, allow_nan=False).encode(),
            position=(height // 2, width // 2),
            tau=thought.taus[thought.at],
        )

    @property
    def taus(self) -> list[float | None]:
        """The prices that can be looked at, rising."""
        return list(self.thought.taus)

    @property
    def result(self) -> Result:
        """What the network did at the price that is shown, with ``n = 1``."""
        return self.thought.results[self.taus.index(self.tau)]

    def save(self, path: str | Path) -> None:
        """Write the same as one HTML file that opens without Python or a network.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        write_page(path, [self._scene], **self._options)

    @traitlets.validate("tau")
    def _nearest_tau(self, proposal: Any) -> float | None:
        taus = [tau for tau in self.thought.taus if tau is not None]
        if not taus:
            return None
        value = proposal["value"]
        if not isinstance(value, int | float) or not value > 0:
            raise traitlets.TraitError(f"tau must be a number above 0, got {value!r}")
        return min(taus, key=lambda tau: abs(tau - value))

    @traitlets.validate("position")
    def _inside(self, proposal: Any) -> tuple[int, int]:
        row, column = proposal["value"]
        height, width = self._pixels.shape[:2]
        if not (0 <= row < height and 0 <= column < width):
            raise traitlets.TraitError(
                f"position {(row, column)} lies outside of the {height} x {width} input"
            )
        return row, column

    @traitlets.validate("unit")
    def _one_of_the_film(self, proposal: Any) -> int:
        units = sum(self.thought.config.units_per_block)
        if not 1 <= proposal["value"] <= units:
            raise traitlets.TraitError(f"unit must be 1 to {units}, got {proposal['value']}")
        return int(proposal["value"])

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The view, and beside it a picture for pages that show no widgets."""
        made = super()._repr_mimebundle_(**options)
        if made is None:
            return None
        bundle, metadata = made if isinstance(made, tuple) else (made, {})
        return {**bundle, "image/png": _overlay(self)}, metadata


def explore(
    net: Net,
    image: np.ndarray,
    image_size: int | None = None,
    fit: str | None = None,
    *,
    tau: float | None = None,
    **options: Unpack[Options],
) -> Explorer:
    """Run a network over one photograph, at all prices of one that takes any.

    Parameters, errors: as `sact_core.backends.Net.explore`.
    """
    seen = net.see(image, image_size, fit)
    tau = net.tau if tau is None else tau
    result = net.forward(seen.x, tau=tau)
    known = net.provenance.get("tau")  # of one that was trained for it
    if tau is None and isinstance(known, int | float):
        tau = float(known)
    said = {
        "network": net.config.name,
        "backend": net.backend,
        "precision": net.precision,
        "input_size": result.input_size,
        "packages": {"sact_core": __version__, "numpy": np.__version__},
    }
    thought = think(net, seen.x, result, tau=tau, about=about_rows(said))
    return Explorer(thought, seen.pixels, **options)


def _overlay(shown: Explorer) -> bytes:
    """The map over the grey image, as PNG."""
    from PIL import Image

    options = shown._options
    metric = options.get("metric", "ponder_cost")
    pixels, alpha = shown._pixels, options.get("opacity", 0.55)
    low, high = unit_limits(shown.thought.config.units_per_block, metric)
    if shown.thought.config.halts:
        share = np.clip((shown.result.map(metric)[0] - low) / max(high - low, 1e-6), 0, 1)
        colours = colour_table(options.get("colour_map", "viridis"))[
            np.rint(255 * share).astype(int)
        ]
        grey = pixels @ np.array([0.299, 0.587, 0.114])
        pixels = np.rint(grey[..., None] * (1 - alpha) + colours * alpha).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
