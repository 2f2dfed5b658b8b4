"""Cached calls into sact_core; all caching of the app lives here.

``checkpoints`` and ``pictures`` open what can be chosen; ``running`` runs a
network over an image, ``dataset`` over a test split; ``measuring``, ``timing`` and ``paying``
take times, ``comparing`` compares backends; ``any_tau`` runs one image at many
taus, ``thinking`` for a file to hand on; ``costs`` says what a run will take; ``warming``
bridges the minute in which the masked engine is compiled.

Everything is keyed by content: a checkpoint by its content hash, which has been
verified, an image by the hash of its pixels. Caches are bounded in memory and
shared by all sessions; what they hold is never changed. Networks run one at a
time, so that several people at once share the processors instead of fighting
over them.

What a user can do wrong ends in `app.folders.InputError`, whose message is one sentence.
"""

from app.loaders.any_tau import Dial, dial, find_tau, grid, round_tau, with_run
from app.loaders.checkpoints import (
    checkpoint_files,
    checkpoint_names,
    first_checkpoint,
    model,
    net,
    shipped_models,
    uploaded_model,
    verify,
)
from app.loaders.comparing import Agreement, agreement
from app.loaders.costs import Cost, cost, gigabytes
from app.loaders.measuring import torch_flops, unit_seconds
from app.loaders.pictures import (
    example,
    example_names,
    give_back_memory,
    picture,
    uploaded_picture,
)
from app.loaders.running import (
    dense_total,
    forget,
    forward,
    num_runs,
    run,
    seconds_of,
    vanilla_flops,
)
from app.loaders.thinking import thought
from app.loaders.warming import precision, ready

__all__ = [
    "Agreement",
    "Cost",
    "Dial",
    "agreement",
    "checkpoint_files",
    "checkpoint_names",
    "cost",
    "dense_total",
    "dial",
    "example",
    "example_names",
    "find_tau",
    "first_checkpoint",
    "forget",
    "forward",
    "gigabytes",
    "give_back_memory",
    "grid",
    "model",
    "net",
    "num_runs",
    "picture",
    "precision",
    "ready",
    "round_tau",
    "run",
    "seconds_of",
    "shipped_models",
    "thought",
    "torch_flops",
    "unit_seconds",
    "uploaded_model",
    "uploaded_picture",
    "vanilla_flops",
    "verify",
    "with_run",
]
