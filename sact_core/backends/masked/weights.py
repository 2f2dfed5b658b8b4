"""Numbers of a network as the kernels read them, all in one array.

Batch normalisations become a scale and a shift; those after a convolution are folded
into it. Channels are padded with zeros to a multiple of 16, weights laid out by panels of
output channels, ``[panel][tap][in][channel]``.

Of a convolution of bytes, what it reads is normalised in steps of its scale, and its sums
become steps of what reads them, or float32, by one multiplier a channel. A byte is above
what it stands for by the zero of its map; what that adds to every sum is taken off the
bias, and so is what rounding the weights adds on the average.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from sact_core.backends.masked.kernels import layout as at
from sact_core.backends.masked.kernels.cpu import WIDE
from sact_core.backends.masked.programs import padded
from sact_core.network import BatchNorm, Conv
from sact_core.quantisation import MAX_PRODUCTS, MOST, Quantisation, quantise_weight


class Weights:
    """Hands out room for arrays, and fills it when all are known.

    Nothing is copied before `joined`, so that packing takes no more memory than
    the packed weights.
    """

    def __init__(
        self, params: Mapping[str, np.ndarray], kind: int, scales: Quantisation | None
    ) -> None:
        self.params, self.kind, self.scales = params, kind, scales
        self.size = 0
        self.where: dict[str, int] = {}
        self._fillers: list[tuple[int, Callable[[], np.ndarray]]] = []

    def add(self, count: int, make: Callable[[], np.ndarray]) -> int:
        """Keep room for ``count`` numbers, made later; give where they begin."""
        begin = self.size
        self._fillers.append((begin, make))
        self.size += padded(count)
        return begin

    def number(self, value: float | np.float32) -> int:
        """Store one number."""
        return self.add(1, lambda: np.float32(value).reshape(1))

    def param(self, name: str) -> int:
        """Store a parameter as it is."""
        values = np.asarray(self.params[name], np.float32).reshape(-1)
        return self.add(len(values), lambda: values)

    def norm(self, bn: BatchNorm) -> int:
        """Store a batch normalisation: its scales, its shifts, slope and cap."""
        scale, shift = self.scale_and_shift(bn)
        self.where[bn.name] = begin = self.add(bn.channels, lambda: scale)
        self.add(bn.channels, lambda: shift)
        self.activation(bn)
        return begin

    def nothing(self, channels: int) -> int:
        """Store a batch normalisation that does nothing."""
        begin = self.add(channels, lambda: np.ones(channels, np.float32))
        self.add(channels, lambda: np.zeros(channels, np.float32))
        self.activation(None)
        return begin

    def activation(self, bn: BatchNorm | None) -> int:
        """Store slope and cap of what follows a batch normalisation; no activation for None."""
        slope, cap = (1.0, math.inf) if bn is None else (bn.slope, bn.cap)
        return self.add(3, lambda: np.array([slope, cap, 0], np.float32))

    def activation_in_steps(self, bn: BatchNorm | None, reader: str) -> None:
        """The same in steps of what a convolution reads, no further than its bytes go."""
        scale, zero = self.input_of(reader)
        slope, cap = (1.0, math.inf) if bn is None else (bn.slope, bn.cap)
        most = min(cap / scale, MOST - zero)
        self.add(3, lambda: np.array([slope, most, -zero], np.float32))

    def input_of(self, name: str) -> tuple[float, int]:
        """Scale and zero of what a convolution reads."""
        assert self.scales is not None
        return self.scales.inputs[name]

    def input_in_steps(self, conv: Conv, bn: BatchNorm | None) -> None:
        """Store what makes bytes of a convolution's input, normalised before if by ``bn``."""
        channels, (step, _) = conv.in_channels, self.input_of(conv.name)
        scale, shift = np.ones(channels), np.zeros(channels)
        if bn is not None:
            scale, shift = (each.astype(np.float64) for each in self.scale_and_shift(bn))
        name, parts = f"{conv.name}/input", self.finite(conv, scale / step, shift / step)
        self.where[name] = self.add(channels, lambda: parts[0])
        self.add(channels, lambda: parts[1])
        self.activation_in_steps(bn, conv.name)

    def finite(self, conv: Conv, *parts: np.ndarray) -> list[np.ndarray]:
        """Numbers as float32.

        Raises
        ------
        ValueError
            If one is NaN or infinite: a byte could not tell.
        """
        found = [part.astype(np.float32) for part in parts]
        if not all(np.isfinite(part).all() for part in found):
            raise ValueError(
                f"the weights of {conv.name} or of what is before it overflow in int8: choose "
                f"another precision"
            )
        return found

    def conv_in_steps(self, conv: Conv, reader: Conv | None) -> None:
        """Store a convolution of bytes, its batch normalisation folded in.

        ``reader`` is the convolution that reads its bytes; None where it makes float32.
        """
        assert self.scales is not None
        weight = np.asarray(self.params[f"{conv.name}/weight"], np.float32)
        if math.prod(weight.shape[:3]) > MAX_PRODUCTS:
            raise ValueError(
                f"{conv.name} adds {math.prod(weight.shape[:3]):,} products, more than the "
                f"{MAX_PRODUCTS:,} that a 32-bit sum has room for: choose another precision"
            )
        scale, zero = self.input_of(conv.name)
        channel_scales = self.scales.weights[conv.name]
        multiplier = scale * channel_scales.astype(np.float64)
        bias = np.zeros(conv.out_channels)
        if conv.bias:
            bias = np.asarray(self.params[f"{conv.name}/bias"], np.float64)
        bias = bias - self.scales.shifts.get(conv.name, 0)
        if conv.bn is not None:
            gain, shift = (each.astype(np.float64) for each in self.scale_and_shift(conv.bn))
            multiplier, bias = multiplier * gain, bias * gain + shift
        levels = quantise_weight(weight, channel_scales)
        bias = bias - multiplier * zero * levels.sum(axis=(0, 1, 2), dtype=np.int64)
        if reader is not None:
            step = self.input_of(reader.name)[0]
            multiplier, bias = multiplier / step, bias / step
        sums = self.finite(conv, multiplier, bias)
        keep = self.panels if conv.groups == 1 else self.by_channel
        self.where[f"{conv.name}/weight"] = keep(
            weight.shape, lambda: quantise_weight(weight, channel_scales), kind=at.BYTES
        )
        self.where[f"{conv.name}/bias"] = self.add(len(bias), lambda: sums[1])
        if reader is None:
            self.activation(conv.bn)
        else:
            self.activation_in_steps(conv.bn, reader.name)
        self.where[f"{conv.name}/multipliers"] = self.add(len(bias), lambda: sums[0])

    def conv(self, conv: Conv, pad_input: bool = True, kind: int = at.FLOATS) -> tuple[int, int]:
        """Store a convolution, its batch normalisation folded in.

        Rounded, where ``kind`` says so, when that is done. Gives where its weights begin,
        and where its biases, which slope and cap follow.
        """
        weight = np.asarray(self.params[f"{conv.name}/weight"], np.float32)
        scale, bias = np.ones(1, np.float32), np.zeros(weight.shape[3], np.float32)
        if conv.bias:
            bias = np.asarray(self.params[f"{conv.name}/bias"], np.float32)
        if conv.bn is not None:
            scale, shift = self.scale_and_shift(conv.bn)
            bias = bias * scale + shift
        if conv.groups > 1:  # as they are: every channel by itself
            begin = self.by_channel(weight.shape, lambda: weight * scale)
        else:
            begin = self.panels(weight.shape, lambda: weight * scale, pad_input, kind)
        self.where[f"{conv.name}/weight"] = begin
        self.where[f"{conv.name}/bias"] = biases = self.add(len(bias), lambda: bias)
        self.activation(conv.bn)
        return begin, biases

    def panels(
        self,
        shape: tuple[int, ...],
        make: Callable[[], np.ndarray],
        pad_input: bool = True,
        kind: int = at.FLOATS,
    ) -> int:
        """Store weights [height, width, in, out] panel by panel."""
        height, width, cin, cout = shape
        more = padded(cin) - cin if pad_input else 0

        def fill() -> np.ndarray:
            pads = ((0, 0), (0, 0), (0, more), (0, padded(cout) - cout))
            rows = np.pad(make(), pads).reshape(-1, padded(cout))
            cuts = range(0, padded(cout), WIDE)
            panels: Iterable[np.ndarray] = (rows[:, c : c + WIDE] for c in cuts)
            if kind == at.HALVES:
                panels = map(in_pairs, panels)  # one by one: rounding takes room
            elif kind == at.BYTES:
                panels = map(in_fours, panels)
            return np.concatenate([panel.reshape(-1) for panel in panels])

        together = 1 << kind  # numbers that a float has room for
        count = height * width * (cin + more) * padded(cout) // together
        return self.add(count, fill) * together

    def by_channel(
        self, shape: tuple[int, ...], make: Callable[[], np.ndarray], kind: int = at.FLOATS
    ) -> int:
        """Store weights [height, width, 1, channel] of a depthwise convolution."""
        together = 1 << kind  # taps of a channel that lie side by side
        taps, channels = math.prod(shape[:2]), padded(shape[3])
        more = -taps % together

        def fill() -> np.ndarray:
            pads = ((0, more), (0, channels - shape[3]))
            rows = np.pad(make().reshape(taps, -1), pads)
            return (in_fours(rows) if kind == at.BYTES else rows).reshape(-1)

        return self.add((taps + more) * channels // together, fill) * together

    def scale_and_shift(self, bn: BatchNorm) -> tuple[np.ndarray, np.ndarray]:
        """A batch normalisation as one product and one sum."""
        gamma, beta, mean, variance = (
            np.asarray(self.params[f"{bn.name}/{part}"], np.float64)
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma / np.sqrt(variance + bn.eps)
        return scale.astype(np.float32), (beta - mean * scale).astype(np.float32)

    def joined(self) -> np.ndarray:
        """All in one array."""
        weights = aligned(self.size, np.float32)
        for begin, make in self._fillers:
            values = make()
            weights[begin : begin + len(values)] = values
        return weights


def in_pairs(rows: np.ndarray) -> np.ndarray:
    """Rows of weights in bfloat16, every two of them in one.

    Parameters
    ----------
    rows : np.ndarray [shape=(2 n, channels), float32]
        Rounded to the nearest, ties to even; what is subnormal counts as zero.

    Returns
    -------
    np.ndarray [shape=(n, channels), float32]
        Bits, no numbers: the upper half is of the second row.
    """
    bits = np.ascontiguousarray(rows, np.float32).view(np.uint32)
    size = bits & 0x7FFFFFFF
    near = bits + 0x7FFF + (bits >> 16 & 1) & 0xFFFF0000
    near = np.where(size > 0x7F800000, (bits | 0x400000) & 0xFFFF0000, near)  # a NaN stays one
    near = np.where(size < 0x800000, bits & 0x80000000, near)
    words: np.ndarray = near[1::2] | near[::2] >> 16
    return words.view(np.float32)


def in_fours(rows: np.ndarray) -> np.ndarray:
    """Rows of weights in bytes, every four of them in one.

    Parameters
    ----------
    rows : np.ndarray [shape=(4 n, channels), int8]

    Returns
    -------
    np.ndarray [shape=(n, channels), float32]
        Bits, no numbers: the lowest byte is of the first row.
    """
    fours = rows.reshape(-1, 4, rows.shape[1]).swapaxes(1, 2)
    words: np.ndarray = np.ascontiguousarray(fours).view(np.float32)[..., 0]
    return words


def narrow_of(floats: np.ndarray, kind: int) -> np.ndarray | None:
    """The same memory as bfloat16, [uint16], or bytes, [uint8]; None where neither is asked."""
    return None if kind == at.FLOATS else floats.view({at.HALVES: np.uint16}.get(kind, np.uint8))


def aligned(size: int, dtype: type) -> np.ndarray:
    """Zeros that begin at a cache line."""
    item = np.dtype(dtype).itemsize
    room: np.ndarray = np.zeros(size + 64 // item, dtype)
    begin = -room.ctypes.data % 64 // item
    return room[begin : begin + size]
