"""The training loop: SGD on cross-entropy + tau x ponder cost + L2.

Source: arXiv:1612.02297, eq. 9 and section 4.
"""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sact_core import checkpoint as checkpoints
from sact_core.backends import dense
from sact_core.config import Preprocessing, default_preprocessing
from sact_core.data import Examples
from sact_core.flops import count_flops, dense_flops
from sact_core.network import Plan, build_plan, init_params
from sact_core.preprocess import normalise
from sact_core.train import provenance
from sact_core.train.batches import Ahead, Augmenter, Batch
from sact_core.train.recipes import TrainingConfig, learning_rate_factor
from sact_core.train.run_dir import RunDir

SAVE_SECONDS = 300.0
EVAL_BATCH = 100


class Diverged(RuntimeError):
    """The loss became NaN or infinite."""


class Interrupted(RuntimeError):
    """The run was asked to stop; its state is saved."""


@dataclass
class Progress:
    """Place in the run, and what it has seen; saved with every state."""

    epoch: int = 0
    step: int = 0  # within the epoch
    seconds: float = 0.0  # of training, over all starts
    best: float = -1.0
    sums: dict[str, float] = field(default_factory=dict)  # of the epoch so far
    rows: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """One run, in one of ``world`` processes.

    Parameters
    ----------
    config : TrainingConfig
        The recipe.
    train, test : Examples
        Images in memory.
    run_dir : RunDir
        Where to keep everything. Only process 0 writes.
    device : str
        torch device.
    rank, world : int
        Number of this process, and of all.
    say : callable
        Prints a line that people should read.
    """

    def __init__(
        self,
        config: TrainingConfig,
        train: Examples,
        test: Examples,
        run_dir: RunDir,
        device: str = "cpu",
        rank: int = 0,
        world: int = 1,
        say: Callable[[str], None] = print,
        command: str = "",
    ) -> None:
        self.config, self.test, self.run_dir, self.say = config, test, run_dir, say
        self.rank, self.world, self.command = rank, world, command
        self.device = torch.device(device)
        self.plan: Plan = build_plan(config.network)
        self.preprocessing = preprocessing_for(config, train)
        self.class_names = train.class_names
        self.network = dense.Network(self.plan, self._initial_params(), fused=True).to(self.device)
        self.forward: Callable[..., Any] = self.network
        if config.compile:
            self.forward = torch.compile(self.network)  # type: ignore[assignment]
        if world > 1:
            self.forward = torch.nn.parallel.DistributedDataParallel(self.network)
        self.teacher = self._load_teacher()
        self.augmenter = Augmenter(train.images, train.labels, config, self.preprocessing.kind)
        self.steps_per_epoch = max(len(train) // config.batch_size, 1)
        self.num_steps = config.max_steps or max(round(config.epochs * self.steps_per_epoch), 1)
        self.optimiser = self._make_optimiser()
        self.progress = Progress()
        self.stop_asked = False
        self.dense_flops = int(dense_flops(self.plan, train.images.shape[1:3]).total[0])

    def resume(self) -> bool:
        """Go on from the last state, if there is one; say whether there was."""
        state = self.run_dir.load_state()
        if state is None:
            return False
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.progress = Progress(**state["progress"])
        return True

    def run(self, bar: Callable[[int, int], Any] | None = None) -> dict[str, Any]:
        """Train to the end; return the last epoch's metrics.

        Raises
        ------
        Diverged
            If the loss becomes NaN or infinite. The last good state is kept.
        Interrupted
            If a signal asked to stop. The state is saved.
        """
        progress = self.progress
        with self._signals():
            while self._global_step() < self.num_steps:
                self._epoch(bar)
                row = self._finish_epoch()
                progress.rows.append(row)
                progress.epoch += 1
                progress.step = 0
                progress.sums = {}
                self._keep(row)
        if not progress.rows:
            raise ValueError("the run has no steps: ask for more epochs")
        return progress.rows[-1]

    def _global_step(self) -> int:
        return self.progress.epoch * self.steps_per_epoch + self.progress.step

    def _epoch(self, bar: Callable[[int, int], Any] | None) -> None:
        progress = self.progress
        epoch = progress.epoch
        order = self.augmenter.order(epoch)
        last = min(self.steps_per_epoch, self.num_steps - epoch * self.steps_per_epoch)
        ahead = Ahead(
            lambda step: self.augmenter.batch(epoch, step, order, self.rank, self.world),
            range(progress.step, last),
        )
        show = bar(epoch, last) if bar and self.rank == 0 else None
        self.network.train()
        begin = saved = time.perf_counter()
        waited = 0.0
        try:
            for batch in ahead:
                self._step(batch)
                progress.step += 1
                now = time.perf_counter()
                progress.seconds += now - begin
                self._add("seconds", now - begin)
                self._add("waited", ahead.waited - waited)
                begin, waited = now, ahead.waited
                if show is not None:
                    show(progress.step, self._running())
                if self._asked_to_stop():
                    self._save()
                    raise Interrupted
                if now - saved > SAVE_SECONDS:
                    self._save()
                    saved = now
        finally:
            ahead.close()

    def _step(self, batch: Batch) -> None:
        config = self.config
        factor = learning_rate_factor(config, self._global_step(), self.num_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * factor * group["scale"]
        x = torch.from_numpy(batch.images).to(self.device).permute(0, 3, 1, 2)
        labels = torch.from_numpy(batch.labels).to(self.device)
        with self._autocast():
            logits, traces = self.forward(x)
        parts = dense.loss(
            self.network, logits, traces, labels, config.tau, 0.0, config.label_smoothing
        )
        total = parts.total
        if self.teacher is not None:
            total = total + self._distilled(logits, x, parts.cross_entropy)
        value = float(total.detach())
        if not math.isfinite(value):
            raise Diverged
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        self.optimiser.step()
        self._add("loss", value)
        self._add("accuracy", float((logits.argmax(1) == labels).float().mean()))
        self._add("ponder", float(parts.ponder.detach()))
        self._add("images", len(labels) * self.world)
        self._add("steps", 1)
        if progress_due := self.progress.step % 20 == 0:
            positions = dense.count_positions(self.plan, traces, len(labels), x.shape[2:])
            flops = count_flops(self.plan, positions).total.mean()
            self._add("flops", float(flops))
            self._add("flops_steps", int(progress_due))

    def _distilled(self, logits: Tensor, x: Tensor, entropy: Tensor) -> Tensor:
        """What the teacher's soft labels change of the loss."""
        assert self.teacher is not None
        heat, share = self.config.distill_temperature, self.config.distill_weight
        with torch.no_grad(), self._autocast():
            target = self.teacher(x)[0]
        soft = F.kl_div(
            F.log_softmax(logits / heat, 1),
            F.log_softmax(target / heat, 1),
            reduction="batchmean",
            log_target=True,
        )
        return share * (heat * heat * soft - entropy)

    def _add(self, name: str, value: float) -> None:
        self.progress.sums[name] = self.progress.sums.get(name, 0.0) + value

    def _running(self) -> dict[str, float]:
        """Means of the epoch so far, for the progress bar."""
        sums = self.progress.sums
        steps = max(sums.get("steps", 0.0), 1.0)
        return {
            "loss": sums["loss"] / steps,
            "accuracy": sums["accuracy"] / steps,
            "images/s": sums["images"] / max(sums["seconds"], 1e-9),
            "flops": sums.get("flops", 0) / max(sums.get("flops_steps", 0), 1) / self.dense_flops,
            "waited": sums["waited"] / max(sums["seconds"], 1e-9),
        }

    def _finish_epoch(self) -> dict[str, Any]:
        """Evaluate, and give the epoch's row of metrics."""
        progress = self.progress
        running = self._running()
        row: dict[str, Any] = {
            "epoch": progress.epoch + 1,
            "step": self._global_step(),
            "train/Total Loss": running["loss"],
            "train/Accuracy": running["accuracy"],
            "train/images_per_second": running["images/s"],
            "train/share_waiting_for_data": running["waited"],
            "train/hours": progress.seconds / 3600,
            "learning_rate": max(g["lr"] for g in self.optimiser.param_groups),
        }
        if self.rank == 0:
            row |= self.evaluate()
        return row

    def evaluate(self) -> dict[str, float]:
        """Evaluate on the test images, dense, float32, in the authors' terms."""
        self.network.eval()
        right, entropy, flops = 0, 0.0, []
        stats: dict[str, list[np.ndarray]] = {}
        with torch.inference_mode():
            for begin in range(0, len(self.test), EVAL_BATCH):
                images = normalise(
                    self.test.images[begin : begin + EVAL_BATCH], self.preprocessing.kind
                )
                labels = torch.from_numpy(self.test.labels[begin : begin + EVAL_BATCH])
                labels = labels.to(self.device)
                x = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)
                logits, traces = self.network(x)
                right += int((logits.argmax(1) == labels).sum())
                entropy += float(F.cross_entropy(logits, labels, reduction="sum"))
                positions = dense.count_positions(self.plan, traces, len(x), x.shape[2:])
                flops.append(count_flops(self.plan, positions).total)
                for block, trace in zip(self.plan.blocks, traces, strict=True):
                    for name in ("num_units", "ponder_cost"):
                        value = getattr(trace, name)
                        if value is not None:
                            stats.setdefault(f"{block.name}/{name}", []).append(
                                value.float().cpu().numpy().ravel()
                            )
        self.network.train()
        every = np.concatenate(flops)
        row = {
            "eval/Accuracy": right / len(self.test),
            "eval/Cross Entropy": entropy / len(self.test),
            "Total Flops/mean": float(every.mean()),
            "Total Flops/std": float(every.std()),
            "flops_share": float(every.mean()) / self.dense_flops,
        }
        for name, values in stats.items():
            together = np.concatenate(values)
            row |= {f"{name}_mean": float(together.mean()), f"{name}_std": float(together.std())}
        return row

    def warnings(self, row: dict[str, Any]) -> list[str]:
        """Say which blocks' halting is dead, and what to try."""
        found = []
        for block in self.plan.blocks:
            mean, units = row.get(f"{block.name}/num_units_mean"), len(block.units)
            if mean is None or units < 2:
                continue
            if mean < 1.001:
                found.append(
                    f"halting of {block.name} is dead: every position stops at unit 1; "
                    f"try a lower --halting-bias or a lower --tau"
                )
            elif mean > units - 0.001:
                found.append(
                    f"halting of {block.name} is dead: no position ever stops; try a higher "
                    f"--halting-bias, a higher --halting-lr or a higher --tau"
                )
        return found

    def checkpoint(self, row: dict[str, Any]) -> checkpoints.Checkpoint:
        """Make a checkpoint of the network as it stands."""
        record = provenance.describe(
            self.config, row, len(self.augmenter.labels), len(self.test), self.command, self.device
        )
        return checkpoints.Checkpoint(
            config=self.config.network,
            params=self.network.params(),
            preprocessing=self.preprocessing,
            class_names=self.class_names,
            provenance=record,
        )

    def _keep(self, row: dict[str, Any]) -> None:
        if self.rank == 0:
            made = self.checkpoint(row)
            checkpoints.write(self.run_dir.path / "last.h5", made)
            if row["eval/Accuracy"] > self.progress.best:
                self.progress.best = row["eval/Accuracy"]
                checkpoints.write(self.run_dir.path / "best.h5", made)
            self.run_dir.write_metrics(self.progress.rows)
            for line in self.warnings(row):
                self.say(f"warning: {line}")
        self._save()

    def _save(self) -> None:
        if self.rank == 0:
            self.run_dir.save_state(
                {
                    "network": self.network.state_dict(),
                    "optimiser": self.optimiser.state_dict(),
                    "progress": vars(self.progress),
                }
            )
        if self.world > 1:
            torch.distributed.barrier()

    def _asked_to_stop(self) -> bool:
        if self.world == 1:
            return self.stop_asked
        asked = torch.tensor(float(self.stop_asked), device=self.device)
        torch.distributed.all_reduce(asked)
        return bool(asked > 0)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Let the first Ctrl-C or TERM end the run after the step in hand."""

        def ask(number: int, frame: object) -> None:
            self.stop_asked = True
            signal.signal(number, before[number])  # a second one ends at once

        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.getsignal(number) for number in numbers}
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

    def _autocast(self) -> torch.autocast:
        enabled = self.config.amp == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def _initial_params(self) -> dict[str, np.ndarray]:
        params = init_params(self.plan, self.config.seed)
        if self.config.finetune_from:
            source = checkpoints.read(self.config.finetune_from)
            params |= transferable(source, self.plan, self.config.finetune_from)
        return params

    def _load_teacher(self) -> dense.Network | None:
        if not self.config.distill_from:
            return None
        source = checkpoints.read(self.config.distill_from)
        if source.config.num_classes != self.config.network.num_classes:
            raise ValueError(
                f"{self.config.distill_from} has {source.config.num_classes} classes, "
                f"the network {self.config.network.num_classes}"
            )
        teacher = dense.Network(build_plan(source.config), source.params).to(self.device).eval()
        return teacher.requires_grad_(False)

    def _make_optimiser(self) -> torch.optim.SGD:
        """SGD whose L2 falls on convolution weights only, halting branches apart."""
        groups: dict[tuple[bool, bool], list[Tensor]] = {}
        for name, value in self.network.named_parameters():
            key = ("/halting_proba/" in name, name.endswith("/weight"))
            groups.setdefault(key, []).append(value)
        return torch.optim.SGD(
            [
                {
                    "params": values,
                    "weight_decay": self.config.l2 if is_weight else 0.0,
                    "scale": self.config.halting_lr if is_halting else 1.0,
                }
                for (is_halting, is_weight), values in groups.items()
            ],
            lr=self.config.learning_rate,
            momentum=self.config.momentum,
            nesterov=self.config.nesterov and self.config.momentum > 0,
        )


def transferable(source: checkpoints.Checkpoint, plan: Plan, where: str | Path) -> dict[str, Any]:
    """Give the parameters of a checkpoint that a network can start from.

    All but the halting branches, as the authors fine-tuned from a vanilla network.

    Raises
    ------
    ValueError
        If the rest does not fit; everything that does not is listed.
    """
    wanted = {n: s for n, s in plan.param_shapes.items() if "/halting_proba/" not in n}
    had = {n: v for n, v in source.params.items() if "/halting_proba/" not in n}
    problems = [f"missing: {n} {s}" for n, s in wanted.items() if n not in had]
    problems += [f"unexpected: {n} {v.shape}" for n, v in had.items() if n not in wanted]
    problems += [
        f"wrong shape: {n} is {had[n].shape}, should be {s}"
        for n, s in wanted.items()
        if n in had and had[n].shape != s
    ]
    if problems:
        raise ValueError(
            f"{where} does not fit {plan.config.name} "
            f"({len(problems)} parameters): " + "; ".join(problems[:20])
        )
    return had


def preprocessing_for(config: TrainingConfig, train: Examples) -> Preprocessing:
    """Say how a trained network's images are prepared: at the size it was trained at."""
    base = default_preprocessing(config.network.family)
    return Preprocessing(base.kind, train.images.shape[1], base.crop_fraction, base.fit)
