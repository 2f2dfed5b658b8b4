"""What a network did with every image, as a file: CSV or Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sact_core.files import write_bytes
from sact_core.flops import dense_flops
from sact_core.tables import about_lines, about_texts
from sact_core.texts import shown

if TYPE_CHECKING:
    import numpy as np

    from sact_core.backends import Net
    from sact_core.processes import Processes
    from sact_core.result import Result

#: Endings of files by image.
ENDINGS = (".csv", ".parquet")

#: An image's place in the order in which they are taken, and its name: of a folder its path.
Place = tuple[int, str]


def check_by_image(path: str) -> None:
    """Refuse a file that could not be written.

    Raises
    ------
    ValueError
        If its ending is none of `ENDINGS`, or it is Parquet and pyarrow is not installed.
    """
    import importlib.util

    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise ValueError(f"--per-image {shown(path)} must end in {' or '.join(ENDINGS)}")
    if ending == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ValueError(
            "a Parquet file needs pyarrow, which is not installed: pip install pyarrow, or let "
            "--per-image end in .csv"
        )


@dataclass
class ByImage:
    """Rows of a file by image, as they come.

    Attributes
    ----------
    rows : list of list
        ``number``, ``image``, ``tau``, ``label``, ``prediction``, ``sure``, ``right``,
        ``flops``, ``share`` and the mean ponder cost of each block.
    """

    rows: list[list[Any]] = field(default_factory=list)

    def add(
        self,
        net: Net,
        result: Result,
        labels: np.ndarray,
        places: Sequence[Place],
        tau: float | None,
    ) -> None:
        """Take in a batch, run at a price of a unit where there is one."""
        dense = int(dense_flops(net.plan, result.input_size).total[0])
        chances = result.probabilities
        costs = [
            block.ponder_cost.reshape(len(labels), -1).mean(1)
            for block in result.blocks
            if block.ponder_cost is not None
        ]
        for i, (number, name) in enumerate(places):
            said, label = int(result.logits[i].argmax()), int(labels[i])
            flops = int(result.flops[i])
            self.rows.append(
                [
                    *(number, name, tau, _named(net, label), _named(net, said)),
                    *(float(chances[i, said]), said == label, flops, flops / dense),
                    *(float(cost[i]) for cost in costs),
                ]
            )

    def gather(self, processes: Processes) -> None:
        """Take in what the other processes have; sort all by tau and image."""
        self.rows = [row for rows in processes.gather(self.rows) for row in rows]
        self.rows.sort(key=lambda row: (row[2] or 0.0, row[0]))

    def write(self, path: str, net: Net, about: Mapping[str, Any]) -> None:
        """Write the file, with where it comes from in lines of comment or in its metadata.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        names = [block.name for block in net.plan.blocks] if net.config.halts else []
        header = ["number", "image", "tau", "label", "prediction", "sure", "right", "flops"]
        header += ["share", *(f"{name}/ponder_cost" for name in names)]
        if Path(path).suffix.lower() == ".parquet":
            write_bytes(path, _parquet(header, self.rows, about))
            return
        out = io.StringIO()
        out.writelines(f"# {line}\n" for line in about_lines(about))
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_cell(value) for value in row] for row in self.rows)
        write_bytes(path, out.getvalue().encode())


def _named(net: Net, index: int) -> str:
    return shown(net.class_names[index]) if net.class_names else str(index)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    return f"{value:.9g}" if isinstance(value, float) else value


def _parquet(
    header: Sequence[str], rows: Sequence[Sequence[Any]], about: Mapping[str, Any]
) -> bytes:
    import pyarrow
    from pyarrow import parquet

    columns = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    table = pyarrow.table(columns).replace_schema_metadata(about_texts(about))
    out = io.BytesIO()
    parquet.write_table(table, out)
    return out.getvalue()
