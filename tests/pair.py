"""Trains in one of two processes and prints what each has averaged; started by test_train.

The last line is a JSON list with one digest of all averaged weights for each process.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

from sact_core.train import __main__ as command
from sact_core.train.loop import Trainer

run = Trainer.run


def run_and_tell(trainer: Trainer, bar: Any = None) -> dict[str, Any]:
    row = run(trainer, bar)
    params = trainer.learner.shown.params()
    # Moving statistics are each process' own; those of the first are written.
    learnt = b"".join(v.tobytes() for n, v in params.items() if "/moving_" not in n)
    digests = trainer.processes.gather(hashlib.sha256(learnt).hexdigest())
    if trainer.processes.is_first:
        print(json.dumps(digests))
    return row


if __name__ == "__main__":
    Trainer.run = run_and_tell  # type: ignore[method-assign]
    sys.exit(command.main(sys.argv[1:]))
