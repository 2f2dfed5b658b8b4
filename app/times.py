"""What an image took, side by side, and how to say it; no Streamlit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: The sides as pages call them. The masked engine runs the first two, PyTorch the rest.
LABELS = {
    "halting": "with halting",
    "vanilla": "without halting",
    "eager": "PyTorch, eager",
    "frozen": "PyTorch, compiled",
    "openvino": "OpenVINO",
    "openvino-bf16": "OpenVINO, bfloat16",
    "onnxruntime": "ONNX Runtime",
}

#: What stands beside every time of a single look: not as good as times taken in turns.
ONCE = (
    "Of the network alone, warm: one run, or the median of up to three where it is quick, when "
    "this was first asked for. What else the machine did then is in it, so two such times may "
    "differ by more than the networks do."
)

#: What stands below a table that has no times yet.
NOT_YET = (
    "No times yet: the masked engine is being compiled, which takes a minute once on every "
    "machine. Until then plain NumPy gives the same numbers, many times slower. “Measure again” "
    "shows times as soon as it is ready."
)


@dataclass(frozen=True)
class Times:
    """What one side took.

    Attributes
    ----------
    side : str
        ``"halting"`` and ``"vanilla"``: the network and its vanilla twin, the same
        weights without halting, by the masked engine. ``"eager"`` and ``"frozen"``:
        the twin by PyTorch, as it is and compiled with its weights frozen. Others: the
        twin by what the benchmark calls so.
    seconds : tuple of float
        Median of each turn.
    """

    side: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of all turns."""
        return float(np.median(self.seconds))

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third."""
        first, third = np.percentile(self.seconds, [25, 75])
        return float(first), float(third)

    def over(self, other: Times) -> tuple[float, float, float]:
        """How many times as long as another side, turn by turn: the three quartiles."""
        ratios = np.array(self.seconds) / np.array(other.seconds)
        first, median, third = np.percentile(ratios, [25, 50, 75])
        return float(first), float(median), float(third)


@dataclass(frozen=True)
class Timing:
    """One image, side by side.

    Attributes
    ----------
    sides : tuple of Times
        That took turns.
    threads : int
        Of every side.
    absent : str
        Why a side is missing; empty where none is.
    """

    sides: tuple[Times, ...]
    threads: int
    absent: str = ""

    def side(self, name: str) -> Times | None:
        """One side; None where it was not measured."""
        return next((times for times in self.sides if times.side == name), None)

    @property
    def rival(self) -> Times:
        """The fastest dense network of all that were measured but the network itself."""
        return min((t for t in self.sides if t.side != "halting"), key=lambda t: t.median)


def words(timing: Timing, executed: int, vanilla: int) -> str:
    """What halting saves, and how that stands against the fastest dense network.

    Parameters
    ----------
    timing : Timing
        What was measured.
    executed, vanilla : int
        FLOPs of the image with halting, and without it.
    """
    own, twin, rival = timing.side("halting"), timing.side("vanilla"), timing.rival
    if own is None or twin is None:
        return f"The fastest here is **{_name(rival)}**: {1000 * rival.median:.1f} ms."
    first, ratio, third = own.over(twin)
    if third < 1:
        time = f"it saves **{1 - ratio:.0%}** of its time"
    elif first > 1:
        time = f"it costs **{ratio - 1:.0%}** more time"
    else:
        time = "no difference in time can be told from the spread"
    said = (
        f"Halting spares **{1 - executed / vanilla:.0%}** of the FLOPs of the same network without "
        f"it; {time}, in the same engine: {ratio:.2f} times as long, quartiles {first:.2f} and "
        f"{third:.2f}."
    )
    first, ratio, third = rival.over(own)
    return said + (
        f" The fastest dense network here is **{_name(rival)}**: **{ratio:.2f} times** as long as "
        f"with halting, quartiles {first:.2f} and {third:.2f}."
    )


def _name(times: Times) -> str:
    name = LABELS[times.side]
    return f"the masked engine {name}" if times.side == "vanilla" else name
