"""Checkpoints: what is listed, what was uploaded, and networks that are ready to run."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import streamlit as st

from app.loaders.folders import InputError, pretrained_dir, runs_dir, sentence
from sact_core.backends import Net
from sact_core.checkpoint import CheckpointError, Header, read, read_header
from sact_core.config import NetworkConfig
from sact_core.flops import dense_flops
from sact_core.network import Plan
from sact_core.plans import build_plan

MAX_CHECKPOINT_BYTES = 256 << 20
MAX_LISTED_CHECKPOINTS = 200
MAX_NET_BYTES = 640 << 20


@dataclass(frozen=True)
class Model:
    """A checkpoint that can be chosen.

    Attributes
    ----------
    name : str
        As listed.
    header : Header
        Everything but the parameters.
    digest : str
        Content hash.
    source : Path or bytes
        The file, or its contents where it was uploaded.
    """

    name: str
    header: Header
    digest: str
    source: Path | bytes = field(repr=False)

    @property
    def config(self) -> NetworkConfig:
        """What the network is."""
        return self.header.config

    @property
    def plan(self) -> Plan:
        """Its layers."""
        return build_plan(self.config)

    @property
    def tau(self) -> float | None:
        """Price of a unit in training, where the checkpoint says."""
        value = self.header.provenance.get("tau")
        return float(value) if isinstance(value, int | float) else None

    @property
    def tau_range(self) -> tuple[float, float] | None:
        """Prices that a network serves that takes any; None where it was trained for one."""
        low, high = self.config.tau_low, self.config.tau_high
        return None if low is None or high is None else (low, high)

    def class_name(self, index: int) -> str:
        """Name of a class, or its number."""
        names = self.header.class_names
        return pretty_class(names[index]) if index < len(names) else f"class {index}"


def pretty_class(name: str) -> str:
    """A class as people write it: ``car_side`` without the line, one name of several."""
    return name.replace("_", " ").split(",")[0].strip() or name


def checkpoint_files() -> dict[str, Path]:
    """List the checkpoints in the allowed folders, by the name that is shown.

    Those in ``pretrained/`` go by their own name; others are named after their
    folder: ``runs/night/best``. ``SACT_CHECKPOINT_DIRS`` adds folders.
    """
    found: dict[str, Path] = {}
    for path in sorted(pretrained_dir().glob("*.h5")):
        found[path.stem] = path
    more = [
        Path(part) for part in os.environ.get("SACT_CHECKPOINT_DIRS", "").split(os.pathsep) if part
    ]
    for folder in [runs_dir(), *more]:
        for path in sorted(folder.glob("**/*.h5")):
            name = f"{folder.name}/{path.relative_to(folder).with_suffix('').as_posix()}"
            found.setdefault(name, path)
            if len(found) >= MAX_LISTED_CHECKPOINTS:
                return found
    return found


def checkpoint_names(halting: tuple[str, ...] = ("sact", "act", "none")) -> list[str]:
    """Names of the checkpoints: networks for photographs first, then those for small images.

    Of either, networks that halt come first; damaged files come last.

    Parameters
    ----------
    halting : tuple of str
        Kinds to list.
    """
    order = {"sact": 0, "act": 1, "none": 2}
    ranked = []
    for name in checkpoint_files():
        try:
            config = model(name).config
        except InputError:
            ranked.append((True, True, 3, name))  # choosing it says what is wrong
            continue
        if config.halting in halting:
            ranked.append((False, not config.facts.photographs, order[config.halting], name))
    return [name for *_, name in sorted(ranked)]


def first_checkpoint(
    halting: tuple[str, ...] = ("sact", "act", "none"), images: str | None = None
) -> str | None:
    """Name of the checkpoint that shows best what this is about; None without any.

    A network that halts by position, for photographs if there is one, that runs
    about two thirds of its units on average: bright and dark are both seen.

    Parameters
    ----------
    halting : tuple of str
        Kinds to choose from.
    images : str, optional
        ``"photographs"`` or ``"small"``: only networks that are for these.
    """
    names = checkpoint_names(halting)
    shipped = {model.name: model for model in shipped_models()}
    if images is not None:
        names = [name for name in names if name in shipped]
        names = [name for name in names if shipped[name].config.facts.images == images]

    def rank(name: str) -> tuple[bool, bool, bool, float]:
        found = shipped.get(name)
        if found is None or not found.config.by_position:
            return True, True, True, 0.0
        metrics = found.header.provenance.get("metrics")
        share = metrics.get("flops_share") if isinstance(metrics, dict) else None
        known = isinstance(share, int | float)
        distance = abs(share - 0.7) if isinstance(share, int | float) else 0.0
        return False, not found.config.facts.photographs, not known, distance

    return min(names, key=rank) if names else None


def shipped_models() -> list[Model]:
    """Every checkpoint in ``pretrained/`` that can be read."""
    found = []
    for name in sorted(path.stem for path in pretrained_dir().glob("*.h5")):
        try:
            found.append(model(name))
        except InputError:
            continue
    return found


def model(name: str) -> Model:
    """Open a listed checkpoint, without its parameters.

    Raises
    ------
    InputError
        If there is none of that name or it cannot be read.
    """
    path = checkpoint_files().get(name)
    if path is None:
        raise InputError(f"There is no checkpoint named {name}.")
    try:
        stat = path.stat()
        header = _header(str(path), stat.st_mtime_ns, stat.st_size)
    except (CheckpointError, OSError) as error:
        raise InputError(sentence(error)) from None
    return Model(name, header, header.content_hash, path)


def uploaded_model(name: str, data: bytes) -> Model:
    """Prove an uploaded checkpoint: it is read and verified as a whole.

    Raises
    ------
    InputError
        If it is too large or no usable checkpoint.
    """
    if len(data) > MAX_CHECKPOINT_BYTES:
        raise InputError(
            f"{name} has {len(data) >> 20} MB; a checkpoint may have {MAX_CHECKPOINT_BYTES >> 20}."
        )
    try:
        checkpoint = read(data)
        header = read_header(data)
    except (CheckpointError, OSError) as error:
        raise InputError(sentence(error)) from None
    del checkpoint  # its parameters are read again where it runs
    digest = hashlib.sha256(data).hexdigest()
    return Model(f"uploaded: {Path(name).stem}", header, digest, data)


def accuracy(model: Model) -> str | None:
    """What the checkpoint says of its accuracy, with split and count."""
    metrics = model.header.provenance.get("metrics")
    if not isinstance(metrics, dict):
        return None
    value, split, count = (metrics.get(k) for k in ("eval/Accuracy", "split", "count"))
    if not isinstance(value, int | float):
        return None
    of = f" of {count:,} {split} images" if isinstance(count, int) and split else ""
    among = metrics.get("eval/Recall@5")
    five = f", {among:.1%} among the first five" if isinstance(among, int | float) else ""
    return f"{value:.1%} right{of}{five}"


def curve(model: Model) -> list[dict[str, float]]:
    """What a network that takes any tau was measured to do, tau rising; empty where unknown.

    From ``NAME.curve.json`` beside the checkpoint, where it was measured on these
    very parameters: rows with ``tau`` and the authors' metrics.
    """
    if not isinstance(model.source, Path):
        return []
    try:
        stored = json.loads(model.source.with_suffix(".curve.json").read_text(encoding="utf-8"))
        if stored["content_hash"] != model.digest:
            return []
        rows = [
            {k: float(v) for k, v in row.items() if isinstance(v, int | float)}
            for row in stored["rows"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return sorted((row for row in rows if "tau" in row), key=lambda row: row["tau"])


def mean_share(model: Model, tau: float | None = None) -> float | None:
    """Mean share of dense FLOPs on the test images, where the checkpoint says.

    At another tau than its default it is read off the curve of a network that takes
    any, between two measured taus on a straight line over the logarithm.
    """
    if not model.config.halts:
        return 1.0
    if model.tau_range is not None and tau not in (None, model.config.tau_default):
        rows = [row for row in curve(model) if row.get("Total Flops/mean", 0) > 0]
        if not rows or not rows[0]["tau"] <= (tau or 0) <= rows[-1]["tau"]:
            return None
        side = model.header.preprocessing.image_size
        dense = dense_flops(model.plan, (side, side)).total[0]
        taus = np.log([row["tau"] for row in rows])
        spent = np.interp(np.log(tau or 1), taus, [row["Total Flops/mean"] for row in rows])
        return float(min(spent / dense, 1.0))
    metrics = model.header.provenance.get("metrics")
    share = metrics.get("flops_share") if isinstance(metrics, dict) else None
    known = isinstance(share, int | float) and not isinstance(share, bool) and 0 < share <= 1
    return float(share) if known else None  # type: ignore[arg-type]


def net(model: Model, backend: str = "masked") -> Net:
    """A network that is ready to run.

    Raises
    ------
    InputError
        If the file is damaged or has gone.
    """
    try:
        return _nets().get((model.digest, backend), model.source)
    except (CheckpointError, OSError) as error:
        raise InputError(sentence(error)) from None


class _Nets:
    """Networks that are ready to run, the most recently used, bounded in bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._nets: OrderedDict[tuple[str, str], tuple[Net, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str], source: Path | bytes) -> Net:
        """Give the network of a digest and a backend; read it where it is not kept."""
        with self._lock:
            if key not in self._nets:
                checkpoint = read(source)
                # Weights, the engine's own copy of them, and what it works in.
                size = 3 * sum(values.nbytes for values in checkpoint.params.values())
                self._nets[key] = Net.from_checkpoint(checkpoint, key[1]), size
            self._nets.move_to_end(key)
            while sum(size for _, size in self._nets.values()) > self.limit and len(self._nets) > 1:
                self._nets.popitem(last=False)
            return self._nets[key][0]

    def __len__(self) -> int:
        return len(self._nets)


@st.cache_resource(max_entries=1, show_spinner=False)
def _nets() -> _Nets:
    return _Nets(MAX_NET_BYTES)


@st.cache_data(max_entries=256, show_spinner=False)
def _header(path: str, mtime: int, size: int) -> Header:
    return read_header(path)
