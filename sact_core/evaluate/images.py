"""What a network did with every image, as a file: CSV or Parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sact_core.flops import dense_flops
from sact_core.tables import write_rows
from sact_core.texts import shown

if TYPE_CHECKING:
    import numpy as np

    from sact_core.backends import Net
    from sact_core.processes import Processes
    from sact_core.result import Result

#: An image's place in the order in which they are taken, and its name: of a folder its path.
Place = tuple[int, str]


@dataclass
class ByImage:
    """Rows of a file by image, as they come.

    Attributes
    ----------
    rows : list of list
        ``number``, ``image``, ``image_size``, ``tau``, ``label``, ``prediction``, ``sure``,
        ``right``, ``flops``, ``share`` and the mean ponder cost of each block; of all
        processes, once they are gathered.
    """

    rows: list[list[Any]] = field(default_factory=list)
    _own: list[list[Any]] = field(default_factory=list)

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
            size = net.preprocessing.image_size
            self._own.append(
                [
                    *(number, name, size, tau, _named(net, label), _named(net, said)),
                    *(float(chances[i, said]), said == label, flops, flops / dense),
                    *(float(cost[i]) for cost in costs),
                ]
            )

    def gather(self, processes: Processes) -> None:
        """Take in what has come since in every process; sort all by size, tau and image."""
        self.rows += [row for rows in processes.gather(self._own) for row in rows]
        self._own = []
        self.rows.sort(key=lambda row: (row[2], row[3] or 0.0, row[0]))

    def write(self, path: str, net: Net, about: Mapping[str, Any]) -> None:
        """Write the file, with where it comes from in lines of comment or in its metadata.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        names = [block.name for block in net.plan.blocks] if net.config.halts else []
        header = ["number", "image", "image_size", "tau", "label", "prediction", "sure", "right"]
        header += ["flops", "share", *(f"{name}/ponder_cost" for name in names)]
        write_rows(path, header, self.rows, about)


def _named(net: Net, index: int) -> str:
    return shown(net.class_names[index]) if net.class_names else str(index)
