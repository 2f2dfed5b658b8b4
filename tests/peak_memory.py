"""Run in a process of its own: what a command takes at its peak, of few photographs and of many.

::

    python -m tests.peak_memory WHAT PHOTOS CHECKPOINT OUT FEW MANY

Prints how many photographs were used in the end, and by how many bytes the peak of the
process (``VmHWM``) was higher after many of them than after few.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sact_core import checkpoint as checkpoints
from sact_core.backends import Net
from sact_core.config import Preprocessing
from sact_core.data.folders import photographs
from sact_core.data.splits import load_split, open_split


def main(what: str, photos: str, checkpoint: str, out: str, few: str, many: str) -> None:
    net = Net.from_checkpoint(checkpoints.read(checkpoint), "reference")
    source = open_split(photos, "all")

    def load(count: int) -> int:
        return len(load_split(photos, "all", num_examples=count, fit=Preprocessing("cifar", 8)))

    def evaluate(count: int) -> int:
        from sact_core.evaluate import evaluate

        return evaluate(net, source, num_examples=count).count

    def export(count: int) -> int:
        from sact_core.export_maps import export

        return export(net, photographs([photos]), f"{out}/{count}.h5", num_examples=count)[0]

    def family(count: int) -> int:
        from sact_core.benchmark.family import prepared

        images = (image for image, *_ in source.each(range(count)))
        return len(prepared(images, net.preprocessing, 4))

    run = locals()[what]
    run(int(few))
    before = peak()
    print(run(int(many)), peak() - before)


def peak() -> int:
    """The most bytes that this process has taken so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main(*sys.argv[1:])
