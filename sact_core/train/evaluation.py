"""What a run's network does on its test images, in the authors' terms."""

from __future__ import annotations

from typing import Any

import numpy as np

from sact_core.backends import dense
from sact_core.backends.checks import check_result
from sact_core.flops import dense_flops, unit_prices
from sact_core.measures.metrics import ACCURACY, AGREEMENT, Metrics, l2_loss
from sact_core.taus import check_taus
from sact_core.train.feed import Feed
from sact_core.train.recipes import TrainingConfig

END_EXAMPLES = 2000  # test images that the ends of a range of tau are evaluated on


def measure(
    network: dense.Network,
    config: TrainingConfig,
    feed: Feed,
    teacher: dense.Network | None = None,
) -> dict[str, Any]:
    """Evaluate a network on the test images of a run, in float32, in the authors' terms.

    A network conditioned on tau at its default, and, on the first test images
    only, at the ends of its range under names such as ``eval@0.2/Accuracy``.

    Parameters
    ----------
    network : dense.Network
        It is left in the mode for inference.
    config : TrainingConfig
        The recipe; its tau, its price and its L2 count.
    feed : Feed
        Gives the images.
    teacher : dense.Network, optional
        What it answers counts as right, in place of labels.

    Returns
    -------
    dict
        As `sact_core.measures.metrics.Metrics.summary`, and ``flops_share``, of dense.

    Raises
    ------
    DataError
        If no image can be read.
    NotFinite
        If the network overflows on one.
    """
    network.eval()
    plan, regularization = network.plan, l2_loss(network.params(), config.l2)
    whole = int(dense_flops(plan, (feed.side, feed.side)).total[0])
    low, high = config.network.tau_low, config.network.tau_high
    ends = [] if low is None or high is None else [low, high]
    prices = unit_prices(plan, (feed.side, feed.side), config.price)
    judged = teacher is not None
    metrics = {
        tau: Metrics(plan, tau, regularization, prices, judged) for tau in [config.tau, *ends]
    }
    for images, labels in feed.test_inputs(plan):
        if teacher is not None:
            taus = check_taus(teacher.plan.config, None, len(images))
            labels = dense.infer(teacher.eval(), images, taus=taus).logits.argmax(1)
        for tau, seen in metrics.items():
            if tau == config.tau or seen.count < END_EXAMPLES:
                taus = np.full(len(images), tau) if ends else None
                result = dense.infer(network, images, taus=taus)
                check_result(plan, result)
                seen.update(result, labels)
    shown = {tau: seen.summary() for tau, seen in metrics.items()}
    for found in shown.values():
        found["flops_share"] = found["Total Flops/mean"] / whole
    found = shown[config.tau]
    for tau in ends:
        there = shown[tau]
        found = found | {f"eval@{tau:g}/{name}": there[k] for name, k in _telling(there).items()}
    return found


def _telling(found: dict[str, Any]) -> dict[str, str]:
    """Which metrics are kept of an end of the range, by the names that they get."""
    kept = {k.removeprefix("eval/"): k for k in (ACCURACY, AGREEMENT) if k in found}
    kept |= {name: name for name in ("Total Flops/mean", "flops_share")}
    mean = "/num_units_mean"
    return kept | {f"{k.removesuffix(mean)}/units": k for k in found if k.endswith(mean)}
