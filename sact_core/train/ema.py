"""A moving average of a network's weights, which answers better than the last ones do.

Source: Polyak and Juditsky 1992, SIAM J. Control Optim. 30(4); exponential, as
TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``: it forgets where the run
began.
"""

from __future__ import annotations

from typing import Any

import torch

from sact_core.backends import dense


class WeightAverage:
    """The exponential moving average of all that a network learns.

    Parameters
    ----------
    network : dense.Network
        What to begin with, and to follow.
    decay : float
        Share of the average that an update keeps; ``(1 + t) / (10 + t)`` at update ``t``,
        from 0, where that is less.

    Attributes
    ----------
    network : dense.Network
        Holds the average, moving statistics among it; in the mode for inference.
    num_updates : int
        So far.
    """

    def __init__(self, network: dense.Network, decay: float) -> None:
        made = dense.Network(network.plan, network.params(), fused=network.fused)
        device = next(network.parameters()).device
        self.network = made.to(device).eval().requires_grad_(False)
        self.num_updates = 0
        self._decay = decay

    def update(self, network: dense.Network) -> None:
        """Take in a network after its step."""
        t = self.num_updates
        left = 1 - min(self._decay, (1 + t) / (10 + t))
        new = network.state_dict()
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                value.lerp_(new[name], left)
        self.num_updates += 1

    def state(self) -> dict[str, Any]:
        """Everything that the next update depends on."""
        return {"network": self.network.state_dict(), "num_updates": self.num_updates}

    def load(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.network.load_state_dict(state["network"])
        self.num_updates = state["num_updates"]
