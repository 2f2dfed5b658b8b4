"""Archives of data sets that are to be prepared: damaged, packed anew, or of strange names."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.kinds import Case, Kind, called, photograph
from tests.fuzz.mutation import EDGES, Rng, damage, pick

NAMES = [
    *("a/1.jpg", "train/a/1.png", "val/a/1.png", "x/y/z/w.webp", "1.jpg", "a/b", ".", "..", "/"),
    *("../../x.jpg", "/etc/x.png", "C:\\x\\1.jpg", "a\\b\\1.jpg", "a/\x1b[2J.png", "a/\udce9.png"),
    *("a/" * 2000 + "1.png", "n" * 300 + "/1.png", "__MACOSX/a/1.png", ".a/1.png", "", "a//1.png"),
    *("train.bin", "data_batch_1.bin", "data_batch_1", "b.mat", "101_ObjectCategories.tar.gz"),
]
KINDS = ["w", "w:gz", "w:bz2", "w:xz", "zip"]


class Archives(Kind):
    """Archives of CIFAR-10 and of class folders, through ``prepare``."""

    cost = 2

    def __init__(self, good: Path) -> None:
        super().__init__(good)
        images = np.random.default_rng(0).integers(0, 256, (2, 3073), np.uint8)
        images[:, 0] %= 10
        self.cifar = {f"c/data_batch_{i}.bin": images.tobytes() for i in range(1, 6)}
        self.cifar |= {"c/test_batch.bin": images.tobytes()}
        self.cifar["c/batches.meta.txt"] = "\n".join("abcdefghij").encode()
        picture = photograph(good / "1.png").read_bytes()
        self.folders = {f"{c}/{i}.png": picture for c in "ab" for i in range(4)}

    def make(self, rng: Rng, folder: Path) -> Case:
        name = str(pick(rng, ("cifar10", "birds", "caltech101", "imagenette/160px-v2", "cifar100")))
        files = dict(self.cifar if name.startswith("cifar") else self.folders)
        way = rng.random()
        for _ in range(int(rng.integers(3)) if way < 0.7 else 0):
            key = pick(rng, list(files))
            if rng.random() < 0.5:
                files[key] = damage(rng, files[key])
            else:
                files[str(pick(rng, NAMES))] = pick(rng, (b"", b"x", files[key]))
                if rng.random() < 0.5:
                    files.pop(key, None)
            files = files or {"x": b""}
        kind = str(pick(rng, KINDS))
        data = pack(files, kind, rng)
        if way > 0.5:
            data = damage(rng, data, head=600) if rng.random() < 0.8 else data[: len(data) // 2]
        (folder / "archive").write_bytes(data)
        return called("prepare", [name, "--archive", folder / "archive", "--data-dir", folder])


def pack(files: dict[str, bytes], kind: str, rng: Rng) -> bytes:
    """An archive of one kind; members of tar archives may be links, devices or of huge sizes."""
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name.encode("utf-8", "replace").decode() or "x", data)
        return out.getvalue()
    options: dict[str, Any] = {"fileobj": out, "mode": kind, "format": tarfile.PAX_FORMAT}
    with tarfile.open(**options) as made:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if rng.random() < 0.03:
                info.type = pick(rng, (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE))
                info.linkname = "/etc/passwd"
            if rng.random() < 0.03:
                info.size = min(int(pick(rng, EDGES)), 1 << 40)
                made.fileobj.write(info.tobuf(errors="surrogateescape"))  # type: ignore[union-attr]
                made.fileobj.write(data)  # type: ignore[union-attr]
                continue
            made.addfile(info, io.BytesIO(data))
    return out.getvalue()
