"""What a run tells people: an epoch in one line, warnings, a progress bar."""

from __future__ import annotations

import sys
import time
from typing import Any

from sact_core.metrics import authors_block_name
from sact_core.network import Plan


def summary(row: dict[str, Any]) -> str:
    """Say an epoch's metrics in one line."""
    text = f"epoch {row['epoch']}: loss {row['train/Total Loss']:.4f}, " + (
        f"accuracy {row['train/Accuracy']:.2%}"
    )
    if "eval/Accuracy" in row:
        units = " / ".join(f"{v:.2f}" for k, v in row.items() if k.endswith("num_units_mean"))
        text += (
            f"; test accuracy {row['eval/Accuracy']:.2%}, "
            f"{row['Total Flops/mean'] / 1e6:.1f} MFLOPs ({row['flops_share']:.1%} of dense)"
            + (f", units {units}" if units else "")
        )
    return (
        f"{text}; {row['train/images_per_second']:.0f} images/s, "
        f"{row['train/share_waiting_for_data']:.1%} of it waiting for data"
    )


def warnings(plan: Plan, row: dict[str, Any]) -> list[str]:
    """Say which blocks' halting is dead after an evaluation, and what to try."""
    found = []
    for block in plan.blocks:
        name = authors_block_name(plan.config.family, block.name)
        mean, units = row.get(f"{name}/num_units_mean"), len(block.units)
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


class Bar:
    """A progress bar over the whole run on a terminal; elsewhere nothing.

    Parameters
    ----------
    num_steps, steps_per_epoch : int
        Steps of the run and of an epoch.
    done : int
        Steps taken before.
    shown : bool, optional
        Whether to show it; by default where stderr is a terminal.
    """

    def __init__(
        self, num_steps: int, steps_per_epoch: int, done: int, shown: bool | None = None
    ) -> None:
        from tqdm import tqdm

        self.num_epochs = -(-num_steps // steps_per_epoch)
        shown = sys.stderr.isatty() if shown is None else shown
        self._bar = tqdm(total=num_steps, initial=done, disable=not shown, leave=False)

    def update(self, epoch: int, step: int, running: dict[str, float]) -> None:
        """Show the steps so far and the means of the epoch so far; tqdm adds the ETA."""
        self._bar.update(step - self._bar.n)
        if not self._bar.disable:
            self._bar.set_description_str(f"epoch {epoch + 1}/{self.num_epochs}", refresh=False)
            self._bar.set_postfix_str(
                f"{running['images/s']:.0f} images/s, loss {running['loss']:.3f}, accuracy "
                f"{running['accuracy']:.1%}, FLOPs {running['flops']:.0%} of dense",
                refresh=False,
            )

    def say(self, text: str) -> None:
        """Print a line above the bar, with the time of day."""
        self._bar.write(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stdout)
        sys.stdout.flush()

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()
