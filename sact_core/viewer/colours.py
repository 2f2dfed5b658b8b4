"""Colours of maps, without a library of figures: what the viewer needs in every host."""

from __future__ import annotations

import numpy as np

#: Perceptually uniform, from little to much, as Plotly has them: evenly spaced stops.
STOPS = {
    "viridis": "440154 482878 3e4989 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725",
    "cividis": "00224e 123570 3b496c 575d6d 707173 8a8678 a59c74 c3b369 e1cc55 fee838",
    "inferno": "000004 1b0c41 4a0c6b 781c6d a52c60 cf4446 ed6925 fb9b06 f7d13d fcffa4",
    "magma": "000004 180f3d 440f76 721f81 9e2f7f cd4071 f1605d fd9668 feca8d fcfdbf",
    "plasma": "0d0887 46039f 7201a8 9c179e bd3786 d8576b ed7953 fb9f3a fdca26 f0f921",
    # For signed differences: blue is less, orange is more.
    "difference": "08306b 2166ac 4393c3 92c5de d1e5f0 fde0c5 f4a582 d6754d b2502b 67280f",
}


def colour_stops(name: str) -> list[str]:
    """Give a colour map as evenly spaced colours, such as ``#440154``.

    Raises
    ------
    ValueError
        If there is no such colour map.
    """
    if name not in STOPS:
        raise ValueError(f"colour_map must be one of {', '.join(STOPS)}, got {name!r}")
    return [f"#{stop}" for stop in STOPS[name].split()]


def colour_table(name: str) -> np.ndarray:
    """Give a colour map as 256 colours [shape=(256, 3), uint8].

    Raises
    ------
    ValueError
        As `colour_stops`.
    """
    stops = [list(bytes.fromhex(stop[1:])) for stop in colour_stops(name)]
    colours = np.array(stops, float)
    at, shares = np.linspace(0, 1, 256), np.linspace(0, 1, len(stops))
    table = np.stack([np.interp(at, shares, colours[:, i]) for i in range(3)], -1)
    return np.round(table).astype(np.uint8)
