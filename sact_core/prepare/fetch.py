"""An archive from the web: fetched once, and gone on with where it was interrupted."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sact_core.data.records import DataError
from sact_core.texts import shown

TIMEOUT_SECONDS = 60
_CHUNK = 1 << 20
_UNFINISHED = ".sact-unfinished"


def is_url(text: str) -> bool:
    """Tell an address from the name of a file."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def fetch(
    url: str,
    folder: Path,
    shows: Callable[[int | None, int], Any],
    check: Callable[[int], object] = lambda _: None,
) -> Path:
    """Fetch a file into a folder, unless it is there.

    Parameters
    ----------
    url : str
        Of http or https.
    folder : Path
        Made if it is absent.
    shows : callable
        Makes a progress bar of the bytes in all, where they are known, and those that are
        there.
    check : callable
        Told the bytes in all, where they are known, before they are fetched; raises an error
        where they are not wanted.

    Raises
    ------
    DataError
        If it cannot be fetched; what is there already stays, and is gone on with.
    OSError
        If it cannot be written.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        raise DataError(f"{shown(url)} is no address of http or https")
    name = urllib.parse.unquote(parts.path).rsplit("/", 1)[-1]
    if not re.fullmatch(r"\w[\w.+-]{0,99}", name):
        raise DataError(f"{shown(url)} ends in no name of a file")
    target = folder / name
    if target.is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / (name + _UNFINISHED)
    try:
        _download(url, unfinished, shows, check)
    except urllib.error.HTTPError as error:
        raise DataError(
            f"{shown(url)} cannot be fetched: the server says {error.code} {shown(error.reason)}"
        ) from None
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as e:
        reason = getattr(e, "reason", e)
        raise DataError(
            f"{shown(url)} cannot be fetched ({shown(str(reason) or type(e).__name__)}); the same "
            f"command goes on where this one stopped"
        ) from None
    os.replace(unfinished, target)
    return target


def _download(
    url: str,
    path: Path,
    shows: Callable[[int | None, int], Any],
    check: Callable[[int], object],
) -> None:
    there = path.stat().st_size if path.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "sact-explorer"})
    if there:
        request.add_header("Range", f"bytes={there}-")
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not there:  # the server has no more, or another file
            raise
        path.unlink()
        return _download(url, path, shows, check)
    with answer:
        if answer.status != 206:
            there = 0
        length = answer.headers.get("Content-Length", "")
        total = there + int(length) if length.isdigit() else None
        if total is not None:
            check(total)
        if total is not None and total - there > shutil.disk_usage(path.parent).free:
            raise DataError(f"{shown(url)} has {total / 2**20:,.0f} MiB, for which no room is left")
        with open(path, "ab" if there else "wb") as file, shows(total, there) as bar:
            while data := answer.read(_CHUNK):
                file.write(data)
                bar.update(len(data))
            if total is not None and file.tell() < total:
                raise http.client.IncompleteRead(b"", total - file.tell())
    return None
