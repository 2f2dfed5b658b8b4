"""A whole test split through a network: kept in parts, so that it can go on.

The caching twin of ``sact_core.data.source``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import streamlit as st

from app.folders import InputError, data_dir, photo_folders, sentence
from app.loaders import outcomes
from app.loaders.checkpoints import net
from app.loaders.running import dense_total, forward
from app.records import Model
from app.texts import MAX_NAME, short
from sact_core.backends import Net
from sact_core.backends.stacking import stacked
from sact_core.data.records import DataError, Unreadable
from sact_core.data.source import Source
from sact_core.data.splits import evaluation_split, is_folder, open_split, path_of, recorded_split
from sact_core.data.tfds import download_command, tfds_command
from sact_core.data.walk import sub_folders
from sact_core.evaluate import classes_of
from sact_core.measures.busy import colourfulness, edge_density
from sact_core.measures.passes import Tag as _Tag
from sact_core.measures.passes import summed_up
from sact_core.result import Result
from sact_core.texts import shown

CHUNK = 100  # images of one part
#: Splits as they may stand in a checkpoint: of TFDS, and of a folder of class folders.
TFDS_SPLIT = r"[a-z_0-9]+(\[\d*%?:\d*%?\])?"
FOLDER_SPLIT = r"(held-out|all-but):[0-9.]{1,9}%|\w[\w.-]{0,99}"
FLIP_HALVINGS = 6  # of the logarithm between two taus, until a flip is known well enough


@dataclass(frozen=True)
class Outcomes:
    """What a network did with many images.

    Attributes
    ----------
    indices : np.ndarray [shape=(n,), int64]
        Which images of the split; those that cannot be read are left out.
    labels, predictions : np.ndarray [shape=(n,), int64]
    flops : np.ndarray [shape=(n,), int64]
    sure : np.ndarray [shape=(n,), float32]
        Probability of the prediction.
    among_five : np.ndarray [shape=(n,), bool]
        Whether the label is among the five most likely classes.
    units : np.ndarray [shape=(n,), float32]
        Units that a position ran on average; all of them in vanilla networks.
    dense : np.ndarray [shape=(n,), int64]
        FLOPs if every unit ran.
    names : np.ndarray [shape=(n,), str]
        The data set's own names of the images.
    entropy : np.ndarray [shape=(n,), float64]
        Of the softmax, in bits.
    ponder_cost : np.ndarray [shape=(n, blocks), float64]
        Of each block, in units; no block where nothing halts.
    edges, colours : np.ndarray [shape=(n,), float64]
        How busy an image is, see `sact_core.measures.busy`.
    left_out : np.ndarray [shape=(m,), str]
        Names of the images that cannot be read.
    """

    indices: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray
    flops: np.ndarray
    sure: np.ndarray
    among_five: np.ndarray
    units: np.ndarray
    dense: np.ndarray
    names: np.ndarray
    entropy: np.ndarray
    ponder_cost: np.ndarray
    edges: np.ndarray
    colours: np.ndarray
    left_out: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def right(self) -> np.ndarray:
        """Where the prediction is the label [shape=(n,), bool]."""
        right: np.ndarray = self.labels == self.predictions
        return right


#: Fields of `Outcomes`, as they are kept.
_NAMES = tuple(each.name for each in fields(Outcomes))
_unkept = ""


def name_of(model: Model) -> str | None:
    """Data set that a checkpoint was trained on, where it says: a TFDS name, or a folder."""
    if model.data_folder is not None:
        return str(model.data_folder)
    name, _ = recorded_split(model.header.provenance)
    return name or None


def folders() -> dict[str, Path]:
    """Folders of class folders that pages may test networks on, by what they are called.

    Of those that whoever started the app has named for photographs.
    """
    found = {}
    for name, path in photo_folders().items():
        try:
            if path.is_dir() and sub_folders(path):
                found[name] = path
        except OSError:
            continue  # it may not be listed
    return found


def on_folder(model: Model, name: str) -> Model:
    """The network, to be tested on one of `folders`.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    path = folders().get(name)
    if path is None:
        raise InputError(f"There is no folder named {short(name)}.")
    return replace(model, data_folder=path)


def folder_of(model: Model) -> Path | None:
    """The folder of class folders that a checkpoint was trained on, where it is one and here.

    A checkpoint that somebody uploaded opens no folder of this machine.
    """
    name = name_of(model)
    if model.data_folder is not None:
        return model.data_folder if model.data_folder.is_dir() else None
    if name is None or not isinstance(model.source, Path):
        return None
    try:
        path = path_of(name)
        return path if is_folder(name) and path.is_dir() else None
    except (OSError, ValueError, RuntimeError):  # too long, or no path at all
        return None


def was_a_folder(model: Model) -> bool:
    """Whether it was trained on a folder of its own rather than on a data set of TFDS."""
    name = name_of(model) or ""
    return model.data_folder is not None or not _is_plain(name)


def split_of(model: Model) -> str:
    """Split that a checkpoint was evaluated on, such as ``test[60%:]``: not what it has learnt."""
    other = None if model.data_folder is None else str(model.data_folder)
    _, split = evaluation_split(model.header.provenance, other)
    known = FOLDER_SPLIT if was_a_folder(model) else TFDS_SPLIT
    return split if re.fullmatch(known, split) else "test"


def is_here(model: Model) -> bool:
    """Whether the data set of a checkpoint is on this machine."""
    name = name_of(model)
    if name is None:
        return False
    return folder_of(model) is not None or (_is_plain(name) and (data_dir() / name).is_dir())


def how_to_get_it(model: Model) -> str:
    """The commands that prepare the data set: ours where there is one, and TFDS's own."""
    name = name_of(model) or "cifar10"
    ours, theirs = download_command(name), tfds_command(name)
    more = f"where TensorFlow is installed (pip install tensorflow):\n{theirs}"
    return f"# {more}" if ours == theirs else f"{ours}\n# or, {more}"


def source(model: Model) -> Source:
    """The split that a checkpoint is tested on.

    Raises
    ------
    InputError
        If it is absent or cannot be read.
    """
    try:
        name = folder_of(model) or name_of(model) or ""
        if isinstance(name, str) and not _is_plain(name):
            raise DataError("the folder that this checkpoint was trained on is not here")
        # Shown, as a key of the cache takes no byte that is not UTF-8.
        folder = name if isinstance(name, Path) else data_dir() / name
        return _open(shown(name), split_of(model), str(data_dir()), _folders(folder))
    except (DataError, OSError) as error:
        raise InputError(sentence(error)) from None


def run(model: Model, count: int, tau: float | None = None) -> Iterator[tuple[int, Outcomes]]:
    """Run a network over the first images of its test split, part by part.

    ``tau`` is the price of a unit, where the network takes any.

    Yields
    ------
    done : int
        Images so far.
    outcomes : Outcomes
        Of the part.

    Raises
    ------
    InputError
        If the data set or the checkpoint cannot be used.
    """
    split = source(model)
    network = net(model)
    data = _data(model, split)
    for begin, end in _parts(min(count, len(split))):
        try:
            part = _part(model.key, data, begin, end, tau, network, split)
        except (ValueError, OSError, MemoryError) as error:
            raise InputError(sentence(error)) from None
        yield end, part


def missing(model: Model, count: int, tau: float | None = None) -> int:
    """How many of the first images have not run yet, as far as the disk tells.

    Raises
    ------
    InputError
        As `run`.
    """
    split = source(model)
    data, network = _data(model, split), net(model)
    return sum(
        end - begin
        for begin, end in _parts(min(count, len(split)))
        if not _file(model.key, data, begin, end, tau, network).exists()
    )


def unkept() -> str:
    """Why what has run last could not be kept on disk; empty where it could."""
    return _unkept


def join(parts: list[Outcomes]) -> Outcomes:
    """Put parts together."""
    names = [each.name for each in fields(Outcomes)]
    return Outcomes(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def first_flips(predictions: np.ndarray) -> np.ndarray:
    """Where along rising taus the answer first is another than at the lowest.

    Parameters
    ----------
    predictions : np.ndarray [shape=(taus, n), int64]

    Returns
    -------
    np.ndarray [shape=(n,), int64]
        Index of that tau; the number of taus where the answer stays.
    """
    other = predictions != predictions[0]
    return np.where(other.any(axis=0), other.argmax(axis=0), len(predictions))


def flip_taus(
    model: Model, indices: list[int], says: list[int], lows: list[float], highs: list[float]
) -> list[float]:
    """Find the tau at which the answer on each image flips, by bisection.

    Parameters
    ----------
    model : Model
        A network that takes any tau.
    indices : list of int
        Images of its split.
    says, lows, highs : list
        For each image the class that it says at the low tau, and at the high tau no more.

    Raises
    ------
    InputError
        If the images cannot be read.
    """
    if not indices:
        return []
    key = tuple(zip(indices, says, lows, highs, strict=True))
    split = source(model)
    try:
        return _flip_taus(model.key, _name(split), key, net(model), split)
    except (ValueError, OSError, MemoryError) as error:
        raise InputError(sentence(error)) from None


def images(
    model: Model, indices: list[int], smaller: Callable[[np.ndarray], np.ndarray]
) -> list[np.ndarray]:
    """Decode some test images [shape=(h, w, 3), uint8], each made smaller at once.

    Raises
    ------
    InputError
        If they cannot be read.
    """
    try:
        return [smaller(image) for image, _, _ in source(model).each(indices)]
    except (ValueError, OSError, IndexError) as error:
        raise InputError(sentence(error)) from None


def _folders(root: Path, depth: int = 3) -> tuple[tuple[str, int], ...]:
    """When files came to a folder and those within it, or left them: it is listed anew then."""
    found, level = [], [root] if root.is_dir() else []  # if not, opening it says so
    for _ in range(depth):
        below = []
        for folder in level:
            found.append((shown(folder), folder.stat().st_mtime_ns))
            below += sub_folders(folder)
        level = below
    return tuple(found)


@st.cache_resource(max_entries=4, show_spinner="Opening the data set …")
def _open(name: str, split: str, folder: str, folders: tuple[tuple[str, int], ...]) -> Source:
    return open_split(name, split, folder).spread()  # any first part stands for all


@st.cache_data(max_size="64MB", show_spinner=False)
def _part(
    digest: str,
    name: str,
    begin: int,
    end: int,
    tau: float | None,
    _net: Net,
    _source: Source,
) -> Outcomes:
    global _unkept
    file = _file(digest, name, begin, end, tau, _net)
    stored = outcomes.load(file, _NAMES, end - begin)
    if stored is not None:
        return Outcomes(**stored)
    found = _run_part(begin, end, tau, _net, _source)
    _unkept = outcomes.save(file, {name: getattr(found, name) for name in _NAMES})
    return found


def _run_part(begin: int, end: int, tau: float | None, _net: Net, _source: Source) -> Outcomes:
    left_out = Unreadable()
    numbers = classes_of(_net, _source)

    def made() -> Iterator[tuple[np.ndarray, _Tag]]:
        readable = _source.readable(range(begin, end), left_out)
        for place, (image, label, name) in enumerate(readable):
            seen = _net.see(image)
            busy = edge_density(seen.pixels), colourfulness(seen.pixels)
            yield seen.x, (place, int(numbers[label]), name, busy)

    parts = []
    for x, tags in stacked(made(), _net.plan, end - begin):
        parts.append(_outcomes(_net, forward(_net, x, tau), tags))
    if not parts:
        raise ValueError(left_out.line(end - begin))
    found = join(parts)
    # Photographs of other sizes have been run together: back in the order of the split.
    order = np.argsort(found.indices)
    values = {each.name: getattr(found, each.name)[order] for each in fields(Outcomes)[:-1]}
    values["indices"] = np.array(
        [i for i in range(begin, end) if i not in left_out.found], np.int64
    )
    return Outcomes(**values, left_out=np.array(left_out.names, np.str_))


def _outcomes(network: Net, result: Result, tags: Sequence[_Tag]) -> Outcomes:
    """What a network did with a batch; places stand for indices."""
    part = summed_up(result, tags, dense_total(network, result.input_size))
    labels, logits, n = part["labels"], result.logits, len(tags)
    units = np.zeros(n, np.float32)
    for block, planned in zip(result.blocks, network.plan.blocks, strict=True):
        if block.num_units is None:
            units += len(planned.units)
        else:
            units += block.num_units.reshape(n, -1).mean(axis=1)
    better = (logits > logits[np.arange(n), labels][:, None]).sum(axis=1)
    return Outcomes(
        part["indices"],
        labels,
        part["predictions"],
        part["flops"],
        result.probabilities.max(axis=1),
        better < 5,
        units,
        part["dense"],
        part["names"],
        part["entropy"],
        part["ponder_cost"],
        part["edges"],
        part["colours"],
        np.array([], np.str_),
    )


@st.cache_data(max_entries=64, show_spinner="Looking for the τ at which answers flip …")
def _flip_taus(
    digest: str,
    name: str,
    wanted: tuple[tuple[int, int, float, float], ...],
    _net: Net,
    _source: Source,
) -> list[float]:
    says = np.array([label for _, label, *_ in wanted])
    low = np.log([low for *_, low, _ in wanted])
    high = np.log([high for *_, high in wanted])
    examples = _source.each([index for index, *_ in wanted])
    made = ((_net.see(image).x, i) for i, (image, *_) in enumerate(examples))
    for x, batch in stacked(made, _net.plan, len(wanted)):
        for _ in range(FLIP_HALVINGS):
            middle = (low[batch] + high[batch]) / 2
            answers = forward(_net, x, np.exp(middle)).logits.argmax(axis=1)
            stays = answers == says[batch]
            low[batch] = np.where(stays, middle, low[batch])
            high[batch] = np.where(stays, high[batch], middle)
    return [float(each) for each in np.exp(high)]


def _is_plain(name: str) -> bool:
    """Whether it may become part of a path: a plain name and nothing else."""
    return name.isidentifier() and len(name) <= MAX_NAME


def _parts(total: int) -> list[tuple[int, int]]:
    return [(begin, min(begin + CHUNK, total)) for begin in range(0, total, CHUNK)]


def _file(digest: str, data: str, begin: int, end: int, tau: float | None, network: Net) -> Path:
    return outcomes.file_of(digest, data, begin, end, tau, network.backend, network.precision)


def _data(model: Model, split: Source) -> str:
    """Tells the images of a split from others, also from those that were there before."""
    folder = folder_of(model) or data_dir() / (name_of(model) or "")
    listed = hashlib.sha256(repr(_folders(folder)).encode()).hexdigest()
    return f"{_name(split)} {len(split)} {listed}"


def _name(split: Source) -> str:
    return f"{split.name} {split.split} {split.digest}"
