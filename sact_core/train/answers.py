"""What a teacher answers to the few ways in which every image is cut, kept for all runs.

A run with the recipe's ``distill_views`` sees an image in one of few views, the same in every
run. What a teacher answers to a view is asked once, by the first run that comes to it, and
read by all others that share teacher, images and cuts.

A folder holds a file for every view: ``view_3.npy`` [shape=(images, classes), float32], logits,
with NaN where nobody has asked yet. It is filled in place: whatever is there of a row when a
run is killed is right, and a row that is not whole counts as not there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sact_core.files import written_beside
from sact_core.train.recipes import TrainingConfig


class Answers:
    """The logits of a teacher for images by view and number.

    Parameters
    ----------
    folder : Path
        Of one teacher, one set of images and one way of cutting; see `folder_of`.
    num_images, num_classes : int
        Of the training images and of the teacher.
    """

    def __init__(self, folder: Path, num_images: int, num_classes: int) -> None:
        self.folder, self._shape = folder, (num_images, num_classes)
        self._view, self._logits = -1, np.empty((0, num_classes), np.float32)

    def of(
        self, view: int, picked: np.ndarray, ask: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Give the logits for some images in a view; ask the teacher for those that are not kept.

        Parameters
        ----------
        view : int
            Which of the ways to cut.
        picked : np.ndarray [shape=(n,), int64]
            Which images.
        ask : callable
            Given the places [shape=(m,), int64] in ``picked`` that are missing: their logits
            [shape=(m, classes), float32].

        Returns
        -------
        np.ndarray [shape=(n, classes), float32]

        Raises
        ------
        OSError
            If they cannot be kept; the message names the file.
        """
        if view != self._view:
            self._view, self._logits = view, self._open(view)
        found: np.ndarray = self._logits[picked]
        missing = np.flatnonzero(np.isnan(found).any(1))
        if len(missing):
            found[missing] = ask(missing)
            self._logits[picked[missing]] = found[missing]
        return found

    def _open(self, view: int) -> np.ndarray:
        file = self.folder / f"view_{view}.npy"
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._fits(file):  # another's leftovers at most: answers can be had again
            with written_beside(file) as beside, beside.open("wb") as stream:
                np.save(stream, np.full(self._shape, np.nan, np.float32), allow_pickle=False)
        kept: np.ndarray = np.load(file, mmap_mode="r+", allow_pickle=False)
        return kept

    def _fits(self, file: Path) -> bool:
        try:
            kept: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return False
        return kept.shape == self._shape and bool(kept.dtype == np.float32)


def folder_of(
    parent: Path, config: TrainingConfig, teacher_hash: str, images: np.ndarray, kind: str
) -> Path:
    """Name the folder of what a teacher answers: another where anything differs that it sees.

    Parameters
    ----------
    parent : Path
        Of all such folders.
    config : TrainingConfig
        How images are cut, and in which number format the teacher is asked.
    teacher_hash : str
        Content hash of the teacher; of two, joined by ``+``.
    images : np.ndarray [shape=(n, h, w, 3), uint8]
        The images, borders included.
    kind : str
        How pixel values are scaled.
    """
    cuts = [config.crop_padding, config.crop_border, config.flip, config.amp, kind]
    told = json.dumps([teacher_hash, list(images.shape), *cuts]).encode()
    digest = hashlib.sha256(told)
    digest.update(np.ascontiguousarray(images).data)
    return parent / digest.hexdigest()[:16]
