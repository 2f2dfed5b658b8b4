"""Seeded damage: to bytes, to JSON values, to HDF5 files."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import struct
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

Rng = np.random.Generator

#: Numbers at which sizes, counts and offsets break.
EDGES = [
    *(0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000),
    *(0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, 1 << 63),
    *((1 << 64) - 2, (1 << 64) - 1),
]

#: Values that stand where others should.
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3, 0.5, -0.0, 1e-320, 1e308, -1e308, 1e19, 2**31, 2**53),
    *(2**63, -(2**63), 10**30, 10**400, "", " ", "0", "1e999", "nan", "-inf", "a" * 5000, "\x00"),
    *("\x1b[31m", "\ud800", "\u202e", "\n", "[x](http://a.example)", "<img src=x onerror=1>"),
    *("../..", "/", "%s%n", [], [[]], {}, [0], [1] * 300, {"a": 1}, {"": {"": None}}),
    *(float("nan"), float("inf")),
]  # fmt: skip


def pick(rng: Rng, options: Any) -> Any:
    """One of a sequence."""
    return options[int(rng.integers(len(options)))]


def damage(rng: Rng, data: bytes, head: int = 0, most: int = 6) -> bytes:
    """Change some bytes, mostly among the first ``head`` where that is given."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, most + 1))):
        if not out:
            out += b"\0"
        reach = head if head and rng.random() < 0.7 else len(out)
        at = int(rng.integers(min(reach, len(out))))
        size = int(pick(rng, (1, 2, 4, 8, 16, 64, 512)))
        way = int(rng.integers(9))
        if way <= 1:
            out[at] ^= 1 << int(rng.integers(8))
        elif way == 2:
            out[at] = int(rng.integers(256))
        elif way == 3:
            width = int(pick(rng, (1, 2, 4, 8)))
            number = int(pick(rng, EDGES)) & ((1 << 8 * width) - 1)
            out[at : at + width] = number.to_bytes(width, pick(rng, ("little", "big")))
        elif way == 4:
            del out[at : at + size]
        elif way == 5:
            out[at:at] = out[at : at + size]
        elif way == 6:
            out[at : at + size] = bytes(pick(rng, (0, 255)) for _ in range(1)) * size
        elif way == 7:
            other = int(rng.integers(len(out)))
            out[at : at + size] = out[other : other + size]
        elif rng.random() < 0.3:
            del out[at:]
    return bytes(out)


def a_value(rng: Rng) -> Any:
    """A value that stands where another should; its own, as it may be changed in turn."""
    return copy.deepcopy(pick(rng, VALUES))


def change_json(rng: Rng, value: Any, most: int = 3) -> Any:
    """Change some values of a JSON record, or what they are called."""
    value = json.loads(json.dumps(value))
    for _ in range(int(rng.integers(1, most + 1))):
        place: Any = None
        key: Any = None
        here = value
        while isinstance(here, dict | list) and here and (place is None or rng.random() < 0.8):
            place, key = here, pick(rng, list(here) if isinstance(here, dict) else range(len(here)))
            here = here[key]
        way = rng.random()
        if place is None or way < 0.03:
            value = a_value(rng)
        elif way < 0.15:
            del place[key]
        elif way < 0.25 and isinstance(place, dict):
            place[str(pick(rng, VALUES))] = place.pop(key)
        elif way < 0.4 and isinstance(here, int | float) and not isinstance(here, bool):
            place[key] = pick(rng, (here + 1, here - 1, -here, here * 1000, here // 2, str(here)))
        elif way < 0.5:
            place[key] = [here] * int(rng.integers(4))
        else:
            place[key] = a_value(rng)
    return value


def json_bytes(rng: Rng, value: Any) -> bytes:
    """A JSON text of a record, at times damaged as bytes, or very deep."""
    text = json.dumps(value)
    if rng.random() < 0.3:
        text = json.dumps(change_json(rng, value), ensure_ascii=bool(rng.integers(2)))
    way = rng.random()
    if way < 0.05:
        return b"[" * int(pick(rng, (3, 900, 100_000)))
    data = text.encode("utf-8", "surrogatepass")
    return damage(rng, data) if way < 0.4 else data


def some_float(rng: Rng) -> float:
    """A number of float32 that breaks arithmetic."""
    edges = (np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 3e38, 1e30, -1e30, 1e-45, 0.0, -1.0)
    return float(pick(rng, edges))


# --- HDF5 ---


def damage_hdf5(rng: Rng, path: str | os.PathLike[str]) -> str:
    """Change a file through its library, so that it stays one; say what was done."""
    said = []
    with h5py.File(path, "a") as file:
        for _ in range(int(rng.integers(1, 3))):
            edit = pick(rng, _EDITS)
            with contextlib.suppress(Exception):  # not everything can be made of everything
                edit(rng, file, _some_name(rng, file, h5py.Dataset))
                said.append(edit.__name__)
    return "+".join(said)


def _some_name(rng: Rng, file: h5py.File, kind: type) -> str:
    found: list[str] = []
    file.visititems(lambda name, node: found.append(name) if isinstance(node, kind) else None)
    return str(pick(rng, found)) if found else "nothing"


def other_shape(rng: Rng, file: h5py.File, name: str) -> None:
    old = file[name][()]
    sides = list(np.shape(old))
    way = int(rng.integers(4))
    if way == 0:
        sides.append(1)
    elif way == 1:
        sides = sides[:-1]
    elif sides:
        at = int(rng.integers(len(sides)))
        sides[at] = int(pick(rng, (0, 1, sides[at] + 1, sides[at] * 2)))
    del file[name]
    file.create_dataset(name, data=np.resize(old, sides))


def other_type(rng: Rng, file: h5py.File, name: str) -> None:
    old = file[name][()]
    kind = pick(rng, ("f2", "f8", ">f4", "i1", "i8", "u8", "S3", "c8", "?", "V4"))
    del file[name]
    file.create_dataset(name, data=np.zeros(np.shape(old), kind))


def a_compound(rng: Rng, file: h5py.File, name: str) -> None:
    sides = file[name].shape
    del file[name]
    file.create_dataset(name, data=np.zeros(sides, [("a", "f4"), ("b", "i8", (2,))]))


def a_group(rng: Rng, file: h5py.File, name: str) -> None:
    del file[name]
    file.create_group(name)


def absent(rng: Rng, file: h5py.File, name: str) -> None:
    del file[name]


def texts(rng: Rng, file: h5py.File, name: str) -> None:
    count = len(file[name])
    del file[name]
    file.create_dataset(name, data=[str(pick(rng, ("", "a", "é" * 50)))] * count)


def nothing(rng: Rng, file: h5py.File, name: str) -> None:
    del file[name]
    file.create_dataset(name, data=h5py.Empty("f4"))


def a_number(rng: Rng, file: h5py.File, name: str) -> None:
    values = file[name][()]
    flat = np.reshape(values, -1)
    flat[int(rng.integers(len(flat)))] = some_float(rng)
    file[name][()] = values


def claims(rng: Rng, file: h5py.File, name: str) -> None:
    """It says that it is large, and holds next to nothing."""
    sides = [int(side) for side in file[name].shape]
    sides[int(rng.integers(len(sides)))] = int(pick(rng, (10**6, 10**9, 10**12)))
    chunks = tuple(min(side, 8) for side in sides) if rng.random() < 0.5 else None
    del file[name]
    file.create_dataset(name, sides, "f4", chunks=chunks)


def packed(rng: Rng, file: h5py.File, name: str) -> None:
    old = file[name][()]
    how = pick(
        rng,
        [
            {"compression": "gzip"}, {"compression": "lzf"}, {"scaleoffset": 2}, {"shuffle": True},
            {"compression": "gzip", "fletcher32": True}, {"chunks": True},
        ],
    )  # fmt: skip
    del file[name]
    file.create_dataset(name, data=old, **how)


def a_bomb(rng: Rng, file: h5py.File, name: str) -> None:
    """Zeros that pack a thousand times smaller."""
    sides = (1, *([1] * (file[name].ndim - 3)), 2048, 4096)[-file[name].ndim :]
    del file[name]
    file.create_dataset(name, data=np.zeros(sides, "u1"), compression="gzip", chunks=sides)


def external(rng: Rng, file: h5py.File, name: str) -> None:
    sides = file[name].shape
    where = f"{file.filename}.raw"
    np.full(sides, 7, "f4").tofile(where)
    del file[name]
    file.create_dataset(name, sides, "f4", external=[(where, 0, h5py.h5f.UNLIMITED)])


def virtual(rng: Rng, file: h5py.File, name: str) -> None:
    layout = h5py.VirtualLayout(file[name].shape, "f4")
    layout[:] = h5py.VirtualSource("other.h5", "data", file[name].shape)
    del file[name]
    file.create_virtual_dataset(name, layout, fillvalue=7)


def a_link(rng: Rng, file: h5py.File, name: str) -> None:
    del file[name]
    other = _some_name(rng, file, h5py.Dataset)
    soft = h5py.SoftLink(str(pick(rng, (f"/{other}", "/nowhere", f"/{name}", "/"))))
    ways = (soft, h5py.ExternalLink("other.h5", "/images"), file[other], file["/"], np.dtype("f4"))
    file[name] = pick(rng, ways)


def a_stranger(rng: Rng, file: h5py.File, name: str) -> None:
    """Something that nobody asked for."""
    where = str(pick(rng, ("stranger", f"{os.path.dirname(name)}/stranger", "names", "labels")))
    if where in file:
        del file[where]
    file[where] = pick(rng, (1.0, "text", np.arange(3), ["a", "b"], b"x" * 100))


def an_attribute(rng: Rng, file: h5py.File, name: str) -> None:
    key = str(pick(rng, [*file.attrs, "part", "provenance", "class_names"]))
    value: Any = pick(rng, [*VALUES, np.zeros(3), np.zeros(70_000, "u1"), np.bytes_(b"[" * 9000)])
    if isinstance(value, str | dict | list):
        value = np.bytes_(json.dumps(value).encode()) if rng.random() < 0.7 else str(value)
    if value is None:
        del file.attrs[key]
    else:
        file.attrs[key] = value


_EDITS: list[Callable[[Rng, h5py.File, str], None]] = [
    other_shape, other_type, a_compound, a_group, absent, texts, nothing, a_number, claims, packed,
    a_bomb, external, virtual, a_link, a_stranger, an_attribute,
]  # fmt: skip


def edge_in_place(rng: Rng, data: bytes, numbers: list[int]) -> bytes:
    """Replace one of some numbers, wherever it stands as 4 or 8 bytes, by an edge."""
    for number in rng.permutation(numbers):
        for form in ("<Q", "<I", ">I", "<H", ">H"):
            with contextlib.suppress(struct.error):
                packed = struct.pack(form, int(number))
                at = data.find(packed)
                if at >= 0:
                    most = (1 << 8 * len(packed)) - 1
                    return data.replace(packed, struct.pack(form, int(pick(rng, EDGES)) & most), 1)
    return data
