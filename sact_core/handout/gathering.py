"""The photographs of a command, gathered into one file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sact_core.handout.page import MAX_BYTES, write_page
from sact_core.handout.scenes import METRICS, about_rows, scene
from sact_core.handout.thought import Thought, think
from sact_core.maps.limits import percentile_limits
from sact_core.texts import shown

if TYPE_CHECKING:
    from sact_core.backends import Net
    from sact_core.config import Preprocessing
    from sact_core.preprocess import Seen
    from sact_core.result import Result


@dataclass(eq=False)
class Gathering:
    """What a network did with photographs, one after another.

    Attributes
    ----------
    net : Net
        The network; its ``tau`` is looked at first.
    preprocessing : Preprocessing
        As its images are prepared.
    provenance : dict
        Where the numbers come from, as plain JSON values; ``command`` among them.
    metric : str
        What the map shows at first.
    stretch : bool
        Colours between the 0.1th and 99.9th percentile of an image's maps, of all prices; else
        from the least to the most that the network can spend.
    limits : tuple of float, optional
        Values of the first and last colour of ``metric``, whatever ``stretch`` says.
    max_bytes : int
        Of the file. Photographs beyond are left out, and counted.
    """

    net: Net
    preprocessing: Preprocessing
    provenance: dict[str, Any]
    metric: str = "ponder_cost"
    stretch: bool = True
    limits: tuple[float, float] | None = None
    max_bytes: int = MAX_BYTES
    scenes: list[dict[str, Any]] = field(default_factory=list)
    num_left_out: int = 0
    size: int = 0

    def add(self, name: str, seen: Seen, result: Result) -> None:
        """Add a photograph; a network that takes any tau runs at all prices that fit.

        Parameters
        ----------
        name : str
            Of the photograph.
        seen : Seen
            As the network saw it.
        result : Result
            What the network did, at its own ``tau``.

        Raises
        ------
        ValueError
            As `think`.
        """
        if self.num_left_out:  # a smaller one after a large one would stand in its place
            self.num_left_out += 1
            return
        said: dict[str, Any] = dict(self.provenance)
        about = about_rows({key: value for key, value in said.items() if key != "tau"})
        thought = think(
            self.net, seen.x, result, tau=said.get("tau"), about=[*about, *_price(self.net, said)]
        )
        height, width = result.input_size
        packed = scene(
            name,
            seen.pixels,
            [thought],
            limits=self._limits(thought),
            about=[
                ("Image", shown(name)),
                ("Input", f"{width} × {height} pixels, fit: {self.preprocessing.fit}"),
            ],
        )
        size = len(json.dumps(packed))
        if self.scenes and self.size + size > self.max_bytes:
            self.num_left_out += 1
            return
        self.size += size
        self.scenes.append(packed)

    def write(self, path: str | Path, **shown_as: Any) -> None:
        """Write the file.

        Raises
        ------
        OSError
            As `write_page`.
        """
        write_page(
            path,
            self.scenes,
            command=str(self.provenance.get("command", "")),
            provenance=self.provenance,
            metric=self.metric,
            **shown_as,
        )

    def _limits(self, thought: Thought) -> dict[str, tuple[float, float]]:
        found: dict[str, tuple[float, float]] = {}
        if self.stretch:
            for metric in METRICS:

                def maps(metric: str = metric) -> Iterator[np.ndarray]:
                    return (result.map(metric) for result in thought.results)

                found[metric] = percentile_limits(maps)
        return found | ({} if self.limits is None else {self.metric: self.limits})


def _price(net: Net, said: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The price of a unit: one that was trained for, or the range and the one asked for."""
    config = net.config
    if config.tau_low is not None and config.tau_high is not None:
        between = f"{config.tau_low:g} to {config.tau_high:g}"
        return [("τ, price of a unit", f"any from {between}; asked for: {said['tau']:.6g}")]
    tau = net.provenance.get("tau")
    return [] if not isinstance(tau, int | float) else [("τ, price of a unit", f"{tau:g}")]
