"""One network, three backends: load a checkpoint, run images.

``reference`` (NumPy) computes everything and masks; ``masked`` computes active
positions only; ``dense`` (PyTorch) computes everything, differentiably. Each is
a module with a class ``Engine`` and a function ``halt``; only the one that is
asked for is imported.

What a caller hands in is checked here, once, before any work.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, overload

import numpy as np

from sact_core.backends.memory import available_memory, estimate_memory
from sact_core.checkpoint import Checkpoint, read
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.network import Plan, Result, build_plan, check_input_size, require_params
from sact_core.preprocess import check_image, prepare

BACKENDS = ("reference", "masked", "dense")


class Engine(Protocol):
    """What every backend's ``Engine(plan, params, **options)`` can do."""

    def forward(
        self, x: np.ndarray, *, keep_outputs: bool = False, keep_seconds: bool = False
    ) -> Result:
        """Run a batch that has been checked [shape=(n, H, W, 3), float32]."""


@dataclass(frozen=True, eq=False)
class Net:
    """A network that is ready to run.

    Attributes
    ----------
    config : NetworkConfig
        What the network is.
    preprocessing : Preprocessing
        How its images are prepared.
    class_names : tuple of str
        One per class, or empty where they are unknown.
    provenance : dict
        Where the parameters come from.
    plan : Plan
        Its layers.
    backend : str
        One of `BACKENDS`.
    engine : Engine
        What runs it.
    """

    config: NetworkConfig
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    provenance: dict[str, Any]
    plan: Plan
    backend: str
    engine: Engine = field(repr=False)

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Checkpoint, backend: str = "masked", **options: Any
    ) -> Net:
        """Build a network from a checkpoint in memory.

        Parameters
        ----------
        checkpoint : Checkpoint
            Config, parameters and the rest.
        backend : str
            One of `BACKENDS`.
        **options
            Handed to the backend's ``Engine``.

        Raises
        ------
        ValueError
            If the backend is unknown or the parameters do not fit the config; all
            that do not are listed.
        """
        plan = build_plan(checkpoint.config)
        require_params(plan, checkpoint.params)
        engine = backend_module(backend).Engine(plan, checkpoint.params, **options)
        return cls(
            checkpoint.config,
            checkpoint.preprocessing,
            checkpoint.class_names,
            checkpoint.provenance,
            plan,
            backend,
            engine,
        )

    def forward(
        self, x: np.ndarray, *, keep_outputs: bool = False, keep_seconds: bool = False
    ) -> Result:
        """Run images that are already preprocessed.

        Parameters
        ----------
        x : np.ndarray [shape=(n, H, W, 3), float32]
            The network's input.
        keep_outputs : bool
            Keep every block's output in ``result.blocks[i].output``.
        keep_seconds : bool
            Measure every unit in ``result.blocks[i].seconds``.

        Returns
        -------
        Result
            Logits, FLOPs and what each block did.

        Raises
        ------
        ValueError
            If ``x`` is no float32 array of shape (n, H, W, 3), is empty, holds
            NaN or infinite values, has a size that the network cannot take, or
            needs more memory than there is.
        """
        _check_input(self.plan, x, keep_outputs)
        return self.engine.forward(
            np.require(x, requirements=("C", "W")),
            keep_outputs=keep_outputs,
            keep_seconds=keep_seconds,
        )

    @overload
    def run(
        self,
        images: np.ndarray,
        image_size: int | None = None,
        fit: str | None = None,
        *,
        keep_outputs: bool = False,
        keep_seconds: bool = False,
    ) -> Result: ...

    @overload
    def run(
        self,
        images: Sequence[np.ndarray],
        image_size: int | None = None,
        fit: str | None = None,
        *,
        keep_outputs: bool = False,
        keep_seconds: bool = False,
    ) -> list[Result]: ...

    def run(
        self,
        images: np.ndarray | Sequence[np.ndarray],
        image_size: int | None = None,
        fit: str | None = None,
        *,
        keep_outputs: bool = False,
        keep_seconds: bool = False,
    ) -> Result | list[Result]:
        """Preprocess images as the checkpoint says, and run them.

        Parameters
        ----------
        images : np.ndarray [shape=(n, h, w, 3), uint8] or list of [shape=(h, w, 3), uint8]
            RGB. An array is run as one batch, a list (sizes may differ) image by
            image.
        image_size : int, optional
            Side of the network's input, or its longer side where the aspect is
            kept; the checkpoint's own where left out.
        fit : str, optional
            ``"crop"`` or ``"keep"``; the checkpoint's own where left out.
        keep_outputs, keep_seconds : bool
            As in `forward`.

        Returns
        -------
        Result or list of Result
            One for an array; for a list one per image, each with ``n = 1``.

        Raises
        ------
        ValueError
            If an image is no uint8 RGB image, there is none, ``image_size`` or
            ``fit`` is out of range, or as in `forward`.
        """
        preprocessing = self.preprocessing_for(image_size, fit)
        batches = _batches(images)
        for batch in batches:
            check_image(batch[0])
        results = []
        for batch in batches:
            x = [prepare(image, preprocessing, self.plan.divisor) for image in batch]
            results.append(
                self.forward(np.stack(x), keep_outputs=keep_outputs, keep_seconds=keep_seconds)
            )
        return results[0] if isinstance(images, np.ndarray) else results

    def preprocessing_for(
        self, image_size: int | None = None, fit: str | None = None
    ) -> Preprocessing:
        """The checkpoint's preprocessing, with another size or fit where given.

        Raises
        ------
        ValueError
            If ``image_size`` or ``fit`` is out of range.
        """
        changes: dict[str, Any] = {"image_size": image_size, "fit": fit}
        return replace(self.preprocessing, **{k: v for k, v in changes.items() if v is not None})


def load(path: str | Path | bytes, backend: str = "masked", **options: Any) -> Net:
    """Read a checkpoint and build its network.

    Parameters
    ----------
    path : str, Path or bytes
        The checkpoint, or its contents.
    backend : str
        ``"reference"``, ``"masked"`` or ``"dense"``.
    **options
        Handed to the backend's ``Engine``.

    Returns
    -------
    Net
        Ready to run.

    Raises
    ------
    ValueError
        If the backend is unknown.
    CheckpointError
        If the file is no usable checkpoint; all that is wrong is listed.
    OSError
        If there is no such file or it cannot be opened.
    """
    backend_module(backend)
    return Net.from_checkpoint(read(path), backend, **options)


def backend_module(backend: str) -> ModuleType:
    """Import the module of one backend.

    Raises
    ------
    ValueError
        If the backend is unknown.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}; got {backend!r}")
    return importlib.import_module(f"sact_core.backends.{backend}")


def _batches(images: np.ndarray | Sequence[np.ndarray]) -> list[np.ndarray]:
    """Arrays of images of one size, each to be run at once [shape=(n, h, w, 3)]."""
    if isinstance(images, np.ndarray):
        if images.ndim == 3:
            raise ValueError(
                f"images must have shape (n, h, w, 3), got {images.shape}; "
                f"for a single image pass images[None]"
            )
        if images.ndim != 4:
            raise ValueError(f"images must have shape (n, h, w, 3), got {images.shape}")
        if not len(images):
            raise ValueError("images holds no image")
        return [images]
    if not isinstance(images, Sequence) or isinstance(images, str | bytes):
        raise ValueError(
            "images must be an array of shape (n, h, w, 3) or a list of arrays of shape "
            f"(h, w, 3), got {type(images).__name__}"
        )
    if not len(images):
        raise ValueError("images holds no image")
    for image in images:
        check_image(image)
    return [image[None] for image in images]


def _check_input(plan: Plan, x: np.ndarray, keep_outputs: bool) -> None:
    if not isinstance(x, np.ndarray):
        raise ValueError(f"x must be a NumPy array, got {type(x).__name__}")
    if x.dtype != np.float32:
        raise ValueError(
            f"x must be float32, got {x.dtype}; images as they are, in uint8, go through run"
        )
    if x.ndim != 4 or x.shape[3] != 3:
        raise ValueError(f"x must have shape (n, height, width, 3), got {x.shape}")
    if not len(x):
        raise ValueError("x is an empty batch")
    check_input_size(plan, (x.shape[1], x.shape[2]))
    needed, there = estimate_memory(plan, x.shape, keep_outputs), available_memory()
    if there is not None and needed > there:
        raise ValueError(
            f"{len(x)} images of {x.shape[1]} x {x.shape[2]} pixels need about "
            f"{needed / 2**30:.1f} GiB of memory, but {there / 2**30:.1f} GiB are free; "
            f"run fewer or smaller images at once"
        )
    if not np.isfinite(x).all():
        raise ValueError("x holds NaN or infinite values")
