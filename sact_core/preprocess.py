"""From the uint8 pixels of a photograph to the input of a network.

Two steps: `fit_image` brings a photograph to the size that the network works
at, still in pixel values; `normalise` scales the values. `prepare` does both, and
`see` gives what is shown of the photograph too, as a checkpoint's `Preprocessing`
says:

- ``cifar``: an image already of the right size is left alone; any other is cut
  to its central square and resized with antialiasing. Then every image is
  standardised by itself.
- ``mobile``: the same, but for the values, which become ``(x - 127) / 128``.
- ``imagenet``, ``fit="crop"``: the authors' evaluation: central crop, bilinear
  resize to a square (which changes the aspect), scaled to [-1, 1].
- ``fit="square"``, every kind: the central square of that crop, resized with
  antialiasing; nothing is stretched.
- ``fit="keep"``, every kind: the whole photograph, resized with antialiasing
  so that its longer side is ``image_size``.

Pixel values are uint8 from 0 to 255 or, after a resize that gives fractions,
float32 from 0 to 1, as in TensorFlow.

Source: the authors' published evaluation, TensorFlow's ``central_crop``,
``resize_bilinear`` and ``per_image_standardization``, and the published evaluation of
EfficientNet-Lite.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sact_core.config import KINDS, Preprocessing


@dataclass(frozen=True, eq=False)
class Seen:
    """A photograph as a network sees it.

    Attributes
    ----------
    x : np.ndarray [shape=(1, H, W, 3), float32]
        The network's input.
    pixels : np.ndarray [shape=(H, W, 3), uint8]
        The same for people: before its values were scaled, fractions rounded.
    """

    x: np.ndarray
    pixels: np.ndarray


def see(image: np.ndarray, preprocessing: Preprocessing, divisor: int = 1) -> Seen:
    """Turn one photograph into a network's input, and keep what can be shown of it.

    Parameters, errors: as `prepare`.
    """
    fitted = fit_image(image, preprocessing, divisor)
    pixels = fitted
    if fitted.dtype != np.uint8:
        pixels = np.rint(np.clip(fitted, 0, 1) * 255).astype(np.uint8)
    return Seen(normalise(fitted, preprocessing.kind)[None], pixels)


def prepare(image: np.ndarray, preprocessing: Preprocessing, divisor: int = 1) -> np.ndarray:
    """Turn one photograph into a network's input.

    Parameters
    ----------
    image : np.ndarray [shape=(h, w, 3), uint8]
        RGB.
    preprocessing : Preprocessing
        What to do; a checkpoint carries its own.
    divisor : int
        What the sides of a photograph that keeps its aspect are rounded to;
        ``plan.divisor`` of the network.

    Returns
    -------
    np.ndarray [shape=(h', w', 3), float32]

    Raises
    ------
    ValueError
        If ``image`` is no RGB image of type uint8.
    """
    return normalise(fit_image(image, preprocessing, divisor), preprocessing.kind)


def fit_image(image: np.ndarray, preprocessing: Preprocessing, divisor: int = 1) -> np.ndarray:
    """Bring a photograph to the size that the network works at.

    Parameters
    ----------
    image : np.ndarray [shape=(h, w, 3), uint8]
        RGB.
    preprocessing : Preprocessing
        Its ``image_size``, ``fit`` and ``crop_fraction`` count.
    divisor : int
        As in `prepare`.

    Returns
    -------
    np.ndarray [shape=(h', w', 3), uint8 or float32]
        Pixel values: what the network gets to see.

    Raises
    ------
    ValueError
        If ``image`` is no RGB image of type uint8.
    """
    check_image(image)
    size = fitted_size((image.shape[0], image.shape[1]), preprocessing, divisor)
    if preprocessing.fit == "keep":
        return resize_antialiased(image, size)
    cropped = central_crop(image, preprocessing.crop_fraction)
    if KINDS[preprocessing.kind].stretches and preprocessing.fit == "crop":
        return resize_bilinear(cropped, size)
    return fit_square(cropped, size[0])


def fitted_size(
    size: tuple[int, int], preprocessing: Preprocessing, divisor: int = 1
) -> tuple[int, int]:
    """Give the height and width that `fit_image` brings a photograph to.

    Parameters
    ----------
    size : tuple of int
        Height and width now.
    preprocessing, divisor
        As in `fit_image`.
    """
    side = preprocessing.image_size
    return kept_size(size, side, divisor) if preprocessing.fit == "keep" else (side, side)


def fit_square(image: np.ndarray, side: int) -> np.ndarray:
    """Cut out the central square and resize it with antialiasing.

    Parameters
    ----------
    image : np.ndarray [shape=(h, w, 3), uint8]
    side : int
        Side of the result; a square of that size is left alone.

    Returns
    -------
    np.ndarray [shape=(side, side, 3), uint8]
    """
    return resize_antialiased(central_square(image), (side, side))


def normalise(images: np.ndarray, kind: str) -> np.ndarray:
    """Scale pixel values as a network expects them.

    Parameters
    ----------
    images : np.ndarray [shape=(..., h, w, 3), uint8 or float32]
        Pixel values of one or many images.
    kind : str
        One of `sact_core.config.KINDS`. ``"cifar"``:
        ``(x - mean) / max(std, 1 / sqrt(number of values))`` over each image.
        ``"imagenet"``: to [-1, 1]. ``"mobile"``: ``(x - 127) / 128``.

    Returns
    -------
    np.ndarray [shape=(..., h, w, 3), float32]
    """
    scale = KINDS[kind].scale
    if scale is not None:
        offset, factor = scale
        return (_fractional(images) - np.float32(offset)) * np.float32(factor)
    x = images.astype(np.float64) * (1 if images.dtype == np.uint8 else 255)
    axes = (-3, -2, -1)
    mean, std = x.mean(axes, keepdims=True), x.std(axes, keepdims=True)
    floor = np.prod(x.shape[-3:]) ** -0.5
    standardised: np.ndarray = (x - mean) / np.maximum(std, floor)
    return standardised.astype(np.float32)


def kept_size(size: tuple[int, int], longer: int, divisor: int = 1) -> tuple[int, int]:
    """Give the height and width of a photograph whose longer side becomes ``longer``.

    Parameters
    ----------
    size : tuple of int
        Height and width now.
    longer : int
        The longer side to be, in pixels.
    divisor : int
        Both sides are rounded to multiples of it, at least one multiple.
    """
    height, width = (max(1, round(side * longer / max(size) / divisor)) * divisor for side in size)
    return height, width


def central_crop(image: np.ndarray, fraction: float) -> np.ndarray:
    """Cut out the middle of an image, as TensorFlow does.

    Parameters
    ----------
    image : np.ndarray [shape=(h, w, channels)]
    fraction : float
        Share of each side that is kept, in (0, 1].
    """
    top, left = (int((side - side * fraction) / 2) for side in image.shape[:2])
    return image[top : image.shape[0] - top, left : image.shape[1] - left]


def central_square(image: np.ndarray) -> np.ndarray:
    """Cut out the largest square in the middle of an image [shape=(h, w, channels)]."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def resize_bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize as TensorFlow 1 did: source coordinate = index * size ratio, no antialiasing.

    Parameters
    ----------
    image : np.ndarray [shape=(h, w, channels), uint8 or float32]
        Pixel values.
    size : tuple of int
        Height and width to be.

    Returns
    -------
    np.ndarray [shape=(*size, channels), float32]
        Pixel values from 0 to 1.
    """
    rows, next_rows, down = _between(image.shape[0], size[0])
    columns, next_columns, right = _between(image.shape[1], size[1])
    down, right = down[:, None, None], right[None, :, None]

    def between_columns(pixels: np.ndarray) -> np.ndarray:
        first, second = _fractional(pixels[:, columns]), _fractional(pixels[:, next_columns])
        mixed: np.ndarray = first + (second - first) * right
        return mixed

    upper, lower = between_columns(image[rows]), between_columns(image[next_rows])
    resized: np.ndarray = upper + (lower - upper) * down
    return resized


def resize_antialiased(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a photograph with Pillow, averaging over what a new pixel covers.

    Parameters
    ----------
    image : np.ndarray [shape=(h, w, 3), uint8]
    size : tuple of int
        Height and width to be; an image of that size is left alone.

    Returns
    -------
    np.ndarray [shape=(*size, 3), uint8]
    """
    if image.shape[:2] != size:
        from PIL import Image

        pillow = Image.fromarray(np.ascontiguousarray(image))
        pillow = pillow.resize((size[1], size[0]), Image.Resampling.BICUBIC)
        image = np.array(pillow)
    return image


def check_image(image: np.ndarray) -> None:
    """Refuse what is no photograph.

    Raises
    ------
    ValueError
        If ``image`` is no array of type uint8 and shape (h, w, 3), or is empty.
    """
    if not isinstance(image, np.ndarray):
        raise ValueError(f"an image must be a NumPy array, got {type(image).__name__}")
    if image.dtype != np.uint8:
        raise ValueError(f"an image must be uint8 with values from 0 to 255, got {image.dtype}")
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image must be RGB with shape (h, w, 3), got {image.shape}")
    if not image.size:
        raise ValueError(f"an image must have at least one pixel, got shape {image.shape}")


def _fractional(pixels: np.ndarray) -> np.ndarray:
    """Pixel values as float32 from 0 to 1."""
    return pixels * np.float32(1 / 255) if pixels.dtype == np.uint8 else pixels


def _between(side: int, new_side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neighbours of every new index, and how far it lies towards the second."""
    at = np.arange(new_side, dtype=np.float32) * np.float32(side / new_side)
    below = np.minimum(at.astype(np.int64), side - 1)
    return below, np.minimum(below + 1, side - 1), at - below.astype(np.float32)
