"""Cached calls into sact_core; all caching of the app lives here.

``checkpoints`` and ``pictures`` open what can be chosen; ``running`` runs a
network over an image, ``dataset`` over a test split; ``measuring`` takes times,
``comparing`` compares backends; ``any_tau`` runs one image at many taus; ``costs``
says what a run will take; ``warming`` bridges the minute in which the masked engine is
compiled; ``folders`` says what may be opened at all.

Everything is keyed by content: a checkpoint by its content hash, an image by
the hash of its pixels. Caches are bounded in memory and shared by all sessions;
what they hold is never changed. Networks run one at a time, so that several
people at once share the processors instead of fighting over them.

What a user can do wrong ends in `InputError`, whose message is one sentence.
"""

from app.loaders.any_tau import Dial, dial, find_tau, grid, round_tau, with_run
from app.loaders.checkpoints import (
    Model,
    accuracy,
    checkpoint_files,
    checkpoint_names,
    curve,
    first_checkpoint,
    mean_share,
    model,
    net,
    pretty_class,
    shipped_models,
    uploaded_model,
)
from app.loaders.comparing import Agreement, agreement
from app.loaders.costs import Cost, cost, gigabytes
from app.loaders.folders import InputError, data_dir, pretrained_dir, runs_dir, sentence
from app.loaders.measuring import times, torch_flops, unit_seconds
from app.loaders.pictures import Picture, example, example_names, picture, uploaded_picture
from app.loaders.running import (
    Run,
    dense_total,
    forward,
    num_runs,
    run,
    seconds_of,
    vanilla_flops,
)
from app.loaders.warming import ready

__all__ = [
    "Agreement",
    "Cost",
    "Dial",
    "InputError",
    "Model",
    "Picture",
    "Run",
    "accuracy",
    "agreement",
    "checkpoint_files",
    "checkpoint_names",
    "cost",
    "curve",
    "data_dir",
    "dense_total",
    "dial",
    "example",
    "example_names",
    "find_tau",
    "first_checkpoint",
    "forward",
    "gigabytes",
    "grid",
    "mean_share",
    "model",
    "net",
    "num_runs",
    "picture",
    "pretrained_dir",
    "pretty_class",
    "ready",
    "round_tau",
    "run",
    "runs_dir",
    "seconds_of",
    "sentence",
    "shipped_models",
    "times",
    "torch_flops",
    "unit_seconds",
    "uploaded_model",
    "uploaded_picture",
    "vanilla_flops",
    "with_run",
]
