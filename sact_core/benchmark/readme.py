"""The short table of three number formats that a document shows, kept up by command."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from sact_core.benchmark.markdown import table
from sact_core.benchmark.targets import share
from sact_core.files import written_beside

#: What stands between these lines of a document is replaced.
BEGIN = "<!-- three number formats: made by python -m sact_core.benchmark report --readme -->"
END = "<!-- end of three number formats -->"

RATIOS = (1.0, 0.6, 0.4)

#: Columns of milliseconds.
COLUMNS = {
    "masked": "masked",
    "masked-bf16": "bfloat16",
    "masked-int8": "int8",
    "openvino": "OpenVINO",
    "openvino-bf16": "bfloat16",
    "openvino-int8": "int8",
    "onnxruntime": "ONNX Runtime",
    "onnxruntime-int8": "int8",
    "frozen-bf16": "PyTorch frozen, bfloat16",
}

#: Shares of the FLOP ratio: ours and the rival.
SHARES = {
    "share, bfloat16": ("masked-bf16", "openvino-bf16"),
    "share, int8": ("masked-int8", "openvino-int8"),
}

Row = dict[str, Any]


def put_table(document: Path, results: Path, values: dict[str, Any]) -> None:
    """Replace the table of a document by what was measured last, runs taken together.

    Parameters
    ----------
    document : Path
        Has lines `BEGIN` and `END`.
    results : Path
        The file of results, which the table leads to.
    values : dict
        Of ``targets``.

    Raises
    ------
    ValueError
        If the document has not both lines once, or there are no rows with one thread.
    OSError
        If it cannot be read or written.
    """
    text = document.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{document} must have one line {BEGIN!r} and one {END!r} below it")
    made = short_table(results.with_suffix(".md"), document.parent, values)
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    with written_beside(document) as beside:
        beside.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")


def short_table(results: Path, folder: Path, values: dict[str, Any]) -> str:
    """The table, with the sentence before it; medians of runs.

    Raises
    ------
    ValueError
        If there are no rows with one thread.
    """
    places: dict[tuple[str, float], list[Row]] = {}
    for row in values["rows"]:
        if row["threads"] == 1 and row["ratio"] in RATIOS:
            places.setdefault((row["title"], row["ratio"]), []).append(row)
    if not places:
        raise ValueError(f"{results.with_suffix('.json')} has no rows with one thread")
    dates = sorted({row["when"][:10] for rows in places.values() for row in rows})
    when = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    revisions = sorted({r["software"]["revision"] for rows in places.values() for r in rows})
    link = _link(results, folder)
    text = (
        f"Against what people deploy, one thread of {values['machine']['hardware']} "
        f"({values['machine'].get('vectors', '')}), milliseconds, each row's sides in turns; "
        f"{when}, revision {', '.join(revisions)}. A share is OpenVINO's time over that of the "
        "masked engine in the same number format, as a share of the FLOP ratio "
        f"([bars, every side, two threads, losing rows]({link})):"
    )
    lines = [
        [
            title,
            f"{rows[0]['flops'] / rows[0]['dense_flops']:.0%}",
            *(_median([row["ms"].get(name) for row in rows], 3) for name in COLUMNS),
            *(_median([share(row, *pair) for row in rows]) for pair in SHARES.values()),
        ]
        for (title, _), rows in places.items()
    ]
    return f"{text}\n\n{table(['network', 'FLOPs needed', *COLUMNS.values(), *SHARES], lines)}"


def _median(values: list[float | None], digits: int | None = None) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    found = statistics.median(known)
    return f"{found:.2f}" if digits is None else f"{found:#.{digits}g}".rstrip(".")


def _link(results: Path, folder: Path) -> str:
    """The file of results as a document of this folder leads to it."""
    try:
        return results.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        return results.as_posix()
