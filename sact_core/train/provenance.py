"""Where trained weights come from: what a checkpoint says of itself."""

from __future__ import annotations

from typing import Any

from sact_core.provenance import hardware, versions
from sact_core.train.recipes import TrainingConfig, config_to_dict


def describe(
    config: TrainingConfig,
    row: dict[str, Any],
    counts: tuple[int, int],
    num_steps: int,
    command: str,
    device: Any,
) -> dict[str, Any]:
    """Describe a run after an epoch, in plain JSON values.

    Parameters
    ----------
    config : TrainingConfig
        The recipe.
    row : dict
        The epoch's metrics.
    counts : tuple of int
        Images trained and evaluated on.
    num_steps : int
        Steps that the whole run takes.
    command : str
        What was typed.
    device : torch.device
        Where it ran.
    """
    recipe = config_to_dict(config)
    recipe.pop("network")
    return {
        "data_set": {
            "name": config.dataset,
            "train_split": config.train_split,
            "train_count": counts[0],
        },
        "command": command,
        "recipe": recipe,
        "tau": config.tau if config.network.halts else None,
        **_tau_range(config),
        "seed": config.seed,
        "epochs": row["epoch"],
        "steps": row["step"],
        "steps_planned": num_steps,
        "hours": round(row["train/hours"], 4),
        "hardware": hardware(str(device)),
        "metrics": {
            "split": config.eval_split,
            "count": counts[1],
            **{k: v for k, v in row.items() if not k.startswith("train/")},
        },
        "packages": versions(),
    }


def _tau_range(config: TrainingConfig) -> dict[str, list[float]]:
    network = config.network
    if network.tau_low is None or network.tau_high is None:
        return {}
    return {"tau_range": [network.tau_low, network.tau_high]}
