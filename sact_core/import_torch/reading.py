"""Read the tensors of a PyTorch file that may come from anybody; nothing of it is executed."""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sact_core.extras import need
from sact_core.files import require_ordinary
from sact_core.texts import shown

if TYPE_CHECKING:
    from torch import Tensor

MAX_BYTES = 1 << 32
#: How files of ``torch.save`` begin: those of old versions, and of newer ones.
PICKLE, ZIP = b"\x80", b"PK\x03\x04"
#: Where training scripts keep the state dict of a network, and what wrappers put before names.
ENTRIES = ("state_dict", "model_state_dict", "model", "network", "net")
PREFIXES = ("module.", "_orig_mod.", "model.")


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the state dict of a network, by ``torch.load(weights_only=True)``.

    Parameters
    ----------
    path : str or Path
        What ``torch.save`` wrote: the state dict, or a record that holds one under one of
        `ENTRIES`.

    Returns
    -------
    dict of str to Tensor
        By name, without the `PREFIXES` that all names have. Types and shapes are not
        looked at.

    Raises
    ------
    ValueError
        If it is no such file, holds anything but plain values, or no state dict.
    MissingPackage
        If PyTorch is not installed.
    OSError
        If there is no such file or it cannot be opened.
    """
    need("train", "reading a file of PyTorch", "torch")
    label = shown(path)
    tensors = _tensors(_load(path, label))
    if tensors is None:
        raise ValueError(
            f"{label} holds no state dict, which gives every tensor its name: save "
            f"network.state_dict() with torch.save"
        )
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def file_hash(path: str | Path) -> dict[str, str]:
    """Name and SHA-256 of a file, for the provenance."""
    with open(path, "rb") as file:
        return {
            "name": shown(Path(path).name),
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


def _load(path: str | Path, label: str) -> Any:
    import pickle

    import torch

    begin = _begin(path, label)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how it is stored
            return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except pickle.UnpicklingError:
        if not begin.startswith((PICKLE, ZIP)):
            raise ValueError(_no_file(label)) from None
        raise ValueError(
            f"{label} holds more than tensors and plain values, which only code could make; none "
            f"was executed: save network.state_dict() with torch.save"
        ) from None
    except Exception:  # of a damaged file PyTorch raises whatever comes
        raise ValueError(_no_file(label)) from None


def _begin(path: str | Path, label: str) -> bytes:
    """The first bytes of a file; what is no state dict for sure is refused."""
    require_ordinary(path)
    with open(path, "rb") as file:
        begin = file.read(len(ZIP))
        if file.seek(0, 2) > MAX_BYTES:
            raise ValueError(
                f"{label} is larger than {MAX_BYTES >> 30} GiB, too large for a network"
            )
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError):
            raise ValueError(_no_file(label)) from None
        if any("/code/" in each.filename for each in entries):
            raise ValueError(
                f"{label} is a program of TorchScript, which is not executed: save "
                f"network.state_dict() with torch.save"
            )
        # What unpacks to more than it has would fill the memory.
        if any(each.compress_type != zipfile.ZIP_STORED for each in entries):
            raise ValueError(f"{label} is a compressed archive, which PyTorch does not write")
    return begin


def _no_file(label: str) -> str:
    return f"{label} is no file of PyTorch, or damaged or only a part of one"


def _tensors(values: Any) -> dict[str, Tensor] | None:
    """The state dict in what was read; None where there is none."""
    import torch

    candidates = [values]
    if isinstance(values, Mapping):
        candidates += [values[name] for name in ENTRIES if name in values]
    for each in candidates:
        if (
            isinstance(each, Mapping)
            and each
            and all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in each.items())
        ):
            return dict(each)
    return None
