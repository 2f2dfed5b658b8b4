"""Which checkpoint is meant: a folder, the file ``checkpoint``, or any file of one will do.

``tf.train.Saver`` keeps several in a folder, ``model.ckpt-1000.index`` and so on, and
writes the newest one's name into the file ``checkpoint``. What is no such checkpoint is
named for what it is.
"""

from __future__ import annotations

import re
from pathlib import Path

from sact_core.texts import shown

_ENDING = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
_STATE = re.compile(r'^model_checkpoint_path:\s*"((?:[^"\\]|\\.)*)"', re.MULTILINE)
_STEP = re.compile(r"-(\d{1,18})$")
_MAX_STATE_BYTES = 1 << 20
_TABLE_END = (0xDB4775248B80FB57).to_bytes(8, "little")

_KINDS = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file: a checkpoint of this program needs no import"),
    (b"\x1f\x8b", "packed: unpack it, and name the folder that comes out"),
    (b"BZh", "packed: unpack it, and name the folder that comes out"),
    (b"\xfd7zXZ", "packed: unpack it, and name the folder that comes out"),
    (b"PK\x03\x04", "a ZIP file (of Keras, PyTorch or NumPy, or an archive to be unpacked)"),
)


class NoCheckpoint(ValueError):
    """There is no TensorFlow V2 checkpoint, or it cannot be told which one is meant."""


def locate(path: str | Path) -> str:
    """Find the prefix of a checkpoint.

    Parameters
    ----------
    path : str or Path
        A prefix, the name of one of its files, the file ``checkpoint``, or a folder, of
        which the newest checkpoint is taken: that which ``checkpoint`` names, or else
        that of most steps.

    Raises
    ------
    NoCheckpoint
        If there is none; the message says what is there instead.
    """
    path = Path(path)
    if path.is_dir():
        return _newest(path)
    prefix = _ENDING.sub("", str(path))
    if Path(f"{prefix}.index").is_file():
        return prefix
    if path.is_file() and prefix == str(path):
        if path.name == "checkpoint" or path.name.endswith(".checkpoint"):
            return _named(path)
        raise NoCheckpoint(f"{shown(path)} is {_kind(path)}")
    raise NoCheckpoint(_absence(Path(prefix)))


def _newest(folder: Path) -> str:
    state, problem = folder / "checkpoint", None
    if state.is_file():
        try:
            return _named(state)
        except NoCheckpoint as error:  # moved or thinned out since, or of another format
            problem = error
    found = sorted(folder.glob("*.index"), key=_age)
    if found:
        return _ENDING.sub("", str(found[-1]))
    inside = folder / "variables" / "variables.index"
    if inside.is_file():  # a SavedModel
        return _ENDING.sub("", str(inside))
    raise problem or NoCheckpoint(
        f"{shown(folder)} holds no TensorFlow V2 checkpoint: no file NAME.index with "
        f"NAME.data-00000-of-00001 beside it"
    )


def _age(path: Path) -> tuple[int, float]:
    step = _STEP.search(path.stem)
    return int(step[1]) if step else -1, path.stat().st_mtime


def _named(state: Path) -> str:
    """The checkpoint that a file ``checkpoint`` names; beside it, where the folder was moved."""
    text = ""
    if state.stat().st_size <= _MAX_STATE_BYTES:
        text = state.read_text(encoding="utf-8", errors="replace")
    match = _STATE.search(text)
    if match is None:
        raise NoCheckpoint(f"{shown(state)} names no checkpoint: name its folder or a .index file")
    name = re.sub(r"\\(.)", r"\1", match[1])
    for prefix in (state.parent / name, state.parent / re.split(r"[/\\]", name)[-1]):
        if Path(f"{prefix}.index").is_file():
            return str(prefix)
        if prefix.is_file():
            raise NoCheckpoint(f"{shown(prefix)} is {_kind(prefix)}")
    raise NoCheckpoint(
        f"{shown(state)} names {shown(name)}, which is not there: name its folder or a .index file"
    )


def _kind(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(300)
        file.seek(max(file.seek(0, 2) - 8, 0))
        end = file.read()
    if end == _TABLE_END:
        return (
            "a checkpoint of TensorFlow's first format (V1), which is not read: load it where "
            "TensorFlow is installed and save it with "
            "tf.compat.v1.train.Saver(write_version=tf.compat.v1.train.SaverDef.V2)"
        )
    for magic, kind in _KINDS:
        if start.startswith(magic):
            return kind
    if start[257:262] == b"ustar":
        return "packed: unpack it, and name the folder that comes out"
    return (
        "no TensorFlow V2 checkpoint: name its folder, or the common part of PREFIX.index and "
        "PREFIX.data-00000-of-00001"
    )


def _absence(prefix: Path) -> str:
    index = f"there is no file {shown(prefix)}.index"
    folder = prefix.parent
    beside = sorted(folder.glob("*")) if folder.is_dir() else []
    ours = [path for path in beside if _ENDING.sub("", path.name) == prefix.name]
    if ours and any(".data-" in path.name for path in ours):
        return f"{index}, which says where in {shown(ours[0].name)} everything lies: copy it too"
    if ours:
        return f"{index} beside {shown(ours[0].name)}, which holds no numbers: copy it too"
    parts = re.compile(re.escape(prefix.name) + r"(-\d{5}-of-\d{5})?")
    first = next((p for p in beside if parts.fullmatch(p.name) and p.is_file()), None)
    if first is not None:
        return f"{shown(first)} is {_kind(first)}"
    return (
        f"{index}; PREFIX is the common part of the names of a TensorFlow V2 checkpoint, "
        f"PREFIX.index and PREFIX.data-00000-of-00001"
    )
