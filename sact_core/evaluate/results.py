"""What an evaluation found, as a table of a file, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sact_core import __version__
from sact_core.measures.metrics import Metrics, rights
from sact_core.tables import TABLES, write_table
from sact_core.texts import shown

if TYPE_CHECKING:
    from sact_core.evaluate.run import Job

#: What was found: the checkpoint's file, how it was run, and the metrics.
Found = tuple[str, "Job", Metrics]


def check_tables(paths: Sequence[str]) -> None:
    """Refuse tables of formats that are not written.

    Raises
    ------
    ValueError
        If one has another ending.
    """
    for path in paths:
        if Path(path).suffix.lower() not in TABLES:
            raise ValueError(f"--table {shown(path)} must end in one of {' '.join(TABLES)}")


def write_tables(paths: Sequence[str], found: Sequence[Found], about: Mapping[str, Any]) -> None:
    """Write what was found, a row for each network, tau and size.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    told = list(rights(found[0][2].summary()))
    header = ["network", "tau", "image size", *(f"{name}, %" for name in told)]
    header += ["MFLOPs, mean", "MFLOPs, std", "of dense, %", "mean units by block", "images"]
    rows = []
    for _, job, metrics in found:
        row = metrics.summary()
        mean, std = row["Total Flops/mean"], row["Total Flops/std"]
        units = [value for key, value in row.items() if key.endswith("num_units_mean")]
        rows.append(
            [
                job.net.config.title,
                f"{metrics.tau:.4g}" if job.net.config.halts else "",
                str(job.net.preprocessing.image_size),
                *(f"{100 * row[key]:.2f}" for key in rights(row).values()),
                *(
                    f"{mean / 1e6:.1f}",
                    f"{std / 1e6:.1f}",
                    f"{100 * mean / metrics.dense.mean:.1f}",
                ),
                " / ".join(f"{value:.2f}" for value in units),
                str(metrics.count),
            ]
        )
    for path in paths:
        write_table(Path(path), header, rows, about)


def about_found(found: Sequence[Found], command: str) -> dict[str, Any]:
    """What files of an evaluation say of their origin."""
    from sact_core.checkpoint import read_header

    source = found[0][1].source
    networks: dict[str, dict[str, Any]] = {}
    for file, job, metrics in found:
        net = job.net
        said = networks.setdefault(
            file,
            {
                "name": net.config.title,
                "file": shown(Path(file).name),
                "content_hash": read_header(file).content_hash,
                "tau": [],
                "image_size": [],
                "fit": net.preprocessing.fit,
                "backend": net.backend,
                "precision": net.precision,
            },
        )
        for key, value in (
            ("tau", metrics.tau if net.config.halts else None),
            ("image_size", net.preprocessing.image_size),
        ):
            if value not in said[key]:
                said[key].append(value)
    return {
        "title": f"evaluation on {source.name} {source.split}",
        "networks": list(networks.values()),
        "data_set": source.name,
        "split": source.split,
        "images": found[0][2].count,
        "version": __version__,
        "command": command,
    }
