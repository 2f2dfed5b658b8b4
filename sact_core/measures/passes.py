"""What a network does with every image of a split: one pass, image by image, kept in a file.

Statistics of many kinds are then computed of the same pass.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sact_core.data.classes import class_numbers
from sact_core.data.records import Unreadable
from sact_core.files import require_ordinary, written_beside
from sact_core.measures.busy import colourfulness, edge_density

if TYPE_CHECKING:
    from sact_core.backends import Net
    from sact_core.data.source import Source
    from sact_core.result import Result

BATCH = 100

#: Index, label, name, and edges and colours of an image.
Tag = tuple[int, int, str, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Pass:
    """What a network did with the images of a split that can be read, in the split's order.

    Attributes
    ----------
    names : np.ndarray [shape=(n,), str]
        The data set's own names of the images.
    indices : np.ndarray [shape=(n,), int64]
        Where they stand in the split.
    labels, predictions : np.ndarray [shape=(n,), int64]
        Classes of the network.
    confidence : np.ndarray [shape=(n,), float64]
        Probability of the prediction.
    entropy : np.ndarray [shape=(n,), float64]
        Of the softmax, in bits.
    flops : np.ndarray [shape=(n,), int64]
    ponder_cost : np.ndarray [shape=(n, blocks), float64]
        Of each block, in units, averaged over positions; no block where nothing halts.
    edges, colours : np.ndarray [shape=(n,), float64]
        Of the pixels that the network sees, see `sact_core.measures.busy`.
    dense : np.ndarray [shape=(n,), int64]
        FLOPs if every unit ran everywhere.
    about : dict
        What was run on what, as plain JSON values; not of the arrays.
    """

    names: np.ndarray
    indices: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray
    confidence: np.ndarray
    entropy: np.ndarray
    flops: np.ndarray
    ponder_cost: np.ndarray
    edges: np.ndarray
    colours: np.ndarray
    dense: np.ndarray
    about: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def right(self) -> np.ndarray:
        """Where the prediction is the label [shape=(n,), bool]."""
        right: np.ndarray = self.labels == self.predictions
        return right

    @property
    def halts(self) -> bool:
        """Whether the network halts, so that there is a ponder cost."""
        return bool(self.ponder_cost.shape[1])


_ARRAYS = [each.name for each in fields(Pass) if each.name != "about"]


def run_pass(
    net: Net,
    source: Source,
    num_examples: int | None = None,
    change: Callable[[np.ndarray, int], np.ndarray] | None = None,
    done: Callable[[int], object] = lambda count: None,
) -> Pass:
    """Run a network over a split.

    Parameters
    ----------
    net : Net
        On any backend, at its own tau.
    source : Source
        The images and their labels.
    num_examples : int, optional
        Only the first so many.
    change : callable, optional
        Given the pixels that the network sees [shape=(H, W, 3), uint8] and the image's index,
        gives those that it is shown in their place, of the same size.
    done : callable
        Told how many more images are done.

    Raises
    ------
    ValueError
        If the classes do not fit, the split is empty or no image of it can be read, or an
        image cannot be run.
    """
    from sact_core.backends.stacking import stacked
    from sact_core.flops import dense_flops
    from sact_core.preprocess import normalise

    numbers = class_numbers(
        net.class_names, net.config.num_classes, source.class_names, source.name
    )
    total = len(source) if num_examples is None else min(num_examples, len(source))
    if not total:
        raise ValueError(f"{source.name} {source.split} has no examples")
    left_out, parts = Unreadable(), []

    def made() -> Iterator[tuple[np.ndarray, Tag]]:
        for place, (image, label, name) in enumerate(source.readable(range(total), left_out)):
            seen, index = net.see(image), place + len(left_out)
            x, pixels = seen.x, seen.pixels
            if change is not None:
                pixels = change(pixels, index)
                x = normalise(pixels, net.preprocessing.kind)[None]
            busy = edge_density(pixels), colourfulness(pixels)
            yield x, (index, int(numbers[label]), name, busy)

    for x, tags in stacked(made(), net.plan, BATCH):
        result = net.forward(x)
        dense = int(dense_flops(net.plan, result.input_size).total[0])
        parts.append(summed_up(result, tags, dense))
        done(len(tags))
    if not parts:
        raise ValueError(left_out.line(total))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in _ARRAYS}
    order = np.argsort(joined["indices"], kind="stable")
    about = about_pass(net, source, total) | {"skipped": left_out.record()}
    return Pass(**{name: values[order] for name, values in joined.items()}, about=about)


def about_pass(net: Net, source: Source, num_examples: int) -> dict[str, Any]:
    """What tells a pass from others, but for the network's hash, as plain JSON values."""
    return {
        "network": net.config.name,
        "halting": net.config.halting,
        "tau": net.tau,
        "backend": net.backend,
        "precision": net.precision,
        "image_size": net.preprocessing.image_size,
        "fit": net.preprocessing.fit,
        "images": num_examples,
        **source.identity,
    }


def kept_pass(
    folder: Path | None, key: dict[str, Any], make: Callable[[], Pass], stem: str
) -> Pass:
    """Give the pass of a key that a folder holds; make it, and keep it there, if it does not.

    Parameters
    ----------
    folder : Path, optional
        Where passes are kept; nowhere where left out.
    key : dict
        What tells the pass from others, as plain JSON values.
    make : callable
        Runs the network.
    stem : str
        How the file's name begins.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    if folder is None:
        return _keyed(make(), key)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"{stem}-{digest}.npz"
    found = _read(path, key)
    if found is None:
        found = _keyed(make(), key)
        _write(path, found)
    return found


def _keyed(one: Pass, key: dict[str, Any]) -> Pass:
    """The same pass, which knows its key too."""
    return replace(one, about=one.about | key)


def _write(path: Path, one: Pass) -> None:
    arrays = {name: getattr(one, name) for name in _ARRAYS}
    with written_beside(path) as beside, open(beside, "wb") as file:
        np.savez_compressed(file, about=np.array(json.dumps(one.about)), **arrays)


def _read(path: Path, key: dict[str, Any]) -> Pass | None:
    """The pass in a file, if it is there, whole and of this key."""
    try:
        require_ordinary(path)
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            arrays = {name: file[name] for name in _ARRAYS}
    except Exception:  # of a damaged file NumPy raises whatever its parsers do
        return None
    if not isinstance(about, dict):
        return None
    whole = len({len(values) for values in arrays.values()}) == 1
    if not whole or any(about.get(name) != value for name, value in key.items()):
        return None
    return Pass(**arrays, about=about)


def summed_up(result: Result, tags: Sequence[Tag], dense: int) -> dict[str, np.ndarray]:
    """Give the arrays of a `Pass`, by name, of a batch.

    Parameters
    ----------
    result : Result
        What the network did with it.
    tags : sequence of Tag
        Of its images.
    dense : int
        FLOPs of one if every unit ran everywhere.
    """
    n = len(tags)
    indices, labels, names, busy = zip(*tags, strict=True)
    shares = result.probabilities.astype(np.float64)
    bits = -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(1)
    costs = [
        b.ponder_cost.reshape(n, -1).mean(1) for b in result.blocks if b.ponder_cost is not None
    ]
    edges, colours = np.array(busy).T
    return {
        "names": np.array(names, np.str_),
        "indices": np.array(indices, np.int64),
        "labels": np.array(labels, np.int64),
        "predictions": result.logits.argmax(1).astype(np.int64),
        "confidence": shares.max(1),
        "entropy": bits,
        "flops": result.flops.astype(np.int64),
        "ponder_cost": np.stack(costs, 1).astype(np.float64) if costs else np.zeros((n, 0)),
        "edges": edges,
        "colours": colours,
        "dense": np.full(n, dense, np.int64),
    }
