"""A network that is ready to run: whatever its backend, the same calls.

What a caller hands in is checked here, once, before any work.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, overload

import numpy as np

from sact_core.backends.budget import Budget, check_target, find_tau
from sact_core.backends.checks import (
    check_before_fitting,
    check_input,
    check_result,
    image_batches,
)
from sact_core.backends.precision import PRECISIONS, choose_precision
from sact_core.checkpoint import Checkpoint, read_hashed
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.extras import need
from sact_core.flops import dense_flops
from sact_core.network import Plan
from sact_core.parameters import require_params
from sact_core.plans import build_plan
from sact_core.preprocess import Seen, check_image, fitted_size, see
from sact_core.result import Result
from sact_core.taus import Tau, check_taus, tau_range

BACKENDS = ("reference", "masked", "dense")


class Engine(Protocol):
    """What every backend's ``Engine(plan, params, **options)`` can do."""

    def forward(
        self,
        x: np.ndarray,
        *,
        keep_outputs: bool = False,
        keep_seconds: bool = False,
        taus: np.ndarray | None = None,
    ) -> Result:
        """Run a batch that has been checked [shape=(n, H, W, 3), float32].

        ``taus`` [shape=(n,), float64] is the price of a unit for each image; given if
        and only if the plan is conditioned on tau.
        """


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
    tau : float, optional
        Price of a unit where a call asks for none; None where the network is not
        conditioned on it.
    precision : str
        What its convolutions multiply, one of `sact_core.PRECISIONS`.
    content_hash : str, optional
        Of the checkpoint, where it was read from a file.
    """

    config: NetworkConfig
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    provenance: dict[str, Any]
    plan: Plan
    backend: str
    engine: Engine = field(repr=False)
    tau: float | None = None
    precision: str = "float32"
    content_hash: str | None = None

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        backend: str = "masked",
        precision: str | None = None,
        **options: Any,
    ) -> Net:
        """Build a network from a checkpoint in memory.

        Parameters
        ----------
        checkpoint : Checkpoint
            Config, parameters and the rest.
        backend : str
            One of `BACKENDS`.
        precision : str, optional
            As in `load`.
        **options
            Handed to the backend's ``Engine``.

        Raises
        ------
        ValueError
            If the backend is unknown, the precision is not to be had, or the parameters
            do not fit the config; all that do not are listed. For int8 also if it has no
            scales, or those of other parameters.
        """
        module = backend_module(backend)
        precision = choose_precision(precision, backend)
        plan = build_plan(checkpoint.config)
        require_params(plan, checkpoint.params)
        if backend == "masked":
            options["precision"] = precision
            if precision == "int8":
                options["quantisation"] = checkpoint.quantisation
        engine = module.Engine(plan, checkpoint.params, **options)
        return cls(
            checkpoint.config,
            checkpoint.preprocessing,
            checkpoint.class_names,
            checkpoint.provenance,
            plan,
            backend,
            engine,
            checkpoint.config.tau_default,
            precision,
        )

    def __repr__(self) -> str:
        tau = "" if self.tau is None else f", tau {self.tau:g}"
        hashed = "" if self.content_hash is None else f", content hash {self.content_hash[:12]}…"
        return (
            f"<Net {self.config.name}, {self.config.family} family: {self.config.num_classes:,} "
            f"classes, units {self.config.units_per_block}{tau}, {self.computed_by}{hashed}>"
        )

    @property
    def computed_by(self) -> str:
        """Backend and precision in words, such as ``masked backend in bfloat16``."""
        default = self.precision == PRECISIONS[0]
        return f"{self.backend} backend" + ("" if default else f" in {self.precision}")

    def at_tau(self, tau: float, clamp_tau: bool = False) -> Net:
        """Give the same network, to be run at another price where a call asks for none.

        Raises
        ------
        ValueError
            If it is not conditioned on tau or, unless ``clamp_tau``, was not trained
            for this one.
        """
        taus = check_taus(self.config, tau, 1, clamp_tau)
        assert taus is not None
        return replace(self, tau=float(taus[0]))

    def forward(
        self,
        x: np.ndarray,
        *,
        keep_outputs: bool = False,
        keep_seconds: bool = False,
        tau: Tau | None = None,
        clamp_tau: bool = False,
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
        tau : float or sequence of float [shape=(n,)], optional
            Price of a unit, for all images or for each, in a network that is
            conditioned on it; `tau` of this network where left out.
        clamp_tau : bool
            Take the nearest end of the trained range for a tau outside of it.

        Returns
        -------
        Result
            Logits, FLOPs and what each block did; ``result.taus`` if conditioned.

        Raises
        ------
        ValueError
            If ``x`` is no float32 array of shape (n, H, W, 3), is empty, holds
            NaN or infinite values, has a size that the network cannot take, or
            needs more memory than there is. If ``tau`` is no number in the trained
            range, there is not one per image, or the network is not conditioned on it.
        NotFinite
            If logits or ponder costs come out as NaN or infinite: the network overflows.
        """
        check_input(self.plan, x, keep_outputs)
        taus = self._taus(tau, len(x), clamp_tau)
        result: Result = self.engine.forward(
            np.require(x, requirements=("C", "W")),
            keep_outputs=keep_outputs,
            keep_seconds=keep_seconds,
            **({} if taus is None else {"taus": taus}),
        )
        check_result(self.plan, result)
        return result if taus is None else replace(result, taus=taus)

    @overload
    def run(
        self,
        images: np.ndarray,
        image_size: int | None = None,
        fit: str | None = None,
        *,
        keep_outputs: bool = False,
        keep_seconds: bool = False,
        tau: Tau | None = None,
        clamp_tau: bool = False,
        target_flops: float | None = None,
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
        tau: Tau | None = None,
        clamp_tau: bool = False,
        target_flops: float | None = None,
    ) -> list[Result]: ...

    def run(
        self,
        images: np.ndarray | Sequence[np.ndarray],
        image_size: int | None = None,
        fit: str | None = None,
        *,
        keep_outputs: bool = False,
        keep_seconds: bool = False,
        tau: Tau | None = None,
        clamp_tau: bool = False,
        target_flops: float | None = None,
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
            ``"crop"``, ``"square"`` or ``"keep"``; the checkpoint's own where left out.
        keep_outputs, keep_seconds, tau, clamp_tau
            As in `forward`.
        target_flops : float, optional
            Instead of ``tau``: find the one tau at which all of these images together
            spend this share of their dense FLOPs, see `Net.find_tau`. Where none
            does, the nearest is taken with a `UserWarning`. ``result.taus`` tells it.

        Returns
        -------
        Result or list of Result
            One for an array; for a list one per image, each with ``n = 1``.

        Raises
        ------
        ValueError
            If an image is no uint8 RGB image, there is none, ``image_size`` or
            ``fit`` is out of range, ``target_flops`` is not in (0, 1] or comes with a
            ``tau``, or as in `forward`.
        """
        if target_flops is not None:
            if tau is not None:
                raise ValueError("give tau or target_flops, not both")
            tau_range(self.config)
            check_target(target_flops)
        preprocessing = self.preprocessing_for(image_size, fit)
        batches = image_batches(images)
        for batch in batches:
            check_image(batch[0])
            height, width = batch.shape[1:3]
            size = fitted_size((height, width), preprocessing, self.plan.divisor)
            check_before_fitting(self.plan, len(batch), size)
        taus = self._taus(tau, sum(map(len, batches)), clamp_tau)

        def prepared(batch: np.ndarray) -> np.ndarray:
            return np.concatenate([self.see(image, image_size, fit).x for image in batch])

        inputs: Iterable[np.ndarray] = map(prepared, batches)
        if target_flops is not None:
            inputs = list(inputs)
            budget = self.find_tau(inputs, target_flops)
            if budget.warning is not None:
                warnings.warn(budget.warning, stacklevel=2)
            taus = np.full(sum(map(len, batches)), budget.tau)
        results, begin = [], 0
        for x in inputs:
            results.append(
                self.forward(
                    x,
                    keep_outputs=keep_outputs,
                    keep_seconds=keep_seconds,
                    tau=None if taus is None else taus[begin : begin + len(x)],
                )
            )
            begin += len(x)
        return results[0] if isinstance(images, np.ndarray) else results

    def see(self, image: np.ndarray, image_size: int | None = None, fit: str | None = None) -> Seen:
        """Fit one photograph to the network: its input, and what can be shown of it.

        Parameters
        ----------
        image : np.ndarray [shape=(h, w, 3), uint8]
            RGB.
        image_size, fit
            As in `run`.

        Returns
        -------
        Seen
            ``x`` [shape=(1, H, W, 3), float32] for `forward`; ``pixels``
            [shape=(H, W, 3), uint8] for people.

        Raises
        ------
        ValueError
            If ``image`` is no uint8 RGB image, ``image_size`` or ``fit`` is out of
            range, the network cannot take an input of this size, or it needs more
            memory than there is.
        """
        preprocessing = self.preprocessing_for(image_size, fit)
        check_image(image)
        size = fitted_size((image.shape[0], image.shape[1]), preprocessing, self.plan.divisor)
        check_before_fitting(self.plan, 1, size)
        return see(image, preprocessing, self.plan.divisor)

    def explore(
        self,
        image: np.ndarray,
        image_size: int | None = None,
        fit: str | None = None,
        *,
        tau: float | None = None,
        **options: Any,
    ) -> Any:
        """Look into what the network does with one photograph, in a notebook.

        Parameters
        ----------
        image : np.ndarray [shape=(h, w, 3), uint8]
            RGB.
        image_size, fit
            As in `run`.
        tau : float, optional
            Price of a unit that is looked at first; `tau` of this network where left out.
        **options
            How maps are shown: ``colour_map``, ``opacity``, ``metric``, as in
            `sact_core.handout.Options`.

        Returns
        -------
        sact_core.widget.Explorer
            A widget for Jupyter, VS Code and marimo, whose ``position``, ``tau`` and
            ``unit`` can be read and set.

        Raises
        ------
        ValueError
            As `see` and `forward`, or if an option is out of range.
        MissingPackage
            If anywidget is not installed.
        """
        need("notebook", "the widget for notebooks", "anywidget")
        # By its name: what stands above networks is nothing that they know.
        widget = importlib.import_module("sact_core.widget")
        return widget.explore(self, image, image_size, fit, tau=tau, **options)

    def _taus(self, tau: Tau | None, num_images: int, clamp_tau: bool) -> np.ndarray | None:
        return check_taus(self.config, self.tau if tau is None else tau, num_images, clamp_tau)

    def find_tau(self, inputs: Iterable[np.ndarray], target_flops: float) -> Budget:
        """Find the tau at which images together spend a share of their dense FLOPs.

        Parameters
        ----------
        inputs : iterable of np.ndarray [shape=(n, H, W, 3), float32]
            Preprocessed images, in batches whose sizes may differ; gone through once for
            every tau that is tried.
        target_flops : float
            The share, in (0, 1].

        Returns
        -------
        Budget
            The nearest tau of the trained range, what it spends, and a warning where
            that is not the target.

        Raises
        ------
        ValueError
            If the network is not conditioned on tau, the target is out of range, or
            as in `forward`.
        """

        def dense(x: np.ndarray) -> int:
            return len(x) * int(dense_flops(self.plan, (x.shape[1], x.shape[2])).total[0])

        def spend(tau: float) -> float:
            spent = whole = 0
            for x in inputs:
                spent += int(self.forward(x, tau=tau).flops.sum())
                whole += dense(x)
            return spent / whole

        return find_tau(spend, self.config, target_flops)

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


def load(
    path: str | Path | bytes,
    backend: str = "masked",
    precision: str | None = None,
    **options: Any,
) -> Net:
    """Read a checkpoint and build its network.

    Parameters
    ----------
    path : str, Path or bytes
        The checkpoint, its contents, or the name of a shipped network (`sact_core.networks`).
    backend : str
        ``"reference"``, ``"masked"`` or ``"dense"``.
    precision : str, optional
        ``"float32"``, or ``"bfloat16"`` for the masked backend: up to 1.8 times as fast
        on processors that multiply it, and not quite the same numbers. ``"int8"``: faster
        yet and further off, for a network that was calibrated (`sact_core.calibrate`).
        Where left out, ``SACT_PRECISION`` for the masked backend, else float32. See
        `sact_core.precisions`.
    **options
        Handed to the backend's ``Engine``.

    Returns
    -------
    Net
        Ready to run.

    Raises
    ------
    ValueError
        If the backend is unknown, or the precision is not to be had.
    CheckpointError
        If the file is no usable checkpoint; all that is wrong is listed.
    OSError
        If there is no such file or it cannot be opened.
    """
    backend_module(backend)
    choose_precision(precision, backend)  # refused before anything is read
    checkpoint, content_hash = read_hashed(path)
    net = Net.from_checkpoint(checkpoint, backend, precision, **options)
    return replace(net, content_hash=content_hash)


def backend_module(backend: str) -> ModuleType:
    """Import the module of one backend.

    Raises
    ------
    ValueError
        If the backend is unknown.
    MissingPackage
        If it is ``"dense"``, and PyTorch is not installed.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}; got {backend!r}")
    if backend == "dense":
        need("train", "the dense backend", "torch")
    return importlib.import_module(f"sact_core.backends.{backend}")
