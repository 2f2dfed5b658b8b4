"""Rows of a measurement as JSON, a table in Markdown and a Plotly chart."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sact_core.files import written_beside
from sact_core.train.provenance import hardware, versions

Row = dict[str, Any]

SIDE_TITLES = {
    "masked": "masked",
    "vanilla": "PyTorch eager",
    "compiled": "torch.compile",
    "frozen": "torch.compile, frozen weights",
    "sact": "PyTorch eager, with halting",
}


def machine() -> dict[str, Any]:
    """Describe where the measurement ran."""
    found: dict[str, Any] = {"hardware": hardware(), "system": platform.platform(terse=True)}
    info = Path("/proc/cpuinfo")
    if info.exists():
        flags = info.read_text().partition("flags")[2].partition("\n")[0].split()
        found["vectors"] = ", ".join(f for f in ("avx2", "avx512f", "asimd") if f in flags)
    memory = Path("/proc/meminfo")
    if memory.exists():
        found["memory_gib"] = round(int(memory.read_text().split()[1]) / 2**20, 1)
    return {**found, "packages": versions()}


def read_rows(path: Path) -> dict[str, Any]:
    """Read what an earlier run wrote, or nothing.

    Raises
    ------
    ValueError
        If the file is no JSON object.
    """
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} does not hold a JSON object")
    return values


def write_infer(folder: Path, values: dict[str, Any]) -> None:
    """Write ``infer.json``, ``infer.md`` and ``infer.html``.

    Parameters
    ----------
    folder : Path
        Where; it is made.
    values : dict
        ``rows`` from `infer.measure_case`, ``start`` from `start.measure_start`
        (or None) and ``machine`` from `machine`.
    """
    _write(folder / "infer.json", json.dumps(values, indent=1) + "\n")
    _write(folder / "infer.md", infer_table(values))
    _write(folder / "infer.html", infer_chart(values["rows"], values["machine"]))


def infer_table(values: dict[str, Any]) -> str:
    """The tables of `write_infer`, losing rows included."""
    rows = values["rows"]
    parts = [
        "# Masked inference against dense PyTorch",
        _machine_text(values["machine"]),
        "Milliseconds for the whole batch, medians of turns taken A B A B …, each side in a "
        "process of its own. The dense side (bold) is the network without halting in PyTorch, "
        "the faster of eager mode (channels last) and `torch.compile`; the speed-up is dense "
        "over masked. *Share* is the speed-up as a share of the FLOP ratio, dense FLOPs over the "
        "FLOPs that the masked network needed. The masked side computes its halting too. "
        "Weights are random; halting is steered so that blobs of positions go on (see "
        "`sact_core/benchmark/steer.py`).",
        _table(
            [
                *("network", "threads", "FLOPs", "masked"),
                *(SIDE_TITLES[s] for s in ("vanilla", "compiled", "frozen", "sact")),
                *("speed-up", "FLOP ratio", "share", "bar"),
            ],
            [_infer_row(row) for row in rows],
        ),
        "## Growth: time per active position",
        "Nanoseconds for one position of one residual unit, halo, stem and head included.",
        growth_table(rows),
        "## Memory",
        "Most memory that a process held at full depth, MiB, and how much of it came on top of "
        "packages and compiled kernels.",
        memory_table(rows),
    ]
    start = values.get("start")
    if start:
        parts += [
            "## Start",
            f"From the import of the engine to its first result (ResNet-32, one image): "
            f"{start['first']:.1f} s with an empty cache of compiled kernels, "
            f"{start['second']:.2f} s from then on.",
        ]
    return "\n\n".join(parts) + "\n"


def growth_table(rows: Iterable[Row]) -> str:
    """Time per active position at every size of a network, side by side."""
    lines: dict[tuple[str, int, float], dict[int, float]] = {}
    for row in rows:
        if row["batch"] == 1 and row["side"] > 32:
            key = (row["title"].split(",")[0], row["threads"], row["ratio"])
            lines.setdefault(key, {})[row["side"]] = 1e6 * row["ms"]["masked"] / row["positions"]
    sides = sorted({side for line in lines.values() for side in line})
    return _table(
        ["network", "threads", "FLOPs", *(f"{side} px" for side in sides)],
        [
            [key[0], str(key[1]), _percent(key[2])]
            + [f"{line[side]:,.0f}" if side in line else "" for side in sides]
            for key, line in lines.items()
        ],
    )


def memory_table(rows: Iterable[Row]) -> str:
    """Peak memory of the masked engine and of PyTorch."""
    both = ("masked", "vanilla")
    return _table(
        ["network", "threads", *(f"{SIDE_TITLES[s]}{of}" for of in ("", ", on top") for s in both)],
        [
            [row["title"], str(row["threads"])]
            + [f"{row['memory'][s][0] / 2**20:,.0f}" for s in both]
            + [f"{(row['memory'][s][0] - row['memory'][s][1]) / 2**20:,.0f}" for s in both]
            for row in rows
            if row["ratio"] == 1 and set(both) <= set(row["memory"])
        ],
    )


def infer_chart(rows: list[Row], where: dict[str, Any]) -> str:
    """Speed-up over FLOP ratio: on the diagonal, saved FLOPs are saved time."""
    import plotly.graph_objects as go

    figure = go.Figure()
    most = max([row["flop_ratio"] for row in rows] + [row["speedup"] for row in rows])
    figure.add_scatter(
        x=[0.9, most], y=[0.9, most], mode="lines", name="saved FLOPs = saved time",
        line={"dash": "dot", "color": "gray"}, hoverinfo="skip",
    )  # fmt: skip
    for title, threads in dict.fromkeys((row["title"], row["threads"]) for row in rows):
        line = [row for row in rows if (row["title"], row["threads"]) == (title, threads)]
        line.sort(key=lambda row: row["flop_ratio"])
        figure.add_scatter(
            x=[row["flop_ratio"] for row in line],
            y=[row["speedup"] for row in line],
            mode="lines+markers",
            name=f"{title}, {threads} thread{'s' if threads > 1 else ''}",
            customdata=[
                [row["ms"]["masked"], row["dense"], SIDE_TITLES[row["dense_side"]], row["share"]]
                for row in line
            ],
            hovertemplate=(
                "%{x:.2f} times fewer FLOPs, %{y:.2f} times as fast (%{customdata[3]:.0%})<br>"
                "masked %{customdata[0]:.2f} ms, %{customdata[2]} %{customdata[1]:.2f} ms"
            ),
        )
    figure.update_layout(
        title=_title("Masked inference against dense PyTorch", where),
        xaxis_title="dense FLOPs / FLOPs needed",
        yaxis_title="dense time / masked time",
        template="plotly_white",
        height=640,
    )  # fmt: skip
    return figure.to_html(include_plotlyjs="cdn", full_html=True)


def write_halting(folder: Path, values: dict[str, Any]) -> None:
    """Write ``halting.json``, ``halting.md`` and ``halting.html``."""
    rows = values["rows"]
    table = _table(
        ["map", "units", "threads", "Numba", "NumPy", "PyTorch", "Numba over NumPy"],
        [
            [f"{row['side']} x {row['side']}", str(row["units"]), str(row["threads"])]
            + [f"{row['ms'][name]:.3f}" for name in ("numba", "numpy", "torch")]
            + [f"{row['speedup']:.1f}"]
            for row in rows
        ],
    )
    text = [
        "# The halting rule",
        _machine_text(values["machine"]),
        "Milliseconds for one map of random probabilities, checks of the input included; medians "
        "of turns taken A B A B ….",
        table,
    ]
    _write(folder / "halting.json", json.dumps(values, indent=1) + "\n")
    _write(folder / "halting.md", "\n\n".join(text) + "\n")
    _write(folder / "halting.html", _halting_chart(rows, values["machine"]))


def write_family(folder: Path, values: dict[str, Any]) -> None:
    """Write ``family.json``, ``family.md`` and ``family.html``."""
    rows = sorted(values["rows"], key=lambda row: row["mflops"])
    dense = max(rows, key=lambda row: row["mflops"])
    table = _table(
        ["checkpoint", "network", "tau", "MFLOPs", "masked ms", "PyTorch ms"],
        [
            [
                *(f"`{row['file']}`", row["network"]),
                *("–" if row["tau"] is None else f"{row['tau']:g}", f"{row['mflops']:.1f}"),
                *(f"{row['ms']['masked']:.3f}", f"{row['ms']['sact']:.3f}"),
            ]
            for row in rows
        ],
    )
    text = [
        "# Trained networks: milliseconds and MFLOPs of an image",
        _machine_text(values["machine"]),
        f"Means over {dense['images']} test images ({values['data']}) run as one batch on "
        f"{dense['threads']} thread(s); medians of turns taken A B A B …, each side in a process "
        "of its own. *PyTorch* is the same network in eager mode.",
        table,
    ]
    _write(folder / "family.json", json.dumps(values, indent=1) + "\n")
    _write(folder / "family.md", "\n\n".join(text) + "\n")
    _write(folder / "family.html", _family_chart(rows, values["machine"]))


def _family_chart(rows: list[Row], where: dict[str, Any]) -> str:
    import plotly.graph_objects as go

    figure = go.Figure()
    for key, title in (("masked", "masked"), ("sact", "PyTorch eager")):
        figure.add_scatter(
            x=[row["mflops"] for row in rows],
            y=[row["ms"][key] for row in rows],
            text=[row["file"] for row in rows],
            mode="lines+markers",
            name=title,
        )
    figure.update_layout(
        title=_title("Trained networks on test images", where),
        xaxis={"title": "MFLOPs of an image", "rangemode": "tozero"},
        yaxis={"title": "ms for an image", "rangemode": "tozero"},
        template="plotly_white",
    )
    return figure.to_html(include_plotlyjs="cdn", full_html=True)


def _halting_chart(rows: list[Row], where: dict[str, Any]) -> str:
    import plotly.graph_objects as go

    figure = go.Figure()
    names = [f"{row['side']} x {row['side']}, {row['units']} units" for row in rows]
    for key, title in (("numba", "Numba"), ("numpy", "NumPy"), ("torch", "PyTorch")):
        figure.add_bar(x=names, y=[row["ms"][key] for row in rows], name=title)
    figure.update_layout(
        title=_title("The halting rule", where),
        yaxis={"title": "ms", "type": "log"},
        template="plotly_white",
    )
    return figure.to_html(include_plotlyjs="cdn", full_html=True)


def _title(text: str, where: dict[str, Any]) -> dict[str, Any]:
    return {"text": text, "subtitle": {"text": where["hardware"]}}


def _infer_row(row: Row) -> list[str]:
    times = {name: f"{ms:.2f}" for name, ms in row["ms"].items()}
    times[row["dense_side"]] = f"**{times[row['dense_side']]}**"
    verdict = ""
    if row["bar"] is not None:
        verdict = f"{row['bar']:.2f} {'met' if row['share'] >= row['bar'] else '**missed**'}"
    return [
        row["title"],
        str(row["threads"]),
        _percent(row["flops"] / row["dense_flops"]),
        *(times.get(name, "") for name in ("masked", "vanilla", "compiled", "frozen", "sact")),
        f"{row['speedup']:.2f}",
        f"{row['flop_ratio']:.2f}",
        f"{row['share']:.2f}",
        verdict,
    ]


def _percent(value: float) -> str:
    return f"{value:.0%}"


def _machine_text(where: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in where["packages"].items())
    vectors = f" ({where['vectors']})" if where.get("vectors") else ""
    memory = f", {where['memory_gib']} GiB" if "memory_gib" in where else ""
    return f"Measured on {where['hardware']}{vectors}{memory}, {where['system']}; {packages}."


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _write(path: Path, text: str) -> None:
    with written_beside(path) as beside:
        beside.write_text(text)
