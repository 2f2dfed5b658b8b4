"""Cached calls into sact_core; all caching of the app lives here.

Everything is keyed by content: a checkpoint by its content hash, an image by
the hash of its pixels. Caches are bounded in memory and shared by all sessions;
what they hold is never changed. Networks run one at a time, so that several
people at once share the processors instead of fighting over them.

What a user can do wrong ends in `InputError`, whose message is one sentence.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import streamlit as st

from sact_core.backends import Net
from sact_core.checkpoint import CheckpointError, Header, read, read_header
from sact_core.config import NetworkConfig
from sact_core.flops import FlopCount, count_flops, dense_flops
from sact_core.network import Plan, Result, build_plan
from sact_core.preprocess import fit_image

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = Path(__file__).resolve().parent / "examples"
BACKEND = "masked"

MAX_CHECKPOINT_BYTES = 256 << 20
MAX_LISTED_CHECKPOINTS = 200

#: One network at a time: kernels use every processor themselves.
_ENGINE = threading.Lock()
#: How often a network has run, for tests.
_runs = 0


class InputError(ValueError):
    """What a user handed in cannot be used; the message is for the page."""


@dataclass(frozen=True)
class Model:
    """A checkpoint that can be chosen.

    Attributes
    ----------
    name : str
        As listed.
    header : Header
        Everything but the parameters.
    digest : str
        Content hash.
    source : Path or bytes
        The file, or its contents where it was uploaded.
    """

    name: str
    header: Header
    digest: str
    source: Path | bytes = field(repr=False)

    @property
    def config(self) -> NetworkConfig:
        """What the network is."""
        return self.header.config

    @property
    def plan(self) -> Plan:
        """Its layers."""
        return build_plan(self.config)

    @property
    def tau(self) -> float | None:
        """Price of a unit in training, where the checkpoint says."""
        value = self.header.provenance.get("tau")
        return float(value) if isinstance(value, int | float) else None

    def class_name(self, index: int) -> str:
        """Name of a class, or its number."""
        names = self.header.class_names
        return names[index] if index < len(names) else f"class {index}"


@dataclass(frozen=True)
class Picture:
    """An image that can be chosen.

    Attributes
    ----------
    name : str
        As listed.
    pixels : np.ndarray [shape=(h, w, 3), uint8]
        RGB, read-only.
    digest : str
        Hash of the pixels.
    origin : str
        ``"example"``, ``"upload"`` or ``"test"``.
    note : str
        Where it comes from, or what was done to it; may be empty.
    """

    name: str
    pixels: np.ndarray = field(repr=False)
    digest: str
    origin: str = "example"
    note: str = ""


@dataclass(frozen=True)
class Run:
    """One network over one image.

    Attributes
    ----------
    result : Result
        With ``n = 1``.
    seen : np.ndarray [shape=(H, W, 3), uint8]
        The image as the network gets to see it, before its values are scaled.
    seconds : float
        How long the network took.
    executed, dense : FlopCount
        FLOPs of this image, and of an image of which every position runs every
        unit of this network.
    """

    result: Result
    seen: np.ndarray
    seconds: float
    executed: FlopCount
    dense: FlopCount


# --- checkpoints ---


def pretrained_dir() -> Path:
    """Folder of the checkpoints that come with the program."""
    return Path(os.environ.get("SACT_PRETRAINED_DIR") or ROOT / "pretrained")


def runs_dir() -> Path:
    """Folder of training runs."""
    return Path(os.environ.get("SACT_RUNS_DIR") or ROOT / "runs")


def checkpoint_files() -> dict[str, Path]:
    """List the checkpoints in the allowed folders, by the name that is shown.

    Those in ``pretrained/`` go by their own name; others are named after their
    folder: ``runs/night/best``. ``SACT_CHECKPOINT_DIRS`` adds folders.
    """
    found: dict[str, Path] = {}
    for path in sorted(pretrained_dir().glob("*.h5")):
        found[path.stem] = path
    more = [
        Path(part) for part in os.environ.get("SACT_CHECKPOINT_DIRS", "").split(os.pathsep) if part
    ]
    for folder in [runs_dir(), *more]:
        for path in sorted(folder.glob("**/*.h5")):
            name = f"{folder.name}/{path.relative_to(folder).with_suffix('').as_posix()}"
            found.setdefault(name, path)
            if len(found) >= MAX_LISTED_CHECKPOINTS:
                return found
    return found


def checkpoint_names(halting: tuple[str, ...] = ("sact", "act", "none")) -> list[str]:
    """Names of the checkpoints, networks that halt first; damaged files come last.

    Parameters
    ----------
    halting : tuple of str
        Kinds to list.
    """
    order = {"sact": 0, "act": 1, "none": 2}
    ranked = []
    for name in checkpoint_files():
        try:
            kind = model(name).config.halting
        except InputError:
            ranked.append((3, name))  # choosing it says what is wrong
            continue
        if kind in halting:
            ranked.append((order[kind], name))
    return [name for _, name in sorted(ranked)]


def shipped_models() -> list[Model]:
    """Every checkpoint in ``pretrained/`` that can be read."""
    found = []
    for name in sorted(path.stem for path in pretrained_dir().glob("*.h5")):
        try:
            found.append(model(name))
        except InputError:
            continue
    return found


def accuracy(model: Model) -> str | None:
    """What the checkpoint says of its accuracy, with split and count."""
    metrics = model.header.provenance.get("metrics")
    if not isinstance(metrics, dict):
        return None
    value, split, count = (metrics.get(k) for k in ("eval/Accuracy", "split", "count"))
    if not isinstance(value, int | float):
        return None
    of = f" of {count:,} {split} images" if isinstance(count, int) and split else ""
    return f"{value:.1%} right{of}"


def model(name: str) -> Model:
    """Open a listed checkpoint, without its parameters.

    Raises
    ------
    InputError
        If there is none of that name or it cannot be read.
    """
    path = checkpoint_files().get(name)
    if path is None:
        raise InputError(f"There is no checkpoint named {name}.")
    try:
        stat = path.stat()
        header = _header(str(path), stat.st_mtime_ns, stat.st_size)
    except (CheckpointError, OSError) as error:
        raise InputError(sentence(error)) from None
    return Model(name, header, header.content_hash, path)


def uploaded_model(name: str, data: bytes) -> Model:
    """Prove an uploaded checkpoint: it is read and verified as a whole.

    Raises
    ------
    InputError
        If it is too large or no usable checkpoint.
    """
    if len(data) > MAX_CHECKPOINT_BYTES:
        raise InputError(
            f"{name} has {len(data) >> 20} MB; a checkpoint may have {MAX_CHECKPOINT_BYTES >> 20}."
        )
    try:
        checkpoint = read(data)
        header = read_header(data)
    except (CheckpointError, OSError) as error:
        raise InputError(sentence(error)) from None
    del checkpoint  # its parameters are read again where it runs
    digest = hashlib.sha256(data).hexdigest()
    return Model(f"uploaded: {Path(name).stem}", header, digest, data)


@st.cache_data(max_entries=256, show_spinner=False)
def _header(path: str, mtime: int, size: int) -> Header:
    return read_header(path)


@st.cache_resource(max_entries=4, show_spinner="Reading the checkpoint …")
def _net(digest: str, backend: str, _source: Path | bytes) -> Net:
    return Net.from_checkpoint(read(_source), backend)


def net(model: Model, backend: str = BACKEND) -> Net:
    """A network that is ready to run.

    Raises
    ------
    InputError
        If the file is damaged or has gone.
    """
    try:
        return _net(model.digest, backend, model.source)
    except (CheckpointError, OSError) as error:
        raise InputError(sentence(error)) from None


# --- images ---


def example_names() -> list[str]:
    """Names of the photographs that come with the program."""
    return sorted(path.stem.capitalize() for path in EXAMPLES.glob("*.jpg"))


def example(name: str) -> Picture:
    """Open an example photograph.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in example_names():
        raise InputError(f"There is no example named {name}.")
    pixels = _example_pixels(name)
    return Picture(name, pixels, _digest(pixels))


def uploaded_picture(name: str, data: bytes) -> Picture:
    """Open an image that somebody handed in.

    Raises
    ------
    InputError
        If it is too large, truncated, or no image.
    """
    from sact_core.images import read_image

    name = Path(name.replace("\\", "/")).name[:80] or "Image"
    try:
        pixels = read_image(data)
    except (ValueError, OSError) as error:
        raise InputError(sentence(error).replace("The image", name, 1)) from None
    return picture(name, pixels, "upload")


def data_dir() -> Path:
    """Folder of prepared TFDS data sets."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def picture(name: str, pixels: np.ndarray, origin: str, note: str = "") -> Picture:
    """Make a picture of pixels that have been read [shape=(h, w, 3), uint8]."""
    pixels = _frozen(np.ascontiguousarray(pixels))
    return Picture(name, pixels, _digest(pixels), origin, note)


@st.cache_resource(max_entries=32, show_spinner=False)
def _example_pixels(name: str) -> np.ndarray:
    from sact_core.images import read_image

    return _frozen(read_image(EXAMPLES / f"{name.lower()}.jpg"))


# --- runs ---


def run(
    model: Model,
    picture: Picture,
    image_size: int | None = None,
    fit: str | None = None,
    backend: str = BACKEND,
) -> Run:
    """Run a network over an image; the same input runs once.

    Parameters
    ----------
    model, picture : Model, Picture
        What to run, over what.
    image_size : int, optional
        Side of the network's input; the checkpoint's own where left out.
    fit : str, optional
        ``"crop"`` or ``"keep"``; the checkpoint's own where left out.
    backend : str
        One of ``sact_core.BACKENDS``.

    Raises
    ------
    InputError
        If the network cannot take the image, or as `net`.
    """
    network = net(model, backend)
    try:
        return _run(model.digest, picture.digest, image_size, fit, backend, network, picture.pixels)
    except (ValueError, MemoryError) as error:
        raise InputError(sentence(error)) from None


@st.cache_data(max_size="192MB", show_spinner="Running the network …")
def _run(
    model_digest: str,
    picture_digest: str,
    image_size: int | None,
    fit: str | None,
    backend: str,
    _net: Net,
    _pixels: np.ndarray,
) -> Run:
    global _runs
    preprocessing = _net.preprocessing_for(image_size, fit)
    seen = fit_image(_pixels, preprocessing, _net.plan.divisor)
    with _ENGINE:
        _runs += 1
        began = time.perf_counter()
        result = _net.run([_pixels], image_size, fit)[0]
        seconds = time.perf_counter() - began
    return Run(
        result,
        _as_bytes(seen),
        seconds,
        count_flops(_net.plan, result.positions),
        dense_flops(_net.plan, result.input_size),
    )


def forward(network: Net, images: np.ndarray) -> Result:
    """Run a batch of images of one size, when no other network runs."""
    global _runs
    with _ENGINE:
        _runs += 1
        return network.run(images)


def dense_total(network: Net, size: tuple[int, int]) -> int:
    """FLOPs of an image if every unit ran everywhere."""
    return int(dense_flops(network.plan, size).total[0])


def num_runs() -> int:
    """How often a network has run in this process."""
    return _runs


def vanilla_flops(config: NetworkConfig, size: tuple[int, int]) -> FlopCount:
    """FLOPs of the same network without halting: every position runs every unit."""
    return dense_flops(build_plan(replace(config, halting="none")), size)


@st.cache_data(max_entries=128, show_spinner="Timing both networks …")
def _times(
    model_digest: str,
    picture_digest: str,
    image_size: int | None,
    fit: str | None,
    repeats: int,
    _nets: tuple[Net, ...],
    _pixels: np.ndarray,
) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in _nets]
    with _ENGINE:
        for network in _nets:
            network.run([_pixels], image_size, fit)  # warm
        for _ in range(repeats):
            for seconds, network in zip(times, _nets, strict=True):
                began = time.perf_counter()
                network.run([_pixels], image_size, fit)
                seconds.append(time.perf_counter() - began)
    return times


def times(
    model: Model, picture: Picture, image_size: int | None, fit: str | None, repeats: int = 7
) -> dict[str, float]:
    """Measure masked against dense: median seconds by backend. Imports torch.

    Raises
    ------
    InputError
        As `run`.
    """
    backends = ("masked", "dense")
    nets = tuple(net(model, backend) for backend in backends)
    try:
        measured = _times(
            model.digest, picture.digest, image_size, fit, repeats, nets, picture.pixels
        )
    except (ValueError, MemoryError) as error:
        raise InputError(sentence(error)) from None
    return {name: float(np.median(each)) for name, each in zip(backends, measured, strict=True)}


@st.cache_data(max_entries=128, show_spinner="Timing every unit …")
def _unit_seconds(
    model_digest: str,
    picture_digest: str,
    image_size: int | None,
    fit: str | None,
    repeats: int,
    _net: Net,
    _pixels: np.ndarray,
) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    with _ENGINE:
        for _ in range(repeats + 1):  # the first one warms up
            result = _net.run([_pixels], image_size, fit, keep_seconds=True)[0]
            for block, planned in zip(result.blocks, _net.plan.blocks, strict=True):
                for unit, seconds in zip(planned.units, block.seconds or (), strict=False):
                    found.setdefault(unit.name, []).append(seconds)
    return {name: float(np.median(each[1:])) for name, each in found.items()}


def unit_seconds(
    model: Model, picture: Picture, image_size: int | None, fit: str | None, repeats: int = 5
) -> dict[str, float]:
    """Measure the masked engine unit by unit: median seconds by the unit's name.

    Units that no position ran are absent.

    Raises
    ------
    InputError
        As `run`.
    """
    network = net(model)
    try:
        return _unit_seconds(
            model.digest, picture.digest, image_size, fit, repeats, network, picture.pixels
        )
    except (ValueError, MemoryError) as error:
        raise InputError(sentence(error)) from None


@st.cache_data(max_entries=64, show_spinner="Counting with PyTorch …")
def _torch_flops(digest: str, size: tuple[int, int], _net: Net) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with _ENGINE, FlopCounterMode(display=False) as counter:
        _net.forward(np.zeros((1, *size, 3), np.float32))
    return int(counter.get_total_flops())


def torch_flops(model: Model, size: tuple[int, int]) -> int:
    """FLOPs of the dense network by PyTorch's own counter. Imports torch.

    Raises
    ------
    InputError
        As `net`.
    """
    return _torch_flops(model.digest, size, net(model, "dense"))


@dataclass(frozen=True)
class Agreement:
    """How far a backend is from the reference on one image.

    Attributes
    ----------
    backend : str
        Which one.
    seconds : float
        How long it took.
    logits : float
        Largest difference, over the largest logit.
    ponder_cost : float
        Largest difference, in units; 0 for vanilla networks.
    num_units, close : int
        Positions that ran another number of units, and how many of those lie
        within 1e-4 of the threshold, where rounding decides.
    positions : int
        Positions of all blocks.
    flops_equal : bool
        Whether the FLOPs are equal, as whole numbers.
    """

    backend: str
    seconds: float
    logits: float
    ponder_cost: float
    num_units: int
    close: int
    positions: int
    flops_equal: bool

    @property
    def ok(self) -> bool:
        """Whether it agrees as closely as rounding lets it."""
        differs = self.num_units > self.close
        near = self.num_units > 0  # where rounding decides, costs and FLOPs follow
        exact = self.flops_equal and self.ponder_cost <= 1e-3
        return not differs and self.logits <= 1e-3 and (exact or near)


def agreement(
    model: Model, picture: Picture, image_size: int | None, fit: str | None
) -> list[Agreement]:
    """Run all three backends and compare them with the reference. Imports torch.

    Raises
    ------
    InputError
        As `run`.
    """
    ref = run(model, picture, image_size, fit, "reference")
    return [
        _compare(ref, run(model, picture, image_size, fit, backend), backend, model.config.eps)
        for backend in ("masked", "dense")
    ]


def _compare(ref: Run, comp: Run, backend: str, eps: float) -> Agreement:
    largest = float(np.abs(ref.result.logits).max()) or 1.0
    cost, differing, close, positions = 0.0, 0, 0, 0
    for one, other in zip(ref.result.blocks, comp.result.blocks, strict=True):
        if one.num_units is None or one.ponder_cost is None or one.halting_proba is None:
            continue
        assert other.num_units is not None
        assert other.ponder_cost is not None
        different = one.num_units != other.num_units
        sums = np.cumsum(np.nan_to_num(one.halting_proba.astype(np.float64)), axis=-1)
        near = (np.abs(sums - (1 - eps)) < 1e-4).any(axis=-1)
        positions += different.size
        differing += int(different.sum())
        close += int((different & near).sum())
        if not different.all():
            gap = np.abs(one.ponder_cost - other.ponder_cost)[~different]
            cost = max(cost, float(gap.max()))
    return Agreement(
        backend,
        comp.seconds,
        float(np.abs(ref.result.logits - comp.result.logits).max()) / largest,
        cost,
        differing,
        close,
        positions,
        bool((ref.result.flops == comp.result.flops).all()),
    )


def sentence(error: BaseException) -> str:
    """What went wrong, without the folders of this machine."""
    text = str(error) or type(error).__name__
    for folder in (str(ROOT), str(pretrained_dir()), str(runs_dir())):
        text = text.replace(folder + os.sep, "")
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


# --- parts ---


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def _digest(pixels: np.ndarray) -> str:
    digest = hashlib.sha256(str(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _as_bytes(seen: np.ndarray) -> np.ndarray:
    """Pixel values from 0 to 1 as uint8; uint8 stays."""
    if seen.dtype == np.uint8:
        return seen
    return np.round(np.clip(seen, 0, 1) * 255).astype(np.uint8)
