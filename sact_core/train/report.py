"""What a run tells people: an epoch in one line, warnings, a progress bar."""

from __future__ import annotations

import sys
import time
from typing import Any

from sact_core.commands import progress
from sact_core.measures.metrics import authors_block_name
from sact_core.network import Plan
from sact_core.texts import lasting

#: Seconds between lines within an epoch where no bar is shown.
SAY_SECONDS = 300.0

#: What tests tell: of labels, and without them.
TOLD = {"Accuracy": "test accuracy", "Agreement": "agreement with the teacher"}


#: What training tells of its crops: with labels, and without them.
TRAINED = {True: "accuracy", False: "agreement with the teacher on training crops"}


def summary(row: dict[str, Any], held_out: int | None = None) -> str:
    """Say an epoch's metrics in one line.

    Parameters
    ----------
    row : dict
        The epoch's metrics.
    held_out : int, optional
        Of a run without labels, where what the teacher answers is right: how many images it
        is tested on.
    """
    text = f"epoch {row['epoch']}: loss {row['train/Total Loss']:.4f}, " + (
        f"{TRAINED[held_out is None]} {row['train/Accuracy']:.2%}"
    )
    kind = next((name for name in ("Accuracy", "Agreement") if f"eval/{name}" in row), None)
    if kind is not None:
        units = " / ".join(f"{v:.2f}" for k, v in row.items() if k.endswith("num_units_mean"))
        text += (
            f"; {TOLD[kind]} {row[f'eval/{kind}']:.2%}"
            + (f" of {held_out:,} held-out images" if held_out is not None else "")
            + f", {row['Total Flops/mean'] / 1e6:.1f} MFLOPs ({row['flops_share']:.1%} of dense)"
            + (f", units {units}" if units else "")
        )
        for end in _ends(row):
            text += (
                f"; at tau {end.removeprefix('eval@')} {row[f'{end}/{kind}']:.2%}, "
                f"{row[f'{end}/flops_share']:.1%} of dense"
            )
    return (
        f"{text}; {row['train/images_per_second']:.0f} images/s, "
        f"{row['train/share_waiting_for_data']:.1%} of it waiting for data"
    )


def time_left(seconds: float | None) -> str:
    """Say how long a run will take yet, as the end of a line; nothing where unknown."""
    return "" if seconds is None else f"; {lasting(seconds)} left"


def warnings(plan: Plan, row: dict[str, Any]) -> list[str]:
    """Say which blocks' halting is dead after an evaluation, and what to try."""
    found = []
    # Over a range of tau all may run at its low end, and nothing at its high end.
    ends = _ends(row)
    low, high = (ends[0], ends[-1]) if ends else ("", "")
    flag = "--tau-range" if ends else "--tau"
    for block in plan.blocks:
        name = authors_block_name(plan.config.family, block.name)
        keys = [f"{end}/{name}/units" if ends else f"{name}/num_units_mean" for end in (high, low)]
        (least, most), units = (row.get(key) for key in keys), len(block.units)
        if least is None or most is None or units < 2:
            continue
        if most < 1.001:
            found.append(
                f"halting of {block.name} is dead: every position stops at unit 1; "
                f"try a lower --halting-bias or a lower {flag}"
            )
        elif least > units - 0.001:
            found.append(
                f"halting of {block.name} is dead: no position ever stops; try a higher "
                f"--halting-bias, a higher --halting-lr or a higher {flag}"
            )
    if ends and not found and _same(row[f"{low}/flops_share"], row[f"{high}/flops_share"]):
        found.append(
            "both ends of the range of tau do the same work; try a higher --halting-lr or a "
            "wider --tau-range"
        )
    return found


def _ends(row: dict[str, Any]) -> list[str]:
    """Prefixes such as ``eval@0.2`` of the ends of a range of tau, the low end first."""
    return [k.removesuffix("/flops_share") for k in row if k.endswith("/flops_share")]


def _same(one: float, other: float) -> bool:
    return abs(one - other) < 0.005


class Bar:
    """A progress bar over the whole run on a terminal; elsewhere a line every few minutes.

    Parameters
    ----------
    num_steps, steps_per_epoch : int
        Steps of the run and of an epoch.
    done : int
        Steps taken before.
    shown : bool, optional
        Whether to show it; by default where stderr is a terminal.
    labelled : bool
        Whether labels are what is right, rather than what the teacher answers.
    """

    def __init__(
        self,
        num_steps: int,
        steps_per_epoch: int,
        done: int,
        shown: bool | None = None,
        labelled: bool = True,
    ) -> None:
        self._right = "accuracy" if labelled else "agreement"
        self.num_epochs = -(-num_steps // steps_per_epoch)
        self._num_steps, self._said = num_steps, time.monotonic()
        self._bar = progress(num_steps, "steps", done, shown)

    def update(
        self, epoch: int, step: int, running: dict[str, float], left: float | None = None
    ) -> None:
        """Show the steps so far and the means of the epoch so far; tqdm adds the ETA.

        Where no bar is shown, ``left`` is said, the seconds that are left.
        """
        now = time.monotonic()
        if self._bar.disable and now - self._said < SAY_SECONDS:
            return
        place = f"epoch {epoch + 1}/{self.num_epochs}"
        means = (
            f"loss {running['loss']:.3f}, {self._right} {running['accuracy']:.1%}, "
            f"FLOPs {running['flops']:.0%} of dense"
        )
        if self._bar.disable:
            self._said = now
            self.say(f"{place}, step {step:,} of {self._num_steps:,}: {means}{time_left(left)}")
            return
        self._bar.update(step - self._bar.n)
        self._bar.set_description_str(place, refresh=False)
        self._bar.set_postfix_str(f"{running['images/s']:.0f} images/s, {means}", refresh=False)

    def say(self, text: str) -> None:
        """Print a line above the bar, with the time of day."""
        self._said = time.monotonic()
        self._bar.write(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stdout)
        sys.stdout.flush()

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()
