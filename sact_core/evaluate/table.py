"""Metrics laid out for people."""

from __future__ import annotations

from sact_core.measures.metrics import Metrics, authors_block_name, rights


def table(metrics: Metrics) -> str:
    """Lay out the metrics for people."""
    found = metrics.summary()
    lines = [f"{name:<18}{found[name]:14.2%}" for name in rights(found).values()]
    if not metrics.agreement:
        lines += _loss(metrics, found)
    mean, std = found["Total Flops/mean"], found["Total Flops/std"]
    lines.append(f"Total Flops/mean  {mean:14,.0f}   {mean / metrics.dense.mean:.1%} of dense")
    lines.append(f"Total Flops/std   {std:14,.0f}")
    names = list(next(iter(metrics.blocks.values())))
    lines += ["", " " * 10 + "".join(f"{name + '_mean':>18}{name + '_std':>18}" for name in names)]
    for block in metrics.blocks:
        name = authors_block_name(metrics.plan.config.family, block)
        cells = (found[f"{name}/{metric}_{part}"] for metric in names for part in ("mean", "std"))
        lines.append(f"{name:<10}" + "".join(f"{_number(cell):>18}" for cell in cells))
    return "\n".join(lines)


def _loss(metrics: Metrics, found: dict[str, float]) -> list[str]:
    lines = [
        f"eval/Mean Loss    {found['eval/Mean Loss']:14.4f}   cross-entropy "
        f"{found['eval/Cross Entropy']:.4f} + tau {metrics.tau:g} x ponder cost + L2 "
        f"{metrics.regularization:.4f}"
    ]
    prices = metrics.unit_prices
    if any(price != 1 for price in prices.blocks):
        priced = " / ".join(f"{price:.3f}" for price in prices.blocks)
        where = ", paid where it is computed" if prices.halos else ""
        lines.append(f"{'':32}   a unit of each block costs {priced} tau, by its FLOPs{where}")
    return lines


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4f}"
