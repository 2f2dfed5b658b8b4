"""Photographs and where people looked, in the folders of the CAT2000 data set.

::

    Stimuli/<Category>/NNN.jpg           the photographs
    FIXATIONLOCS/<Category>/NNN.mat      ``fixLocs``: 1 at every fixated pixel, else 0

Source: Borji and Itti 2015, arXiv:1505.03581 (CAT2000).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sact_core.data.folders import images_in
from sact_core.data.walk import sub_folders
from sact_core.measures.mat_file import read_mat
from sact_core.texts import shown

VARIABLE = "fixLocs"


@dataclass(frozen=True)
class Stimulus:
    """One photograph.

    Attributes
    ----------
    category, name : str
        Its folder, and folder and file together.
    image, fixations : Path
        The photograph and the file of its fixations, which may be absent.
    """

    category: str
    name: str
    image: Path
    fixations: Path


def stimuli(root: str | Path, num_examples: int | None = None) -> list[Stimulus]:
    """List the photographs of a folder, category by category.

    Parameters
    ----------
    root : str or Path
        Holds ``Stimuli`` and ``FIXATIONLOCS``.
    num_examples : int, optional
        Only the first so many of each category.

    Raises
    ------
    ValueError
        If the folder is not laid out like that or has no photographs.
    """
    root = Path(root)
    for name in ("Stimuli", "FIXATIONLOCS"):
        if not (root / name).is_dir():
            raise ValueError(
                f"{root} has no folder {name}: name the folder of CAT2000 that holds Stimuli and "
                f"FIXATIONLOCS (in the published archive, trainSet)"
            )
    found = []
    for folder in sub_folders(root / "Stimuli"):
        # Folders in folders hold other people's predictions.
        for image in images_in(folder, deep=False)[:num_examples]:
            where = root / "FIXATIONLOCS" / folder.name / f"{image.stem}.mat"
            found.append(
                Stimulus(shown(folder.name), shown(f"{folder.name}/{image.name}"), image, where)
            )
    if not found:
        raise ValueError(f"{root / 'Stimuli'} has no folders with photographs")
    return found


def read_stimulus(stimulus: Stimulus) -> tuple[np.ndarray, np.ndarray]:
    """Read a photograph and its fixations.

    Returns
    -------
    image : np.ndarray [shape=(h, w, 3), uint8]
        RGB.
    fixations : np.ndarray [shape=(h, w), bool]
        True where somebody looked.

    Raises
    ------
    ValueError
        If one of them cannot be read, their sizes differ or nobody looked
        anywhere, or somebody everywhere.
    OSError
        If there is no such file or it cannot be opened.
    """
    from sact_core.data.images import read_image

    if not stimulus.fixations.exists():
        raise ValueError(f"its fixations {stimulus.fixations} are absent")
    fixations = read_mat(stimulus.fixations, VARIABLE)
    image = read_image(stimulus.image)
    if fixations.shape != image.shape[:2]:
        raise ValueError(
            f"its fixations have shape {fixations.shape}, the photograph {image.shape[:2]}"
        )
    if not np.isfinite(fixations).all() or fixations.min() < 0:
        raise ValueError(f"{VARIABLE} must be 0, or above 0 where somebody looked")
    looked = fixations > 0
    if not looked.any():
        raise ValueError("it has no fixation")
    if looked.all():
        raise ValueError("every pixel is fixated")
    return image, looked
