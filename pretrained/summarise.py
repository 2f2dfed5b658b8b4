"""Write pretrained/README.md's tables and the accuracy/FLOPs plot from the files themselves.

    python pretrained/summarise.py

Every figure is read from the provenance that a checkpoint carries, so the table
cannot say what a file does not. ``python -m sact_core.evaluate`` reproduces a row.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from sact_core.checkpoint import Header, read_header  # noqa: E402

BEGIN, END = "<!-- table: made by summarise.py -->", "<!-- end of table -->"

#: Published figures that ours are compared with: name, MFLOPs, accuracy.
PUBLISHED = (
    ("authors' SACT ResNet-32, tau 0.01", 82.393168, 0.9182),
    ("DynConv ResNet-32 (CVPR 2020)", 110.8, 0.9358),
)


def rows() -> list[tuple[str, Header, dict[str, Any]]]:
    """File name, header and metrics of every CIFAR-10 checkpoint, cheapest first."""
    found = []
    for path in sorted(HERE.glob("*.h5")):
        header = read_header(path)
        metrics = header.provenance.get("metrics", {})
        if "Total Flops/mean" in metrics:
            found.append((path.name, header, metrics))
    return sorted(found, key=lambda row: row[2]["Total Flops/mean"])


def table() -> str:
    """The Markdown tables."""
    lines = [
        "| file | network | tau | accuracy | MFLOPs mean ± std | mean units by block "
        "| epochs | hours | seed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    details = []
    for name, header, metrics in rows():
        record = header.provenance
        units = [v for k, v in metrics.items() if k.endswith("num_units_mean")]
        tau = record.get("tau")
        blocks = "_".join(map(str, header.config.units_per_block))
        lines.append(
            f"| `{name}` | {header.config.name} ({blocks})"
            f" | {'–' if tau is None else f'{tau:g}'}"
            f" | {metrics['eval/Accuracy']:.2%} of {metrics['count']:,}"
            f" | {metrics['Total Flops/mean'] / 1e6:.1f} ± {metrics['Total Flops/std'] / 1e6:.1f}"
            f" | {' / '.join(f'{u:.2f}' for u in units) or 'all'}"
            f" | {record['epochs']} | {record['hours']:.2f} | {record['seed']} |"
        )
        packages = ", ".join(f"{k} {v}" for k, v in record["packages"].items())
        details.append(f"- `{name}`: `{record['command']}` on {record['hardware']}; {packages}.")
    return "\n".join([*lines, "", "How each was made:", "", *details])


def plot(path: Path) -> None:
    """Draw accuracy against FLOPs."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    styles = {"sact": ("o-", "#0072B2"), "act": ("s-", "#E69F00"), "none": ("^", "#555555")}
    labels = {"sact": "SACT, ours", "act": "ACT, ours", "none": "static, ours"}
    figure, axes = plt.subplots(figsize=(8, 5), dpi=120)
    for kind, (style, colour) in styles.items():
        points = [
            (m["Total Flops/mean"] / 1e6, m["eval/Accuracy"] * 100, m["Total Flops/std"] / 1e6, h)
            for _, h, m in rows()
            if h.config.halting == kind and h.config.family == "cifar"
        ]
        if not points:
            continue
        x, y, spread, headers = zip(*points, strict=True)
        axes.errorbar(
            x, y, xerr=spread, fmt=style, color=colour, capsize=2, lw=1, label=labels[kind]
        )
        for at_x, at_y, header in zip(x, y, headers, strict=True):
            tau = header.provenance.get("tau")
            text = "_".join(map(str, header.config.units_per_block)) if tau is None else f"{tau:g}"
            axes.annotate(text, (at_x, at_y), (4, 5), textcoords="offset points", fontsize=8)
    for name, x_value, accuracy in PUBLISHED:
        axes.plot(x_value, accuracy * 100, "*", color="#D55E00", ms=10)
        axes.annotate(
            name, (x_value, accuracy * 100), (6, -12), textcoords="offset points", fontsize=8
        )
    axes.set_xlabel(
        "MFLOPs per image (mean; bars: standard deviation over images; 2 per multiply-add)"
    )
    axes.set_ylabel("accuracy on CIFAR-10 test, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def main() -> int:
    """Rewrite the table between its marks, and the plot."""
    readme = HERE / "README.md"
    text = readme.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}")
    plot(HERE / "accuracy_flops.png")
    print(f"wrote {readme.name} and accuracy_flops.png from {len(rows())} checkpoints")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
