"""Scalars for TensorBoard, written without it.

An event file is a row of records in TensorFlow's record format: a length, its
checksum, the bytes of an ``Event`` message, their checksum. A record is written
in one piece at the end of the file; TensorBoard passes over one that a killed
writer left unfinished.

A run that goes on opens a new file, whose first record tells TensorBoard to
forget what older files say of later steps.

Source: TensorFlow's ``record_writer.cc``, ``event.proto``, ``summary.proto``.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from sact_core.wire import masked_crc


class EventWriter:
    """An event file in a folder, opened when something is first written.

    Parameters
    ----------
    folder : path
        Where TensorBoard shall find it.
    first_step : int
        Older files' events of this step and later count no more.
    """

    def __init__(self, folder: str | Path, first_step: int = 0) -> None:
        self.folder = Path(folder)
        self.first_step = first_step
        self._path = self.folder
        self._file: int | None = None

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write numbers at a step.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        values = b"".join(
            _field(1, _field(1, tag.encode()) + _key(2, 5) + struct.pack("<f", value))
            for tag, value in scalars.items()
        )
        try:
            if self._file is None:
                self._open()
            self._append(_event(step, _field(5, values)))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise type(error)(f"cannot write {self._path}: {reason}") from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> None:
        name = f"events.out.tfevents.{time.time_ns() // 1000:017d}.{os.getpid()}"
        self._path = self.folder / name
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._append(_event(None, _field(3, b"brain.Event:2")))
        started = _key(1, 0) + _varint(1)
        self._append(_event(self.first_step, _field(7, started)))

    def _append(self, event: bytes) -> None:
        assert self._file is not None
        length = struct.pack("<Q", len(event))
        record = length + _checksum(length) + event + _checksum(event)
        while record:
            record = record[os.write(self._file, record) :]


def _event(step: int | None, what: bytes) -> bytes:
    when = _key(1, 1) + struct.pack("<d", time.time())
    return when + (b"" if step is None else _key(2, 0) + _varint(step)) + what


def _field(number: int, value: bytes) -> bytes:
    return _key(number, 2) + _varint(len(value)) + value


def _key(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _checksum(data: bytes) -> bytes:
    return struct.pack("<I", masked_crc(data))
