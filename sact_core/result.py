"""What a network did with a batch: the one result that every backend gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class BlockResult:
    """What one block did. The halting fields are None in a vanilla network.

    Attributes
    ----------
    name : str
        ``block1`` and so on.
    flops : np.ndarray [shape=(n,), int64]
        FLOPs that each image needed.
    ponder_cost : np.ndarray [shape=(n, h, w), float32]
        ``num_units + remainder``, in units. ACT: [shape=(n,)].
    num_units : np.ndarray [shape=(n, h, w), int32]
        Units run at each position. ACT: [shape=(n,)].
    halting_distribution : np.ndarray [shape=(n, h, w, units), float32]
        Weight of each unit's output. ACT: [shape=(n, units)].
    halting_proba : np.ndarray [shape=(n, h, w, units - 1), float32]
        Probability read after each unit, NaN where the position had stopped
        before it. ACT: [shape=(n, units - 1)].
    size : tuple of int
        Height and width of the block's maps.
    output : np.ndarray [shape=(n, h, w, channels), float32], optional
        The block's output, where it was asked for.
    seconds : tuple of float, optional
        Time of each unit for the whole batch, where it was asked for.
    """

    name: str
    flops: np.ndarray
    size: tuple[int, int]
    ponder_cost: np.ndarray | None = None
    num_units: np.ndarray | None = None
    halting_distribution: np.ndarray | None = None
    halting_proba: np.ndarray | None = None
    output: np.ndarray | None = None
    seconds: tuple[float, ...] | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """What a network did with a batch.

    Attributes
    ----------
    logits : np.ndarray [shape=(n, classes), float32]
        Output before the softmax.
    flops : np.ndarray [shape=(n,), int64]
        FLOPs that each image needed: two per multiply-add, convolutions only.
    blocks : tuple of BlockResult
        One per block.
    positions : dict of str to np.ndarray [shape=(n,), int64]
        Output positions computed by each convolution, by its name; what the
        FLOPs are counted from.
    input_size : tuple of int
        Height and width of the input.
    taus : np.ndarray [shape=(n,), float64], optional
        The price of a unit that each image was run at, in a network conditioned on it.
    precision : str
        What its convolutions multiplied, one of `sact_core.backends.precision.PRECISIONS`.
    """

    logits: np.ndarray
    flops: np.ndarray
    blocks: tuple[BlockResult, ...]
    positions: dict[str, np.ndarray]
    input_size: tuple[int, int]
    taus: np.ndarray | None = None
    precision: str = "float32"

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits [shape=(n, classes), float32]."""
        with np.errstate(over="ignore"):  # minus infinity below the largest is a share of 0
            exp = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        shares: np.ndarray = exp / exp.sum(axis=1, keepdims=True)
        return shares

    def map(self, metric: str = "ponder_cost") -> np.ndarray:
        """Sum the blocks' maps at the input's resolution.

        Each block's map is enlarged by nearest neighbour, source index
        ``floor(i * h / H)``, as in the authors' ``sact_map``. An ACT network
        gives the same value at every position of an image.

        Parameters
        ----------
        metric : str
            ``"ponder_cost"`` or ``"num_units"``.

        Returns
        -------
        np.ndarray [shape=(n, H, W), float32]
            In units, summed over the blocks.

        Raises
        ------
        ValueError
            If the metric is unknown or the network is vanilla.
        """
        if metric not in ("ponder_cost", "num_units"):
            raise ValueError(f"metric must be ponder_cost or num_units, got {metric!r}")
        height, width = self.input_size
        total = np.zeros((len(self.logits), height, width), np.float32)
        for block in self.blocks:
            values = getattr(block, metric)
            if values is None:
                raise ValueError(
                    "a vanilla network has no ponder map: every position runs every unit"
                )
            if values.ndim == 1:
                values = values[:, None, None]
            rows = np.arange(height) * values.shape[1] // height
            columns = np.arange(width) * values.shape[2] // width
            total += values[:, rows][:, :, columns]
        return total
