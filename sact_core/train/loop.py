"""The training loop: epochs, evaluation, and a state that survives.

What an interrupted run computes is bit for bit what an uninterrupted one does:
a step depends on the state, which is kept, and on the seed, the epoch and its
own number.
"""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sact_core import checkpoint as checkpoints
from sact_core.ahead import Ahead
from sact_core.backends.checks import NotFinite
from sact_core.data.source import Examples, Source
from sact_core.flops import dense_flops, unit_prices
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.processes import Processes
from sact_core.train import evaluation, provenance, report
from sact_core.train.answers import Answers, folder_of
from sact_core.train.batches import Augmenter
from sact_core.train.events import EventWriter
from sact_core.train.feed import Feed
from sact_core.train.learner import Learner
from sact_core.train.points import Points
from sact_core.train.recipes import TrainingConfig
from sact_core.train.run_dir import RunDir
from sact_core.train.schedule import count_steps, learning_rate_factor
from sact_core.train.start import initial_params, read_teachers
from sact_core.train.state import state_problem

SAVE_SECONDS = 300.0
FLOPS_EVERY = 20  # steps
EVENTS_EVERY = 100  # steps


class Diverged(RuntimeError):
    """The loss or a parameter became NaN or infinite."""


class Interrupted(RuntimeError):
    """The run was asked to stop; its state is saved."""


@dataclass
class Progress:
    """Place in the run, and what it has seen; saved with every state.

    ``epoch`` counts the epochs that are over, evaluation included.
    """

    epoch: int = 0
    step: int = 0  # within the epoch
    seconds: float = 0.0  # of training, over all starts
    best: float = -1.0
    sums: dict[str, float] = field(default_factory=dict)  # of the epoch so far
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, **values: float) -> None:
        """Add to the sums of the epoch."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def running(self) -> dict[str, float]:
        """Means of the epoch so far."""
        sums = self.sums
        steps, seconds = max(sums.get("steps", 0), 1), max(sums.get("seconds", 0), 1e-9)
        return {
            "loss": sums.get("loss", 0) / steps,
            "entropy": sums.get("entropy", 0) / max(sums.get("entropy_steps", 0), 1),
            "accuracy": sums.get("accuracy", 0) / steps,
            "images/s": sums.get("images", 0) / seconds,
            "flops": sums.get("flops_shares", 0) / max(sums.get("flops_steps", 0), 1),
            "waited": sums.get("waited", 0) / seconds,
        }


class Trainer:
    """One run, in one of one or more processes.

    Parameters
    ----------
    config : TrainingConfig
        The recipe.
    train, test : Examples or Source
        Images in memory, or to be decoded when they are needed: with resized crops.
    run_dir : RunDir
        Where to keep everything.
    device : str
        torch device.
    processes : Processes
        Who trains along.
    resume : bool
        Go on from the last state, where there is one.
    say : callable
        Prints a line that people should read.
    command : str
        What was typed, for the checkpoints' provenance.
    data_workers : int
        Threads that decode images which are not in memory.

    Raises
    ------
    ValueError
        If a checkpoint to start from or a teacher does not fit, the last state is
        damaged, or the images have a size that the network cannot take.
    """

    def __init__(
        self,
        config: TrainingConfig,
        train: Examples | Source,
        test: Examples | Source,
        run_dir: RunDir,
        device: str = "cpu",
        processes: Processes | None = None,
        resume: bool = False,
        say: Callable[[str], None] = print,
        command: str = "",
        data_workers: int = 2,
    ) -> None:
        self.config, self.run_dir, self.say = config, run_dir, say
        self.processes = processes or Processes()
        self.command = command
        state = run_dir.load_state(self.processes) if resume else None
        plan = build_plan(config.network)
        self.feed = Feed(config, train, test, self.processes, data_workers)
        names = self.feed.class_names
        teachers = read_teachers(config, names)
        side = self.feed.side
        self.dense_flops = int(dense_flops(plan, (side, side)).total[0])
        params = init_params(plan) if state else initial_params(config, plan, say)
        prices = unit_prices(plan, (side, side), config.price)
        answers = self._answers(teachers)
        self.learner = Learner(config, params, teachers, device, self.processes, prices, answers)
        self.steps_per_epoch, self.num_steps = count_steps(config, self.feed.num_train)
        self.progress = Progress()
        self.stop_asked = False
        self.resumed = state is not None
        if state is not None:
            run_dir.refuse_state(
                state_problem(
                    state,
                    self.learner.state(),
                    self.learner.params,
                    self.steps_per_epoch,
                    self.num_steps,
                )
            )
            self.learner.load(state)
            self.progress = Progress(**state["progress"])
            self.feed.load(state)
        self._events = EventWriter(run_dir.path, self.global_step + 1 if self.resumed else 0)
        self._points = Points(run_dir.path, self.steps_per_epoch, self.num_steps, self.global_step)

    def _answers(self, teachers: Sequence[checkpoints.Checkpoint]) -> Answers | None:
        """What teachers answer, kept for all runs beside this one where the recipe says so."""
        augmenter = self.feed.augmenter
        if not self.config.distill_views or not isinstance(augmenter, Augmenter):
            return None
        known = "+".join(checkpoints.content_hash(teacher) for teacher in teachers)
        parent = self.run_dir.path.absolute().parent / "teacher_answers"
        folder = folder_of(parent, self.config, known, augmenter.padded, augmenter.kind)
        return Answers(folder, len(augmenter), teachers[0].config.num_classes)

    @property
    def global_step(self) -> int:
        """Steps taken so far."""
        return self.progress.epoch * self.steps_per_epoch + self.progress.step

    def run(self, bar: report.Bar | None = None) -> dict[str, Any]:
        """Train to the end; return the last epoch's metrics.

        Raises
        ------
        Diverged
            If the loss or a parameter becomes NaN or infinite. The last good
            state is kept.
        Interrupted
            If a signal asked to stop. The state is saved.
        OSError
            If something cannot be written; the state before it is kept.
        """
        progress = self.progress
        with self._signals(), contextlib.closing(self._events), contextlib.closing(self._points):
            while progress.epoch * self.steps_per_epoch < self.num_steps:
                self._epoch(bar)
                self._finish_epoch(bar)
        return progress.rows[-1]

    def _epoch(self, bar: report.Bar | None) -> None:
        progress, epoch = self.progress, self.progress.epoch
        order = self.feed.order(epoch)
        last = min(self.steps_per_epoch, self.num_steps - epoch * self.steps_per_epoch)
        ahead = Ahead(lambda step: self.feed.batch(epoch, step, order), range(progress.step, last))
        begin = saved = time.perf_counter()
        waited = 0.0
        try:
            for batch in ahead:
                stop = self._step(batch)
                now = time.perf_counter()
                progress.seconds += now - begin
                progress.add(seconds=now - begin, waited=ahead.waited - waited)
                begin, waited = now, ahead.waited
                if bar is not None:
                    left = self._points.left(self.global_step)
                    bar.update(epoch, self.global_step, progress.running(), left)
                if stop:
                    self._save()
                    raise Interrupted
                if now - saved > SAVE_SECONDS:
                    self._save()
                    saved = now
        finally:
            ahead.close()

    def _step(self, batch: Any) -> bool:
        """Take a step; say whether any process was asked to stop."""
        learner, progress = self.learner, self.progress
        seen = learner.look(batch)
        loss, entropy, accuracy, ponder, stop = self.processes.mean(
            [
                *(seen.total, seen.cross_entropy, seen.accuracy, seen.ponder),
                float(self.stop_asked),
            ],
            learner.device,
        )
        if not math.isfinite(loss):
            raise Diverged
        learner.learn(seen, learning_rate_factor(self.config, self.global_step, self.num_steps))
        images = len(batch.labels) * self.processes.world
        found = {"loss": loss, "accuracy": accuracy, "ponder": ponder, "images": images, "steps": 1}
        if self.config.labels == "given":  # without, evaluation has none to set beside it
            found |= {"entropy": entropy, "entropy_steps": 1}
        if progress.step % FLOPS_EVERY == 0:
            found |= {"flops_shares": learner.flops_share(seen), "flops_steps": 1}
        progress.add(**found)
        progress.step += 1
        if self.processes.is_first:
            self._points.add(self.global_step, found)
        if self.processes.is_first and self.global_step % EVENTS_EVERY == 0:
            now = {"batch/Total Loss": loss, "batch/Accuracy": accuracy}
            self._events.write(
                self.global_step, now | {"learning_rate": self.learner.learning_rate}
            )
        # Others hear of it with the next step's numbers.
        return stop > 0 or (self.stop_asked and self.processes.world == 1)

    def _finish_epoch(self, bar: report.Bar | None) -> None:
        """Evaluate where it is due, and keep everything."""
        progress = self.progress
        running = progress.running()
        row: dict[str, Any] = {
            "epoch": progress.epoch + 1,
            "step": self.global_step,
            "train/Total Loss": running["loss"],
            "train/Accuracy": running["accuracy"],
            **self._entropy(running),
            "train/images_per_second": running["images/s"],
            "train/share_waiting_for_data": running["waited"],
            "train/hours": progress.seconds / 3600,
            "learning_rate": self.learner.learning_rate,
        }
        if not self.learner.is_finite():
            raise Diverged
        warnings: list[str] = []
        over = self.global_step >= self.num_steps
        every = self.config.eval_every
        if self.processes.is_first and every and (over or (progress.epoch + 1) % every == 0):
            try:
                row |= self.evaluate()
            except NotFinite as error:
                # Moving statistics lag behind in a young run: the next one may be well.
                warnings.append(f"no evaluation after epoch {row['epoch']}: {error}")
        self.feed.share_left_out()
        progress.rows.append(row)
        progress.epoch += 1
        progress.step = 0
        progress.sums = {}
        if self.processes.is_first:
            self._keep(row)
            say = self.say if bar is None else bar.say
            left = None if over else self._points.left(self.global_step)
            say(self.summary(row) + report.time_left(left))
            for line in [*warnings, *report.warnings(self.learner.plan, row)]:
                say(f"warning: {line}")
        self._save()

    def _entropy(self, running: dict[str, float]) -> dict[str, float]:
        """Cross-entropy of the epoch, where it is of labels."""
        given = self.progress.sums.get("entropy_steps")
        return {"train/Cross Entropy": running["entropy"]} if given else {}

    def evaluate(self) -> dict[str, Any]:
        """Evaluate on the test images, as `evaluation.measure`."""
        teacher = self.learner.teacher if self.config.labels == "none" else None
        return evaluation.measure(self.learner.shown, self.config, self.feed, teacher)

    def summary(self, row: dict[str, Any]) -> str:
        """Say an epoch's metrics in one line."""
        held_out = self.feed.counts()[1] if self.config.labels == "none" else None
        return report.summary(row, held_out)

    def _keep(self, row: dict[str, Any]) -> None:
        """Write the epoch's checkpoint and metrics."""
        made = self.checkpoint(row)
        checkpoints.write(self.run_dir.path / "last.h5", made)
        right = row.get("eval/Accuracy", row.get("eval/Agreement", -1.0))
        if right > self.progress.best:
            self.progress.best = right
            checkpoints.write(self.run_dir.path / "best.h5", made)
        self.run_dir.write_metrics(self.progress.rows)
        self._events.write(
            row["step"], {k: v for k, v in row.items() if k not in ("epoch", "step")}
        )

    def checkpoint(self, row: dict[str, Any]) -> checkpoints.Checkpoint:
        """Make a checkpoint of the network as it stands."""
        counts = self.feed.counts()
        record = provenance.describe(
            self.config, row, counts, self.num_steps, self.command, self.learner.device
        )
        self.feed.describe(record)
        return checkpoints.Checkpoint(
            config=self.config.network,
            params=self.learner.shown.params(),
            preprocessing=self.feed.preprocessing,
            class_names=self.feed.class_names,
            provenance=record,
        )

    def _save(self) -> None:
        if not self.learner.is_finite():
            raise Diverged
        if self.processes.is_first:
            state = self.learner.state() | self.feed.state()
            self.run_dir.save_state(state | {"progress": vars(self.progress)})

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Let the first Ctrl-C or TERM end the run after the step in hand."""

        def ask(number: int, frame: object) -> None:
            self.stop_asked = True
            signal.signal(number, before[number])  # a second one ends at once

        numbers = (signal.SIGINT, signal.SIGTERM)
        before: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}
        try:
            for number in numbers:
                signal.signal(number, ask)
        except ValueError:  # not the main thread: leave signals alone
            yield
            return
        try:
            yield
        finally:
            for number in numbers:
                signal.signal(number, before[number])
