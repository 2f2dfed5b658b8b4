"""The parts of one export, shared by processes that may not all see its folder.

Who sees it, writes there. Who does not, being on another machine, hands each part to the
first process, which writes it; then all take their parts in step.
"""

from __future__ import annotations

import base64
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sact_core.data.records import Unreadable
from sact_core.files import write_bytes
from sact_core.maps.parts import Parts
from sact_core.maps.writing import Rows
from sact_core.processes import Agreed, Processes


@dataclass
class Share:
    """What one process does of an export.

    Attributes
    ----------
    parts : Parts
        All of it.
    processes : Processes
        Who shares it.
    mine : list of range
        Parts that this process is to make.
    rounds : int
        How often parts are handed over; 0 where all see the folder.
    sees : bool
        Whether this one does.
    """

    parts: Parts
    processes: Processes
    mine: list[range]
    rounds: int = 0
    sees: bool = True
    _taken: int = field(default=0, init=False)

    @classmethod
    def of(cls, parts: Parts, processes: Processes, job: Mapping[str, Any]) -> Share:
        """Deal the parts out that are not done; the first process has begun the export.

        Raises
        ------
        Agreed
            If the processes would export something else.
        OSError
            If another process has stopped.
        """
        rank, world = processes.rank, processes.world
        if world == 1:
            return cls(parts, processes, [r for r in parts.ranges if not parts.is_done(r)])
        mark = parts.folder / f".{secrets.token_hex(8)}.seen"
        if processes.is_first:
            mark.touch()
        try:
            told = {"mark": mark.name, "job": dict(job), "size": parts.part_size}
            told["done"] = [r.start for r in parts.ranges if parts.is_done(r)]
            first, *others = processes.gather(told)
            for other in others:
                differing = [key for key in job if other["job"].get(key) != first["job"].get(key)]
                if differing or other["size"] != first["size"]:
                    raise Agreed(
                        f"the processes would export different things "
                        f"({', '.join(differing) or 'parts of another size'}): give every machine "
                        f"the same command, checkpoint and images"
                    )
            sees = processes.is_first or (parts.folder / first["mark"]).exists()
            everybody_sees = all(processes.gather(sees))
        finally:
            if processes.is_first:
                mark.unlink(missing_ok=True)
        shares = [
            [r for r in parts.ranges[each::world] if r.start not in first["done"]]
            for each in range(world)
        ]
        rounds = 0 if everybody_sees else max(map(len, shares))
        return cls(parts, processes, shares[rank], rounds, sees)

    def write(
        self, indices: range, found: Rows | None, left_out: Unreadable, about: Mapping[str, Any]
    ) -> None:
        """Write one part, or have it written; as `Parts.write`."""
        if self.sees:
            self.parts.write(indices, found, left_out, about)
            files: dict[str, str] = {}
        else:
            with tempfile.TemporaryDirectory() as folder:
                here = Parts(
                    Path(folder) / self.parts.out.name, self.parts.num_examples,
                    self.parts.part_size,
                )  # fmt: skip
                here.folder.mkdir()
                here.write(indices, found, left_out, about)
                files = {
                    path.name: base64.b64encode(path.read_bytes()).decode()
                    for path in here.folder.iterdir()
                }
        if self.rounds:
            self._hand_over(files)

    def finish(self) -> None:
        """Wait until all parts of all processes are written."""
        while self._taken < self.rounds:
            self._hand_over({})
        self.processes.wait()

    def _hand_over(self, files: dict[str, str]) -> None:
        self._taken += 1
        gathered = self.processes.gather(files)
        if self.processes.is_first:
            for each in gathered:
                for name in sorted(each):  # the part before its note
                    write_bytes(self.parts.folder / name, base64.b64decode(each[name]))
