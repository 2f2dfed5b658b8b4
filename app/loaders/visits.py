"""What a visit has added and measured, kept while the page is loaded anew.

Streamlit's own state goes with the page. A visit goes by a cookie that `app.serving` gives
every browser: random, and read by nobody but this server. Where there is none, as in a frame
of another site, what was added goes with the page too.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from typing import Any
from weakref import WeakValueDictionary

import streamlit as st

from app.bounded import Bounded
from app.loaders.pictures import uploaded_picture
from app.records import Picture
from app.serving import VISIT

#: What one visit keeps: photographs as they came, and those of them that are decoded.
MAX_FILE_BYTES = 96 << 20
MAX_PIXEL_BYTES = 96 << 20
#: Seconds for which a visit is kept that no page shows, and what all of those may hold.
KEEP_SECONDS = 900.0
MAX_KEPT_BYTES = 256 << 20


class Photographs:
    """Photographs that somebody has added, by name, the first to go first.

    They are kept as they came; pixels of the latest that were looked at, too.
    """

    def __init__(self) -> None:
        self._files: Bounded[str, tuple[bytes, str]] = Bounded(
            MAX_FILE_BYTES, lambda file: len(file[0])
        )
        self._opened: Bounded[str, Picture] = Bounded(
            MAX_PIXEL_BYTES, lambda picture: picture.pixels.nbytes
        )

    def add(self, name: str, data: bytes) -> Picture:
        """Open a photograph and keep it, in place of another of its name.

        Raises
        ------
        InputError
            As `uploaded_picture`.
        """
        picture = uploaded_picture(name, data)
        self._files.put(picture.name, (data, hashlib.sha256(data).hexdigest()))
        self._opened.put(picture.name, picture)
        return picture

    def peek(self, name: str) -> Picture | None:
        """A photograph; None where there is none of that name."""
        file = self._files.peek(name)
        if file is None:
            return None
        picture = self._opened.get(name)
        if picture is None:
            picture = uploaded_picture(name, file[0])
            self._opened.put(name, picture)
        return picture

    def file(self, name: str) -> tuple[bytes, str]:
        """The file as it came, and the hash of its bytes; empty where there is none."""
        return self._files.peek(name) or (b"", "")

    def clear(self) -> None:
        """Let all of them go."""
        self._files.clear()
        self._opened.clear()

    @property
    def num_bytes(self) -> int:
        """What they take."""
        return self._files.weight + self._opened.weight

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


class Visit:
    """A visit: its photographs, and what was measured, by whoever keeps it there."""

    def __init__(self) -> None:
        self.photographs = Photographs()
        self.kept: dict[str, Any] = {}


class Visits:
    """Visits by their cookies: those that a page shows, and for a while those that none does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown: WeakValueDictionary[str, Visit] = WeakValueDictionary()
        self._latest: dict[str, tuple[float, Visit]] = {}

    def get(self, key: str) -> Visit:
        """The visit of a cookie, which counts as seen now."""
        with self._lock:
            visit = self._shown.get(key) or Visit()
            self._shown[key] = visit
            self._latest.pop(key, None)
            self._latest[key] = time.monotonic(), visit
            self._let_go()
            return visit

    def _let_go(self) -> None:
        """Forget the oldest; a page that is open still has its own."""
        weights = {key: visit.photographs.num_bytes for key, (_, visit) in self._latest.items()}
        held, now = sum(weights.values()), time.monotonic()
        for key, (seen, _) in list(self._latest.items())[:-1]:
            if now - seen > KEEP_SECONDS or held > MAX_KEPT_BYTES:
                del self._latest[key]
                held -= weights[key]


_visits = Visits()


def current() -> Visit:
    """The visit that this page belongs to."""
    key = st.context.cookies.get(VISIT)
    if isinstance(key, str) and re.fullmatch(r"[\w-]{32}", key):
        visit = _visits.get(key)
    else:
        visit = st.session_state.get("visit") or Visit()
    st.session_state["visit"] = visit  # for as long as the page is open
    return visit
