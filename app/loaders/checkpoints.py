"""Checkpoints: what is listed, what was uploaded, and networks that are ready to run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from app.bounded import Bounded
from app.folders import InputError, pretrained_dir, runs_dir, sentence
from app.loaders import warming
from app.records import Model
from app.texts import short, uploaded_name
from sact_core.backends import Net
from sact_core.checkpoint import CheckpointError, Header, read, read_header
from sact_core.data.folders import files_in
from sact_core.texts import shown

MAX_CHECKPOINT_BYTES = 256 << 20
MAX_LISTED_CHECKPOINTS = 200
MAX_NET_BYTES = 640 << 20

#: Content hashes of files that were read as a whole, by path, time and size.
_verified: Bounded[tuple[str, int, int], str] = Bounded(1000)


def checkpoint_files() -> dict[str, Path]:
    """List the checkpoints in the allowed folders, by the name that is shown.

    Those in ``pretrained/`` go by their own name; others are named after their
    folder: ``runs/night/best``. ``SACT_CHECKPOINT_DIRS`` adds folders.
    """
    found: dict[str, Path] = {}
    for path in sorted(files_in(pretrained_dir(), ".h5", deep=False)):
        found[shown(path.stem)] = path
    more = [
        Path(part) for part in os.environ.get("SACT_CHECKPOINT_DIRS", "").split(os.pathsep) if part
    ]
    for folder in [runs_dir(), *more]:
        for path in sorted(files_in(folder, ".h5")):
            name = f"{folder.name}/{path.relative_to(folder).with_suffix('').as_posix()}"
            found.setdefault(shown(name), path)
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
    halting: tuple[str, ...] = ("sact", "act", "none"),
    images: str | None = None,
    useful: Callable[[Model], bool] | None = None,
) -> str | None:
    """Name of the checkpoint that shows best what this is about; None without any.

    A network that halts by position, for photographs if there is one, of those that know
    the most classes one that runs about two thirds of its units on average: bright and dark
    are both seen.

    Parameters
    ----------
    halting : tuple of str
        Kinds to choose from.
    images : str, optional
        ``"photographs"`` or ``"small"``: only networks that are for these.
    useful : callable, optional
        Whether the page can show something of a network: such ones come first.
    """
    names = checkpoint_names(halting)
    shipped = {model.name: model for model in shipped_models()}
    if images is not None:
        names = [name for name in names if name in shipped]
        names = [name for name in names if shipped[name].config.facts.images == images]

    def rank(name: str) -> tuple[bool, bool, bool, int, bool, float]:
        found = shipped.get(name)
        useless = useful is not None and (found is None or not useful(found))
        if found is None or not found.config.by_position:
            return useless, True, True, 0, True, 0.0
        metrics = found.header.provenance.get("metrics")
        share = metrics.get("flops_share") if isinstance(metrics, dict) else None
        known = isinstance(share, int | float)
        distance = abs(share - 0.7) if isinstance(share, int | float) else 0.0
        config = found.config
        photographs, classes = config.facts.photographs, config.num_classes
        return useless, False, not photographs, -classes, not known, distance

    return min(names, key=rank) if names else None


def shipped_models() -> list[Model]:
    """Every checkpoint in ``pretrained/`` that can be read."""
    found = []
    for name in sorted(shown(path.stem) for path in files_in(pretrained_dir(), ".h5", deep=False)):
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
        raise InputError(f"There is no checkpoint named {short(name)}.")
    try:
        stat = path.stat()
        header = _header(os.fsencode(path), stat.st_mtime_ns, stat.st_size)
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
    name = uploaded_name(name) or "Checkpoint"
    if len(data) > MAX_CHECKPOINT_BYTES:
        raise InputError(
            f"{name} has {len(data) >> 20} MB; a checkpoint may have {MAX_CHECKPOINT_BYTES >> 20}."
        )
    try:
        checkpoint = read(data)
        header = read_header(data)
    except (CheckpointError, OSError) as error:
        raise InputError(sentence(error).replace("The file", name, 1)) from None
    del checkpoint  # its parameters are read again where it runs
    return Model(f"uploaded: {Path(name).stem}", header, header.content_hash, data)


def verify(model: Model) -> None:
    """Read a listed checkpoint once as a whole: its contents are what its hash says.

    Raises
    ------
    InputError
        If the file is damaged, states another's hash or has gone.
    """
    if isinstance(model.source, bytes):
        return  # when it was uploaded
    try:
        version = _version(model.source)
        if _verified.get(version) is None:
            stated = read_header(model.source).content_hash
            read(model.source)  # is what it states
            if _version(model.source) == version:
                _verified.put(version, stated)
    except (CheckpointError, OSError) as error:
        raise InputError(sentence(error)) from None
    if _verified.get(version) != model.digest:
        raise InputError(f"{model.name} has been replaced by another file: choose it again.")


def _version(path: Path) -> tuple[str, int, int]:
    stat = path.stat()
    return str(path), stat.st_mtime_ns, stat.st_size


def net(model: Model, backend: str = "masked", precision: str | None = None) -> Net:
    """A network that is ready to run, verified.

    Parameters
    ----------
    model : Model
        Whose.
    backend : str
        One of ``sact_core.BACKENDS``.
    precision : str, optional
        One of ``sact_core.PRECISIONS``; left out, `warming.precision_of` for the masked
        backend.

    Raises
    ------
    InputError
        As `verify`.
    """
    verify(model)
    if precision is None and backend != "masked":
        precision = "float32"
    asked = precision or warming.precision()
    try:
        return _nets().get_or_make(
            (model.key, backend, asked),
            lambda: _sized_net(model.source, backend, precision),
        )[0]
    except (ValueError, OSError) as error:  # scales for int8 of other weights, too
        raise InputError(sentence(error)) from None


def _sized_net(source: Path | bytes, backend: str, precision: str | None) -> tuple[Net, int]:
    checkpoint = read(source)
    if precision is None:
        precision = warming.precision_of(checkpoint)
    # Weights, the engine's own copy of them, and what it works in.
    size = 3 * sum(values.nbytes for values in checkpoint.params.values())
    return Net.from_checkpoint(checkpoint, backend, precision), size


@st.cache_resource(max_entries=1, show_spinner=False)
def _nets() -> Bounded[tuple[str, str, str], tuple[Net, int]]:
    return Bounded(MAX_NET_BYTES, lambda kept: kept[1])


@st.cache_data(max_entries=256, show_spinner=False)
def _header(path: bytes, mtime: int, size: int) -> Header:
    return read_header(os.fsdecode(path))
