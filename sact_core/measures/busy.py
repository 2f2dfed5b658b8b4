"""How much there is to see in an image, known without a network: edges and colours.

What a network finds dear may only be busy; these are the two controls.

Source: colourfulness after Hasler and Süsstrunk 2003, "Measuring colourfulness in natural
images".
"""

from __future__ import annotations

import numpy as np

#: Step of brightness, of one, from the pixel before to the pixel after that makes an edge.
EDGE = 0.2
#: Shares of red, green and blue in brightness (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)


def edge_density(image: np.ndarray) -> float:
    """Share of pixels at which brightness changes sharply.

    Parameters
    ----------
    image : np.ndarray [shape=(h, w, 3), uint8]
        RGB, at least 3 pixels high and wide; of smaller ones the density is 0.

    Returns
    -------
    float
        From 0 to 1, of the pixels inside the border: those with a central difference of
        brightness, down and across together, of at least `EDGE`.
    """
    luma = image.astype(np.float64) @ np.array(LUMA) / 255
    down, across = luma[2:, 1:-1] - luma[:-2, 1:-1], luma[1:-1, 2:] - luma[1:-1, :-2]
    steps = np.hypot(down, across)
    return float((steps >= EDGE).mean()) if steps.size else 0.0


def colourfulness(image: np.ndarray) -> float:
    """How colourful an image looks: 0 where all is grey, about 100 for the gaudiest.

    Parameters
    ----------
    image : np.ndarray [shape=(h, w, 3), uint8]
        RGB.
    """
    red, green, blue = image.reshape(-1, 3).astype(np.float64).T
    one, other = red - green, (red + green) / 2 - blue
    spread = np.hypot(one.std(), other.std())
    return float(spread + 0.3 * np.hypot(one.mean(), other.mean()))
