"""What pages hand round; no Streamlit.

A `Look` is one network that looks at one image in one way: every loader takes it,
and what is kept is kept by its key. A `Run` is what came of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from app.texts import short
from sact_core.checkpoint import Header
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.flops import FlopCount
from sact_core.network import Plan
from sact_core.plans import build_plan
from sact_core.preprocess import Seen, fitted_size
from sact_core.result import Result


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
        Content hash; nothing is kept by it before it has been verified.
    source : Path or bytes
        The file, or its contents where it was uploaded.
    data_folder : Path, optional
        Folder of class folders that it is tested on in place of its own data set.
    """

    name: str
    header: Header
    digest: str
    source: Path | bytes = field(repr=False)
    data_folder: Path | None = None

    @property
    def key(self) -> str:
        """Tells networks apart: by content, and by scales for int8, which the digest leaves out."""
        scales = self.header.scales_hash
        return f"{self.digest} {scales}" if scales else self.digest

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
        """Price of a unit in training, where the checkpoint says; of any tau the usual one."""
        value = self.header.provenance.get("tau")
        return float(value) if isinstance(value, int | float) else self.config.tau_default

    @property
    def tau_range(self) -> tuple[float, float] | None:
        """Prices that a network serves that takes any; None where it was trained for one."""
        low, high = self.config.tau_low, self.config.tau_high
        return None if low is None or high is None else (low, high)

    def class_name(self, index: int) -> str:
        """Name of a class, or its number."""
        names = self.header.class_names
        return (pretty_class(names[index]) if index < len(names) else "") or f"class {index}"


def pretty_class(name: str) -> str:
    """A class as people write it: ``car_side`` without the line, one name of several."""
    return short(name.replace("_", " ").split(",")[0].strip() or name)


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


@dataclass(frozen=True, eq=False)
class Look:
    """A network that looks at an image.

    Attributes
    ----------
    model, picture : Model, Picture
        What looks at what.
    image_size : int, optional
        Side of the network's input; the checkpoint's own where left out.
    fit : str, optional
        ``"crop"``, ``"square"`` or ``"keep"``; the checkpoint's own where left out.
    tau : float, optional
        Price of a unit, where the network takes any; its default where left out.
    """

    model: Model
    picture: Picture
    image_size: int | None = None
    fit: str | None = None
    tau: float | None = None

    @property
    def key(self) -> tuple[str, str, int | None, str | None, float | None]:
        """Tells looks apart."""
        return self.model.key, self.picture.digest, self.image_size, self.fit, self.tau

    @property
    def preprocessing(self) -> Preprocessing:
        """The checkpoint's, with another size or fit where asked for.

        Raises
        ------
        ValueError
            If they are out of range.
        """
        own = self.model.header.preprocessing
        return replace(own, image_size=self.image_size or own.image_size, fit=self.fit or own.fit)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's input.

        Raises
        ------
        ValueError
            As `preprocessing`.
        """
        height, width = self.picture.pixels.shape[:2]
        return fitted_size((height, width), self.preprocessing, self.model.plan.divisor)


@dataclass(frozen=True, eq=False)
class Run:
    """What came of a look.

    Attributes
    ----------
    result : Result
        With ``n = 1``.
    seen : Seen
        The image as the network saw it.
    seconds : float
        How long the network alone took, warm.
    backend : str
        What ran it.
    executed, dense : FlopCount
        FLOPs of this image, and of an image of which every position runs every
        unit of this network.
    """

    result: Result
    seen: Seen
    seconds: float
    backend: str
    executed: FlopCount
    dense: FlopCount


@dataclass(frozen=True)
class Row:
    """What a network did with one photograph of many.

    Attributes
    ----------
    says, sure : str, float
        The most likely class, and its probability.
    flops, dense : int
        Of the photograph, and if every position ran every unit.
    seconds : float
        That the network took, warm.
    size : tuple of int
        Height and width of the network's input.
    backend, precision : str
        What ran it.
    """

    says: str
    sure: float
    flops: int
    dense: int
    seconds: float
    size: tuple[int, int]
    backend: str
    precision: str

    @property
    def share(self) -> float:
        """FLOPs over those of dense."""
        return self.flops / self.dense
