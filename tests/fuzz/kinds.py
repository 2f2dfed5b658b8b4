"""What is fuzzed: how an input of each kind is made, and what is done with it."""

from __future__ import annotations

import abc
import importlib
import io
import json
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sact_core import checkpoint as checkpoints
from sact_core.checkpoint import Checkpoint
from sact_core.config import NetworkConfig, Preprocessing, to_dict
from tests.fuzz.mutation import (
    Rng,
    change_json,
    damage,
    damage_hdf5,
    edge_in_place,
    json_bytes,
    pick,
    some_float,
)
from tests.networks import any_tau_checkpoint, random_params

Run = Callable[[], int]


@dataclass(frozen=True)
class Case:
    """An input, and what is done with it.

    Attributes
    ----------
    shown : str
        What it is, for people.
    run : callable
        Gives an exit code: 0 where it was taken, 2 where it was refused.
    """

    shown: str
    run: Run


class Kind(abc.ABC):
    """A kind of input.

    Parameters
    ----------
    good : Path
        An empty folder for what the inputs are made of.

    Attributes
    ----------
    stops : float
        Seconds of the process after which Ctrl-C is pressed; a command may work so long.
    cost : int
        How many inputs of the cheapest kinds one of this kind takes the time of.
    """

    stops: ClassVar[float] = 10.0
    cost: ClassVar[int] = 1

    def __init__(self, good: Path) -> None:
        self.good = good
        good.mkdir(parents=True)

    @abc.abstractmethod
    def make(self, rng: Rng, folder: Path) -> Case:
        """Make an input in an empty folder, the current one when it is run."""


def module_of(name: str) -> Any:
    """The module that ``python -m sact_core.NAME`` runs."""
    try:
        return importlib.import_module(f"sact_core.{name}.__main__")
    except ModuleNotFoundError:
        return importlib.import_module(f"sact_core.{name}")


def command(name: str) -> Callable[[list[str]], int]:
    """What ``python -m sact_core.NAME`` calls."""
    main: Callable[[list[str]], int] = module_of(name).main
    return main


def called(name: str, argv: list[Any], check: Callable[[], None] | None = None) -> Case:
    """A call of a command; ``check`` looks at what it wrote where it says that all is well."""
    words = [str(word) for word in argv]

    def run() -> int:
        code = command(name)(words)
        if code == 0 and check is not None:
            check()
        return code

    return Case(f"{name} {words}", run)


def photograph(path: Path, side: int = 12) -> Path:
    pixels = np.random.default_rng(side).integers(0, 256, (side, side + 3, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def networks() -> list[Checkpoint]:
    """A tiny network of each kind."""
    small: dict[str, Any] = {"units_per_block": (1, 2, 2), "base_channels": 2, "num_classes": 3}
    rng = np.random.default_rng(0)
    found = [any_tau_checkpoint()]
    for config in (
        NetworkConfig(halting="sact", **small),
        NetworkConfig(halting="act", **small),
        NetworkConfig("imagenet", (1, 1, 1, 1), 2, 3, "none"),
    ):
        kind = Preprocessing(config.family, 16)
        provenance = {"tau": 0.01, "metrics": {"eval/Accuracy": 0.5, "split": "test", "count": 9}}
        made = Checkpoint(config, random_params(rng, config), kind, ("a", "b", "c"), provenance)
        found.append(made)
    return found


class Checkpoints(Kind):
    """Checkpoints: damaged bytes, edited by the library, or of strange contents rightly signed."""

    def __init__(self, good: Path) -> None:
        super().__init__(good)
        photograph(good / "photo.png")
        self.whole = networks()
        self.bytes = []
        for i, one in enumerate(self.whole):
            checkpoints.write(good / f"{i}.h5", one)
            self.bytes.append((good / f"{i}.h5").read_bytes())

    def make(self, rng: Rng, folder: Path) -> Case:
        number = int(rng.integers(len(self.whole)))
        path, way = folder / "it.h5", rng.random()
        path.write_bytes(self.bytes[number])
        what = "bytes"
        if way < 0.35:
            what = self.signed(rng, path, self.whole[number])
        elif way < 0.55:
            what = damage_hdf5(rng, path)
        if way > 0.45:
            path.write_bytes(damage(rng, path.read_bytes(), head=int(pick(rng, (0, 800, 8000)))))
        argv = ["--checkpoint", path, "--backend", "reference"]
        if rng.random() < 0.2:
            case = called("export_maps", [self.good / "photo.png", *argv, "--out", folder / "o.h5"])
        else:
            case = called("ponder", [self.good / "photo.png", *argv, "--out", folder / "out"])
        return Case(f"{what}: {case.shown}", case.run)

    def signed(self, rng: Rng, path: Path, whole: Checkpoint) -> str:
        """Strange contents under the right content hash."""
        import h5py

        from sact_core.checkpoint.checks import digest

        records = {
            "config": to_dict(whole.config), "preprocessing": to_dict(whole.preprocessing),
            "class_names": list(whole.class_names), "provenance": whole.provenance,
        }  # fmt: skip
        params, name = dict(whole.params), ""
        if rng.random() < 0.6:
            name = str(pick(rng, list(records)))
            records[name] = change_json(rng, records[name], most=2)
        else:
            name = str(pick(rng, list(params)))
            params[name] = params[name].copy()
            flat = params[name].reshape(-1)
            flat[slice(None) if rng.random() < 0.5 else int(rng.integers(len(flat)))] = some_float(
                rng
            )
        data = {key: json.dumps(value).encode() for key, value in records.items()}
        with h5py.File(path, "w") as file:
            file.attrs["format"] = np.bytes_(b"sact-explorer checkpoint")
            file.attrs["format_version"] = np.int64(1)
            file.attrs["content_hash"] = np.bytes_(digest(data, params).encode())
            for key, text in data.items():
                file.attrs[key] = np.bytes_(text)
            for key, values in params.items():
                file.create_dataset(f"params/{key}", data=values, dtype="<f4")
        return f"signed {name}"


class Bundles(Kind):
    """TensorFlow's checkpoints: damaged bytes, or strange entries in a table that is whole."""

    def __init__(self, good: Path) -> None:
        super().__init__(good)
        from sact_core.import_tf.names import to_tf_names
        from sact_core.plans import build_plan
        from tests.tf_writer import snappy, write_bundle

        self.variables = []
        for one in networks()[1:]:
            names = to_tf_names(build_plan(one.config))
            found = {theirs: one.params[ours] for ours, theirs in names.items()}
            found["global_step"] = np.asarray(7, np.int64)
            self.variables.append(found)
        self.files = []
        for i, found in enumerate(self.variables):
            how: dict[str, Any] = {"compress": snappy} if i else {}
            write_bundle(good / f"{i}", found, num_shards=1 + i % 2, **how)
            self.files.append({p.name[1:]: p.read_bytes() for p in good.glob(f"{i}.*")})

    def make(self, rng: Rng, folder: Path) -> Case:
        number = int(rng.integers(len(self.files)))
        files = dict(self.files[number])
        if rng.random() < 0.6:
            what = "entries"
            files[".index"] = self.strange_index(rng, files[".index"])
        else:
            what = str(pick(rng, sorted(files)))
            files[what] = damage(rng, files[what])
        for name, data in files.items():
            (folder / f"it{name}").write_bytes(data)
        case = called("import_tf", [folder / "it", "--out", folder / "out.h5"])
        return Case(f"{what}: {case.shown}", case.run)

    def strange_index(self, rng: Rng, data: bytes) -> bytes:
        """Another table, whole by its checksums, of damaged entries."""
        from sact_core.import_tf.table import table as pairs_of
        from tests.tf_writer import table

        pairs = dict(pairs_of(data))
        for _ in range(int(rng.integers(1, 3))):
            key = pick(rng, list(pairs))
            if rng.random() < 0.3:
                pairs[damage(rng, key)] = pairs.pop(key) if rng.random() < 0.5 else pairs[key]
            else:
                pairs[key] = damage(rng, pairs[key], most=2)
        return table(sorted(pairs.items()), per_block=int(pick(rng, (1, 9, 1000))))


class Maps(Kind):
    """Files of ponder maps."""

    def __init__(self, good: Path) -> None:
        super().__init__(good)
        from tests.test_draw_maps import write

        self.bytes = write(good / "maps.h5", [7.0, 6.0]).read_bytes()

    def make(self, rng: Rng, folder: Path) -> Case:
        path, what = folder / "it.h5", "bytes"
        path.write_bytes(self.bytes)
        if rng.random() < 0.5:
            what = damage_hdf5(rng, path)
        if what in ("", "bytes") or rng.random() < 0.2:
            path.write_bytes(damage(rng, path.read_bytes(), head=int(pick(rng, (0, 2000, 20000)))))
        scale, metric = pick(rng, ("percentile", "units")), pick(rng, ("ponder_cost", "num_units"))
        argv = [path, "--out", folder / "out", "--scale", scale, "--metric", metric]
        case = called("draw_maps", argv, lambda: self.not_black(folder / "out"))
        return Case(f"{what}: {case.shown}", case.run)

    def not_black(self, out: Path) -> None:
        """No colour of a map is black."""
        drawn = sorted(out.glob("*_ponder.png"))
        assert drawn, "nothing was drawn"
        for path in drawn:
            assert np.asarray(Image.open(path)).max(-1).min() > 0, f"{path} is black"


class Parts(Kind):
    """Unfinished exports with a damaged part, gone on with."""

    def __init__(self, good: Path) -> None:
        super().__init__(good)
        from sact_core.maps import parts

        checkpoints.write(good / "it.h5", networks()[1])
        photos = [photograph(good / f"{i}.png", 12 + i) for i in range(3)]
        self.argv = [*photos, "--checkpoint", good / "it.h5", "--backend", "reference"]
        self.argv += ["--batch-size", "1", "--out"]
        before, parts.Parts.join = parts.Parts.join, lambda *_: 1 // 0  # it ends before the end
        try:
            self.export(good / "out.h5")
        except ZeroDivisionError:
            pass
        finally:
            parts.Parts.join = before
        self.files = {path.name: path.read_bytes() for path in (good / "out.h5.parts").iterdir()}

    def make(self, rng: Rng, folder: Path) -> Case:
        where = folder / "out.h5.parts"
        where.mkdir()
        for name, data in self.files.items():
            (where / name).write_bytes(data)
        name = str(pick(rng, sorted(self.files)))
        path = where / name
        if name.endswith(".json"):
            path.write_bytes(json_bytes(rng, change_json(rng, json.loads(path.read_bytes()))))
        elif rng.random() < 0.5:
            damage_hdf5(rng, path)
        else:
            path.write_bytes(damage(rng, path.read_bytes(), head=int(pick(rng, (0, 4000)))))
        return Case(name, lambda: self.export(folder / "out.h5"))

    def export(self, out: Path) -> int:
        """Export in parts of one image."""
        from sact_core import export_maps

        size, export_maps.PART_BYTES = export_maps.PART_BYTES, 1
        try:
            return export_maps.main([str(word) for word in [*self.argv, out]])
        finally:
            export_maps.PART_BYTES = size


class Images(Kind):
    """Photographs of every format."""

    def __init__(self, good: Path) -> None:
        super().__init__(good)
        self.bytes = list(_photographs())

    def make(self, rng: Rng, folder: Path) -> Case:
        from sact_core.data.images import read_image

        (name, data), path = pick(rng, self.bytes), folder / "it"
        if rng.random() < 0.3:
            data = edge_in_place(rng, data, [40, 30])
        if rng.random() < 0.8:
            data = damage(rng, data, head=int(pick(rng, (0, 40, 200))))
        if data.startswith(b"\x89PNG") and rng.random() < 0.7:
            data = _right_crcs(data)
        path.write_bytes(data)
        shrink = pick(rng, (None, lambda width, height: 4))

        def run() -> int:
            try:
                pixels = read_image(path, shrink=shrink)
            except (ValueError, OSError) as error:
                print(f"error: {error}")
                return 2
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.shape[2] == 3
            assert pixels.size
            return 0

        return Case(name, run)


def _photographs() -> Any:
    rng = np.random.default_rng(1)
    noise = Image.fromarray(rng.integers(0, 256, (30, 40, 4), np.uint8), "RGBA")
    rgb, exif = noise.convert("RGB"), Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(rng.integers(0, 65536, (30, 40), np.uint16))
    ways: list[tuple[Image.Image, dict[str, Any]]] = [
        (rgb, {"format": "JPEG", "exif": exif}), (rgb, {"format": "JPEG", "progressive": True}),
        (rgb.convert("CMYK"), {"format": "JPEG"}), (rgb.convert("L"), {"format": "JPEG"}),
        (rgb, {"format": "MPO", "save_all": True, "append_images": [rgb]}),
        (rgb, {"format": "PNG", "exif": exif}), (noise, {"format": "PNG"}),
        (deep, {"format": "PNG"}), (rgb.quantize(16), {"format": "PNG", "transparency": 3}),
        (rgb.convert("1"), {"format": "PNG"}),
        (rgb, {"format": "WEBP"}), (noise, {"format": "WEBP", "lossless": True}),
        (rgb.quantize(16), {"format": "GIF", "save_all": True, "append_images": [rgb] * 2}),
        (rgb, {"format": "BMP"}), (rgb.quantize(16), {"format": "BMP"}),
        (rgb.convert("1"), {"format": "BMP"}),
        (rgb, {"format": "TIFF"}), (rgb, {"format": "TIFF", "compression": "tiff_lzw"}),
        (rgb, {"format": "TIFF", "compression": "jpeg"}), (deep, {"format": "TIFF"}),
        (rgb.convert("1"), {"format": "TIFF", "compression": "group4"}),
        (rgb.convert("F"), {"format": "TIFF", "compression": "tiff_deflate"}),
        (rgb, {"format": "AVIF"}), (noise, {"format": "JPEG2000"}), (rgb, {"format": "PPM"}),
        (rgb.convert("1"), {"format": "PPM"}), (rgb.convert("L"), {"format": "PPM"}),
    ]  # fmt: skip
    for image, how in ways:
        out = io.BytesIO()
        image.save(out, **how)
        yield f"{how} of {image.mode}", out.getvalue()
    yield "plain PPM", b"P3\n40 30\n255\n" + b"7 " * 3600


def _right_crcs(data: bytes) -> bytes:
    """Give every chunk of a PNG file the checksum that it should have."""
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        (length,) = struct.unpack_from(">I", out, at)
        end = at + 8 + length
        if end + 4 > len(out):
            break
        struct.pack_into(">I", out, end, zlib.crc32(bytes(out[at + 4 : end])))
        at = end + 4
    return bytes(out)


class Fixations(Kind):
    """MATLAB's files, of version 5 and of 7.3, which is HDF5."""

    def __init__(self, good: Path) -> None:
        super().__init__(good)
        import h5py

        from tests.mat_writer import element, header, matrix

        looked = np.eye(24, 32, dtype=np.uint8)
        one = matrix(looked)
        with h5py.File(good / "new.mat", "w", userblock_size=512) as file:
            file["fixLocs"] = looked.T
            file["packed"] = looked.T
        new = bytearray((good / "new.mat").read_bytes())
        new[:128] = b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM"
        self.new = bytes(new)
        self.old = [
            header() + one,
            header(">") + matrix(looked.astype("f8"), order=">", stored=9, kind=6),
            header() + matrix(looked, "other") + element("<", 15, zlib.compress(one)),
        ]
        checkpoints.write(good / "it.h5", networks()[1])
        photograph(good / "photo.png")

    def make(self, rng: Rng, folder: Path) -> Case:
        for name in ("Stimuli", "FIXATIONLOCS"):
            (folder / name / "Art").mkdir(parents=True)
        Image.new("RGB", (32, 24), "red").save(folder / "Stimuli" / "Art" / "001.png")
        path, what = folder / "FIXATIONLOCS" / "Art" / "001.mat", "bytes"
        if rng.random() < 0.4:
            path.write_bytes(self.new)
            if rng.random() < 0.6:
                what = damage_hdf5(rng, path)
            if what in ("", "bytes") or rng.random() < 0.2:
                path.write_bytes(damage(rng, path.read_bytes(), int(pick(rng, (0, 3000)))))
        else:
            data = pick(rng, self.old)
            if rng.random() < 0.3:
                data = edge_in_place(rng, data, [24, 32, 768, 5, 6, 9, 14])
            path.write_bytes(damage(rng, data, head=int(pick(rng, (0, 220)))))
        argv = [folder, "--checkpoint", self.good / "it.h5", "--backend", "reference"]
        case = called("saliency", [*argv, "--blur", "0", "--centre-weight", "0"])
        return Case(f"{what}: {case.shown}", case.run)


class Boxes(Kind):
    """JSON files of boxes around objects."""

    def __init__(self, good: Path) -> None:
        super().__init__(good)
        checkpoints.write(good / "it.h5", networks()[1])
        photograph(good / "photo.png")

    def make(self, rng: Rng, folder: Path) -> Case:
        units = str(pick(rng, ("shares", "pixels")))
        record = {"units": units, "boxes": {"photo.png": [[0, 0, 0.5, 0.5], [0.1, 0.2, 1, 0.9]]}}
        path = folder / "boxes.json"
        path.write_bytes(json_bytes(rng, change_json(rng, record)))
        argv = [self.good / "photo.png", "--boxes", path, "--checkpoint", self.good / "it.h5"]
        return called("objects", [*argv, "--backend", "reference"])


class Runs(Kind):
    """Folders of training runs: shown on the Runs page, and gone on with."""

    stops = 6.0
    cost = 5

    def __init__(self, good: Path) -> None:
        super().__init__(good)
        from tests.training import flags, write_data_set

        data = write_data_set(good / "data", 24)
        self.flags = list(flags(data, Path("run"), "--epochs", "1"))
        self.flags[self.flags.index("run")] = str(good / "run")
        assert command("train")(self.flags) == 0
        self.records = {
            name: json.loads((good / "run" / name).read_text())
            for name in ("config.json", "images.json", "metrics.jsonl")
        }

    def make(self, rng: Rng, folder: Path) -> Case:
        run = folder / "runs" / "run"
        shutil.copytree(self.good / "run", run)
        name = str(pick(rng, ("config.json", "metrics.jsonl", "images.json", "state.pt", "any")))
        if name == "any":
            name = str(pick(rng, sorted(path.name for path in run.iterdir())))
        if name in self.records:
            (run / name).write_bytes(json_bytes(rng, change_json(rng, self.records[name])))
        elif name == "state.pt" and rng.random() < 0.6:
            self.strange_state(rng, run / name)
        else:
            (run / name).write_bytes(damage(rng, (run / name).read_bytes(), most=3))
        words = [str(run) if word == str(self.good / "run") else word for word in self.flags]

        def both() -> int:
            import os

            from app.runs import run_dir

            os.environ["SACT_RUNS_DIR"] = str(folder / "runs")
            found = run_dir.read("run")
            if found is not None:
                run_dir.charts([found], False)
                assert found.tested is not None
                assert found.progress
            return command("train")([*words, "--resume"])

        return Case(f"{name}: train {words}", both)

    def strange_state(self, rng: Rng, path: Path) -> None:
        """A state that torch loads, of other contents."""
        import torch

        state = torch.load(path, weights_only=True)
        here: Any = state
        place, key = here, None
        while isinstance(here, dict | list) and here and (key is None or rng.random() < 0.7):
            place, key = here, pick(rng, list(here) if isinstance(here, dict) else range(len(here)))
            here = here[key]
        others = [None, 0, -1, 10**9, "x", [], {}, torch.zeros(2), torch.full((3, 3), torch.nan)]
        if rng.random() < 0.3:
            del place[key]
        else:
            place[key] = pick(rng, others)
        torch.save(state, path)
