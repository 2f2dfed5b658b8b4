"""What comes beside the core, wherever that is installed: networks by name, and the app.

In the repository that is its root; a wheel puts the same files in a folder of its own
beside ``sact_core``, so that no other package is met by an ``app`` or a ``pretrained``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from sact_core.texts import shown

#: Names for the networks that most people want; each goes by the name of its file too.
SHORT_NAMES: Mapping[str, str] = {
    "imagenet": "imagenet_efficientnet_lite1",
    "imagenet-anytau": "imagenet_efficientnet_lite1_sact_anytau",
    "cifar10": "cifar10_resnet32",
    "cifar10-anytau": "cifar10_resnet32_sact_anytau",
    "caltech101": "caltech101_resnet50w16",
    "caltech101-anytau": "caltech101_resnet50w16_sact_anytau",
}


_FOR_EXAMPLE = '"cifar10-anytau"'


def home() -> Path:
    """Folder of ``streamlit_app.py``, ``app`` and ``pretrained``."""
    beside = Path(__file__).resolve().parents[1]
    installed = beside / "sact_explorer"
    return installed if installed.is_dir() else beside


def networks_dir() -> Path:
    """Folder of the networks that go by name: ``SACT_PRETRAINED_DIR``, or the shipped ones."""
    return Path(os.environ.get("SACT_PRETRAINED_DIR") or home() / "pretrained")


def networks() -> dict[str, Path]:
    """The files of `networks_dir` by name, the short names first.

    Returns
    -------
    dict
        Such as ``{"cifar10-anytau": …, "cifar10-resnet32-sact-tau0.05": …}``; a file that
        has a short name is listed by that alone, and is found by both.
    """
    files = {path.stem: path for path in sorted(networks_dir().glob("*.h5"))}
    found = {name: files[stem] for name, stem in SHORT_NAMES.items() if stem in files}
    named = set(SHORT_NAMES.values())
    return found | {_plain(stem): path for stem, path in files.items() if stem not in named}


def find_network(source: str | Path | bytes) -> str | Path | bytes:
    """Give the file that a name stands for, and all else as it is.

    A file of that name in the current folder comes first.

    Parameters
    ----------
    source : str, Path or bytes
        A file, its contents, or the name of a network as `networks` lists it or as its file
        is called: ``"cifar10-anytau"``, ``"cifar10_resnet32_sact_anytau"``; case, and which
        of ``-`` and ``_`` it is, do not matter.

    Raises
    ------
    FileNotFoundError
        If it can only be a name, being neither there nor a path, and is none.
    TypeError, ValueError
        If it is nothing of that kind, or an empty text.
    """
    if not isinstance(source, str | os.PathLike | bytes):
        raise TypeError(
            f"give the file of a network, its contents or its name as {_FOR_EXAMPLE}; "
            f"got {type(source).__name__}"
        )
    if source == "":
        raise ValueError(f"give the file of a network or its name as {_FOR_EXAMPLE}; got no text")
    if isinstance(source, bytes) or (os.path.lexists(source) and not os.path.isdir(source)):
        return source
    text = os.fspath(source)
    name = text.removesuffix(".h5")
    if Path(text).name != text or not name:
        return source  # a path: whoever opens it says that it is not there
    found = networks()
    files = {path.stem: path for path in found.values()}
    stem = named(name, files)
    if stem is not None:
        return files[stem]
    if os.path.isdir(source):
        return source
    listed = ", ".join(map(shown, found)) or f"none in {shown(networks_dir())}"
    raise FileNotFoundError(
        f"there is no file {shown(text)}, and no network of that name (networks: {listed})"
    )


def named(asked: str, files: Iterable[str]) -> str | None:
    """Tell which of some files of networks a name stands for.

    Parameters
    ----------
    asked : str
        One of `SHORT_NAMES`, or what a file is called, with ``.h5`` or without; case, and
        which of ``-`` and ``_`` it is, do not matter.
    files : iterable of str
        Names of files without their ending.

    Returns
    -------
    str or None
        One of ``files``; None where it stands for none.
    """
    by_name, name = {_plain(file): file for file in files}, _plain(asked.removesuffix(".h5"))
    return by_name.get(_plain(SHORT_NAMES.get(name, name)), by_name.get(name))


def that_halts(asked: str | Path = "") -> str:
    """Say what to do where a network does not halt: which one to name, or to teach one.

    Parameters
    ----------
    asked : str or Path
        The network that does not halt, as a name or a file; one of the same data that halts
        is named where it ships.

    Returns
    -------
    str
        The end of a sentence, without a full stop.
    """
    stem = _plain(Path(asked).name.removesuffix(".h5"))
    named = [
        f"{short}-anytau"
        for short, file in SHORT_NAMES.items()
        if stem in (short, _plain(file)) and f"{short}-anytau" in SHORT_NAMES
    ]
    halting = named or [name for name in SHORT_NAMES if name.endswith("-anytau")]
    return (
        f"name one that halts ({' or '.join(halting)}), or teach this one to: "
        "python -m sact_core.train --preset teach"
    )


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")
