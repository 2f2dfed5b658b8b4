"""Training with everything on one device: images, augmentation and steps.

The recipe, the network, its loss, the place in a run and what is kept of it are those of
`sact_core.train`. Here images lie on the device as uint8, a batch is cut and standardised
there by the very numbers that `sact_core.train.batches.Augmenter` draws, and forward and
backward pass are captured once and replayed (CUDA graphs), which spares launching some
thousand kernels a step. The optimiser's step is launched each time: its rate changes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sact_core.config import KINDS
from sact_core.data.source import Examples
from sact_core.train.batches import Augmenter, Cuts
from sact_core.train.events import EventWriter
from sact_core.train.learner import Learner, Passed
from sact_core.train.loop import Diverged, Interrupted, Trainer
from sact_core.train.recipes import TrainingConfig
from sact_core.train.report import Bar
from sact_core.train.run_dir import RunDir
from sact_core.train.schedule import learning_rate_factor

READ_EVERY = 20  # steps between two looks at the loss, for which the device is waited for
WARM_UP = 3  # passes before one is captured
TEST_BATCH = 1000  # images evaluated at a time on a GPU


@dataclass(frozen=True)
class Manner:
    """How to train, beyond the recipe.

    Parameters
    ----------
    capture : bool
        Capture forward and backward pass, on CUDA.
    save_seconds : float
        Least time between two states that are kept.
    until : float
        When to stop, as `time.perf_counter` tells it.
    kept : callable
        Called when a state was kept of a run that is not over.
    """

    capture: bool = True
    save_seconds: float = 60.0
    until: float = math.inf
    kept: Callable[[], None] = lambda: None


class DeviceAugmenter:
    """Batches cut on a device.

    Parameters
    ----------
    augmenter : Augmenter
        Draws the cuts; holds images with their borders, and labels.
    device : torch.device
        Where images lie and batches are made.
    """

    def __init__(self, augmenter: Augmenter, device: torch.device) -> None:
        self._augmenter = augmenter
        self._padded = torch.from_numpy(augmenter.padded).to(device)
        self._labels = torch.from_numpy(augmenter.labels).to(device)

    def epoch(self, epoch: int, steps: range) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Give images [n, 3, h, w], labels [n] and taus [n], if any, of some steps.

        All cuts are drawn and sent at once, so that no step waits for them.
        """
        order = self._augmenter.order(epoch)
        drawn = [self._augmenter.cuts(epoch, step, order, 0, 1) for step in steps]
        if not drawn:
            return
        device = self._padded.device
        table = torch.from_numpy(np.stack(list(map(_columns, drawn)))).to(device)
        prices = [cuts.taus for cuts in drawn if cuts.taus is not None]
        taus = torch.from_numpy(np.stack(prices)).to(device) if prices else None
        for k, cuts in enumerate(drawn):
            x, labels = self._cut(table[k], cuts.size)
            yield x, labels, None if taus is None else taus[k]

    def _cut(self, columns: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        picked, top, left, flipped, *hole = columns.unbind(1)
        height, width = size
        down = torch.arange(height, device=columns.device)
        right = torch.arange(width, device=columns.device)
        across = torch.where(flipped[:, None] > 0, right.flip(0), right)
        rows = (top[:, None] + down)[:, :, None]
        pixels = self._padded[picked[:, None, None], rows, (left[:, None] + across)[:, None]]
        x = standardised(pixels, self._augmenter.kind)
        side = self._augmenter.config.cutout
        if side:  # as `sact_core.train.batches.blank_squares`
            blank = [
                (along + 0.5 - centre[:, None]).abs() < side / 2
                for along, centre in zip((down, right), hole, strict=True)
            ]
            x = x.masked_fill((blank[0][:, :, None] & blank[1][:, None])[..., None], 0.0)
        return x.permute(0, 3, 1, 2), self._labels[picked]


def standardised(pixels: Tensor, kind: str) -> Tensor:
    """As `sact_core.preprocess.normalise`, on the device.

    Parameters
    ----------
    pixels : Tensor [shape=(n, h, w, 3), uint8]
        Images.
    kind : str
        One of `sact_core.config.KINDS`.

    Returns
    -------
    Tensor [shape=(n, h, w, 3), float32]
    """
    scale = KINDS[kind].scale
    if scale is not None:
        offset, factor = map(float, map(np.float32, scale))
        return (pixels * float(np.float32(1 / 255)) - offset) * factor
    x = pixels.double()
    mean = x.mean((1, 2, 3), keepdim=True)
    std = x.std((1, 2, 3), correction=0, keepdim=True)
    return ((x - mean) / std.clamp(min=math.prod(x.shape[1:]) ** -0.5)).float()


class Pass:
    """Forward and backward pass of a batch, captured where that is possible.

    Parameters
    ----------
    learner : Learner
        Its gradients are filled.
    capture : bool
        Whether to try; on CUDA only.
    say : callable
        Told why not, where a pass cannot be captured.
    """

    def __init__(self, learner: Learner, capture: bool, say: Callable[[str], None]) -> None:
        self._learner, self._say = learner, say
        self._capture = capture and learner.device.type == "cuda"
        self._graph: torch.cuda.CUDAGraph | None = None
        self._held: list[Tensor] = []  # what the captured pass reads
        self._found: Passed | None = None  # and where it writes

    def __call__(self, *given: Tensor | None) -> Passed:
        """Give the pass over images, labels and taus; nobody has waited for it."""
        there = [each for each in given if each is not None]
        if self._capture and [x.shape for x in there] != [x.shape for x in self._held]:
            self._try_to_capture(there)  # another size never comes back: crops grow once
        if not self._capture or self._graph is None or self._found is None:
            self._learner.optimiser.zero_grad(set_to_none=True)
            return self._plain(there)
        for held, new in zip(self._held, there, strict=True):
            held.copy_(new)
        self._graph.replay()
        return self._found

    def _plain(self, given: list[Tensor]) -> Passed:
        found = self._learner.forward(*given)
        torch.autograd.backward(found.objective)
        return found

    def _try_to_capture(self, given: list[Tensor]) -> None:
        learner = self._learner
        # Passes before the capture move the moving statistics, which is taken back.
        buffers = dict(learner.network.named_buffers())
        before = {name: value.clone() for name, value in buffers.items()}
        self._graph = self._found = None
        self._held = [each.clone() for each in given]
        try:
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    learner.optimiser.zero_grad(set_to_none=True)
                    self._plain(self._held)
            torch.cuda.current_stream().wait_stream(side)
            learner.optimiser.zero_grad(set_to_none=True)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                found = self._plain(self._held)
            self._graph, self._found = graph, found
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._capture = False
            self._say(f"steps are not captured, but launched: {str(error).splitlines()[0]}")
        for name, value in before.items():
            buffers[name].copy_(value)


class DeviceTrainer(Trainer):
    """A run on one device; see `sact_core.train.loop.Trainer`.

    Parameters
    ----------
    config, train, test, run_dir, device, resume, say, command
        As `Trainer`.
    manner : Manner
        How.

    Raises
    ------
    ValueError
        As `Trainer`; if images are not cut by padded crops.
    """

    def __init__(
        self,
        config: TrainingConfig,
        train: Examples,
        test: Examples,
        run_dir: RunDir,
        device: str,
        resume: bool,
        say: Callable[[str], None],
        command: str,
        manner: Manner,
    ) -> None:
        super().__init__(
            config, train, test, run_dir, device, resume=resume, say=say, command=command
        )
        augmenter = self.feed.augmenter
        if not isinstance(augmenter, Augmenter):
            raise ValueError("images are held on the device: that needs --crop padded")
        self._events = _NoEvents(run_dir.path)
        self._manner = manner
        self._saved, self._due = time.perf_counter(), False
        self.say = lambda text: say(text) if self._due else None  # epochs may take a second
        if self.learner.device.type == "cuda":
            self.feed.test_batch = TEST_BATCH
        for network in self.learner.networks:
            network.fused = False  # single passes are for a CPU, and take Numba
        self._images = DeviceAugmenter(augmenter, self.learner.device)
        self._pass = Pass(self.learner, manner.capture, say)

    def _epoch(self, bar: Bar | None) -> None:
        progress, epoch, learner = self.progress, self.progress.epoch, self.learner
        last = min(self.steps_per_epoch, self.num_steps - epoch * self.steps_per_epoch)
        seen = torch.zeros(3, dtype=torch.float64, device=learner.device)
        begin, counted = time.perf_counter(), 0
        for batch in self._images.epoch(epoch, range(progress.step, last)):
            found = self._pass(*batch)
            learner.step(learning_rate_factor(self.config, self.global_step, self.num_steps))
            seen += torch.stack((found.total, found.accuracy, found.ponder))
            progress.step += 1
            counted += 1
            stop = self.stop_asked or time.perf_counter() >= self._manner.until
            if not (stop or counted == READ_EVERY or progress.step == last):
                continue
            loss, accuracy, ponder = seen.tolist()  # waits for the device
            if not math.isfinite(loss):
                raise Diverged
            now = time.perf_counter()
            progress.seconds += now - begin
            progress.add(loss=loss, accuracy=accuracy, ponder=ponder, seconds=now - begin)
            progress.add(images=counted * self.config.batch_size, steps=counted)
            begin, counted = now, 0
            seen.zero_()
            if stop or now - self._saved >= self._manner.save_seconds:
                self._due = True
                self._save()
                begin = time.perf_counter()
            if stop:
                raise Interrupted

    def _keep(self, row: dict[str, Any]) -> None:
        """Write the epoch's checkpoint and metrics, where it is time."""
        over = self.global_step >= self.num_steps
        self._due = over or time.perf_counter() - self._saved >= self._manner.save_seconds
        if self._due:
            super()._keep(row)

    def _save(self) -> None:
        if self._due:
            super()._save()
            self._saved, self._due = time.perf_counter(), False
            if self.global_step < self.num_steps:
                self._manner.kept()


class _NoEvents(EventWriter):
    """Nothing for TensorBoard, whose checksums take a package that the device may lack."""

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        pass


def _columns(cuts: Cuts) -> np.ndarray:
    """Whole numbers of a step's cuts [shape=(n, 6), int64]."""
    parts = (cuts.picked, cuts.top, cuts.left, cuts.flipped, cuts.hole)
    return np.column_stack(parts).astype(np.int64)
