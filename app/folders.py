"""Folders that the app may open, and errors that a user may read; no Streamlit."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sact_core.resources import memory_sentence
from sact_core.shipped import networks_dir
from sact_core.texts import shown, told

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "app" / "examples"


class InputError(ValueError):
    """What a user handed in cannot be used; the message is for the page."""


def pretrained_dir() -> Path:
    """Folder of the checkpoints that come with the program."""
    return networks_dir()


def runs_dir() -> Path:
    """Folder of training runs: where the app was started, as training has it."""
    return Path(os.environ.get("SACT_RUNS_DIR") or Path.cwd() / "runs")


def photo_folders() -> dict[str, Path]:
    """Folders of photographs that whoever started the app has named, by what pages call them.

    ``SACT_PHOTOS``: one, or several with ``os.pathsep`` between them. No page opens another.
    """
    found: dict[str, Path] = {}
    for part in os.environ.get("SACT_PHOTOS", "").split(os.pathsep):
        path = Path(part).expanduser()
        if part:
            name = shown(path.resolve().name) or "photographs"
            number = sum(other.startswith(name) for other in found)
            found[f"{name} ({number + 1})" if name in found else name] = path
    return found


def cache_dir() -> Path:
    """Folder for what may be lost: ``SACT_CACHE_DIR``, or the system's own for caches."""
    given = os.environ.get("SACT_CACHE_DIR")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sact-explorer"


def data_dir() -> Path:
    """Folder of prepared TFDS data sets."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


#: A sentence that begins with the name of a file.
NAME = re.compile(r"\S+\.\w+\s")


def sentence(error: BaseException) -> str:
    """What went wrong, without the folders of this machine."""
    text = memory_sentence(error) or told(error) or type(error).__name__
    folders = (ROOT, pretrained_dir(), runs_dir(), *photo_folders().values())
    for folder in map(str, folders):
        text = text.replace(folder + os.sep, "")
    if not NAME.match(text):  # of a file, which is as it is
        text = text[:1].upper() + text[1:]
    return text + ("" if text.endswith((".", "!", "?")) else ".")
