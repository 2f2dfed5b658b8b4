"""A plan and its parameters as the flat arrays and tables that the kernels read.

Batch normalisations become a scale and a shift; those after a convolution are
folded into it. Channels are padded with zeros to a multiple of 16, weights laid
out by panels of output channels, ``[panel][tap][in][channel]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from sact_core.backends.masked.kernels import layout as at
from sact_core.backends.masked.kernels.cpu import LANES, MARKS_AT_ONCE, TILE_ROWS, WIDE
from sact_core.backends.masked.scope import check_scope
from sact_core.halting import halting_threshold
from sact_core.network import BatchNorm, Conv, Plan, Unit

KINDS = {"none": at.NONE, "act": at.ACT, "sact": at.SACT}
SHORTCUTS = {"identity": at.IDENTITY, "preact": at.PREACT, "pool": at.POOL}


@dataclass(frozen=True)
class Packed:
    """A network without an input size.

    Attributes
    ----------
    weights : np.ndarray [float32]
        All numbers, at multiples of 16.
    net : np.ndarray [shape=(NUM_FACTS,), int64]
        Facts of the network; those that hang on the input's size are still 0.
    units : np.ndarray [shape=(units, NUM_UNIT_FACTS), int64]
        Facts of the units.
    """

    weights: np.ndarray
    net: np.ndarray
    units: np.ndarray


class _Weights:
    """Hands out room for arrays, and fills it when all are known.

    Nothing is copied before `joined`, so that packing takes no more memory than
    the packed weights.
    """

    def __init__(self, params: Mapping[str, np.ndarray]) -> None:
        self.params = params
        self.size = 0
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
        """Store a batch normalisation: its scales, then its shifts."""
        scale, shift = self.scale_and_shift(bn)
        begin = self.add(bn.channels, lambda: scale)
        self.add(bn.channels, lambda: shift)
        return begin

    def conv(self, conv: Conv, pad_input: bool = True) -> tuple[int, int]:
        """Store a convolution, its batch normalisation folded in; give weight and bias."""
        weight = np.asarray(self.params[f"{conv.name}/weight"], np.float32)
        scale, bias = np.ones(1, np.float32), np.zeros(weight.shape[3], np.float32)
        if conv.bias:
            bias = np.asarray(self.params[f"{conv.name}/bias"], np.float32)
        if conv.bn is not None:
            scale, shift = self.scale_and_shift(conv.bn)
            bias = bias * scale + shift
        begin = self.panels(weight.shape, lambda: weight * scale, pad_input)
        return begin, self.add(len(bias), lambda: bias)

    def panels(
        self, shape: tuple[int, ...], make: Callable[[], np.ndarray], pad_input: bool = True
    ) -> int:
        """Store weights [height, width, in, out] panel by panel."""
        height, width, cin, cout = shape
        more = padded(cin) - cin if pad_input else 0

        def fill() -> np.ndarray:
            pads = ((0, 0), (0, 0), (0, more), (0, padded(cout) - cout))
            rows = np.pad(make(), pads).reshape(-1, padded(cout))
            cuts = range(0, padded(cout), WIDE)
            return np.concatenate([rows[:, c : c + WIDE].reshape(-1) for c in cuts])

        return self.add(height * width * (cin + more) * padded(cout), fill)

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


def pack(plan: Plan, params: Mapping[str, np.ndarray]) -> Packed:
    """Lay a network out for the kernels.

    Parameters
    ----------
    plan : Plan
        The network.
    params : mapping of str to np.ndarray [float32]
        Every parameter of ``plan.param_shapes``.

    Raises
    ------
    ValueError
        If the network has a part that the engine does not compute.
    """
    check_scope(plan)
    assert plan.postnorm is not None
    weights = _Weights(params)
    net = np.zeros(at.NUM_FACTS, np.int64)
    net[at.BOTTLENECK] = len(plan.units[0].convs) == 3
    net[at.KIND] = KINDS[plan.config.halting]
    net[at.MEAN_FIRST] = plan.head_first == "mean"
    net[at.CLASSES] = padded(plan.config.num_classes)
    net[at.THRESHOLD_AT] = weights.number(halting_threshold(plan.config.eps))
    widest = padded(max(unit.out_channels for unit in plan.units))
    net[at.ONES_AT] = weights.add(widest, lambda: np.ones(widest, np.float32))
    net[at.ZEROS_AT] = weights.add(widest, lambda: np.zeros(widest, np.float32))
    net[at.STEM_COUT] = padded(plan.stem.weight_shape[3])
    net[at.STEM_W], net[at.STEM_B] = weights.conv(plan.stem, pad_input=False)
    units = np.zeros((len(plan.units), at.NUM_UNIT_FACTS), np.int64)
    rows = iter(units)
    for b, block in enumerate(plan.blocks):
        for index, unit in enumerate(block.units):
            row = next(rows)
            row[at.U_BLOCK], row[at.U_INDEX] = b, index
            _pack_unit(weights, unit, row)
            _pack_halting(weights, unit, row)
    net[at.POSTNORM_AT] = weights.norm(plan.postnorm)
    net[at.POSTNORM_SLOPE_AT] = weights.number(plan.postnorm.slope)
    net[at.LOGITS_W], net[at.LOGITS_B] = weights.conv(plan.logits)
    return Packed(weights.joined(), net, units)


def _pack_unit(weights: _Weights, unit: Unit, row: np.ndarray) -> None:
    row[at.U_STRIDE] = unit.stride
    row[at.U_CIN], row[at.U_COUT] = padded(unit.in_channels), padded(unit.out_channels)
    row[at.U_MID] = padded(unit.convs[0].weight_shape[3])
    assert unit.preact is not None
    row[at.U_PREACT_AT] = weights.norm(unit.preact)
    row[at.U_PREACT_SLOPE_AT] = weights.number(unit.preact.slope)
    row[at.U_W1], row[at.U_B1] = weights.conv(unit.convs[0])
    row[at.U_W2], row[at.U_B2] = weights.conv(unit.convs[1])
    if len(unit.convs) > 2:
        row[at.U_W3], row[at.U_B3] = weights.conv(unit.convs[2])
    for conv, slope in zip(unit.convs, (at.U_SLOPE1_AT, at.U_SLOPE2_AT), strict=False):
        row[slope] = weights.number(conv.bn.slope if conv.bn is not None else 1.0)
    # Rows before the first position that the 3x3 reads; sides are even in "same" strides.
    row[at.U_PAD] = next(c for c in unit.convs if c.weight_shape[0] == 3).pads((4, 4))[0][0]
    if isinstance(unit.shortcut, Conv):
        row[at.U_SHORTCUT] = at.CONV
        row[at.U_SHORTCUT_W], row[at.U_SHORTCUT_B] = weights.conv(unit.shortcut)
    else:
        assert unit.shortcut is not None
        row[at.U_SHORTCUT] = SHORTCUTS[unit.shortcut]
    row[at.U_FRONT] = (unit.out_channels - unit.in_channels) // 2


def _pack_halting(weights: _Weights, unit: Unit, row: np.ndarray) -> None:
    branch = unit.halting
    if branch is None:
        return
    row[at.U_HALTS] = 1
    row[at.U_GLOBAL_AT] = weights.norm(branch.global_bn)
    row[at.U_GLOBAL_SLOPE_AT] = weights.number(branch.global_bn.slope)
    row[at.U_GLOBAL_W] = weights.param(f"{branch.global_conv.name}/weight")
    biased = branch.local_conv or branch.global_conv
    row[at.U_BIAS_AT] = weights.param(f"{biased.name}/bias")
    if branch.local_conv is None or branch.local_bn is None:
        return
    height, width, channels, _ = branch.local_conv.weight_shape
    row[at.U_LOCAL_TAPS] = height * width
    row[at.U_LOCAL_AT] = weights.norm(branch.local_bn)
    row[at.U_LOCAL_SLOPE_AT] = weights.number(branch.local_bn.slope)
    taps = np.asarray(weights.params[f"{branch.local_conv.name}/weight"], np.float32)
    # [height, width, channels, 1] to a 1x1 convolution with a column for each tap
    columns = taps.reshape(1, 1, height * width, channels).transpose(0, 1, 3, 2)
    row[at.U_LOCAL_W] = weights.panels(columns.shape, lambda: columns)


@dataclass(frozen=True)
class Sizes:
    """A network for one size of input.

    Attributes
    ----------
    net : np.ndarray [shape=(NUM_FACTS,), int64]
        Facts, complete.
    blocks : np.ndarray [shape=(blocks, NUM_BLOCK_FACTS), int64]
        Facts of the blocks; where their results begin is still 0.
    floats, totals, places, marks, scratch : int
        Elements of a team's, and of a thread's, arrays.
    """

    net: np.ndarray
    blocks: np.ndarray
    floats: int
    totals: int
    places: int
    marks: int
    scratch: int


def lay_out(plan: Plan, packed: Packed, size: tuple[int, int]) -> Sizes:
    """Find out how much memory an input size takes, and what lies where.

    Parameters
    ----------
    plan : Plan
        The network.
    packed : Packed
        The same, packed.
    size : tuple of int
        Height and width of the input.
    """
    net, units = packed.net.copy(), packed.units
    stem = plan.stem.output_size(size)
    here = (-(-stem[0] // 2), -(-stem[1] // 2)) if plan.pool else stem
    net[[at.HEIGHT, at.WIDTH, at.STEM_HEIGHT, at.STEM_WIDTH]] = [*size, *stem]
    blocks = np.zeros((len(plan.blocks), at.NUM_BLOCK_FACTS), np.int64)
    firsts = [units[units[:, at.U_BLOCK] == b][0] for b in range(len(blocks))]
    for block, out, plan_block in zip(blocks, plan.block_sizes(size), plan.blocks, strict=True):
        block[[at.B_HEIGHT, at.B_WIDTH, at.B_IN_HEIGHT, at.B_IN_WIDTH]] = [*out, *here]
        block[at.B_UNITS] = len(plan_block.units)
        block[at.B_COUT] = padded(plan_block.units[-1].out_channels)
        block[at.B_PLACES] = (out[0] + 2) * (out[1] + 2)
        here = out
    inside = blocks[:, at.B_HEIGHT] * blocks[:, at.B_WIDTH]
    ins = blocks[:, at.B_IN_HEIGHT] * blocks[:, at.B_IN_WIDTH]
    places = blocks[:, at.B_PLACES]
    in_places = (blocks[:, at.B_IN_HEIGHT] + 2) * (blocks[:, at.B_IN_WIDTH] + 2)
    cin, mid = (np.array([first[i] for first in firsts]) for i in (at.U_CIN, at.U_MID))
    cout = blocks[:, at.B_COUT]
    bottleneck, sact = bool(net[at.BOTTLENECK]), net[at.KIND] == at.SACT
    border = 3 if bottleneck else 1

    floats = _Offsets()
    net[at.IMAGE_AT] = floats.add((size[0] + 2 * border) * (size[1] + 2 * border) * 3)
    _share_maps(blocks, floats, in_places * cin, places * cout, net[at.KIND] == at.NONE)
    if bottleneck:
        net[at.MID1_AT] = floats.add((np.maximum(places, in_places) * mid).max())
        net[at.MID2_AT] = floats.add(((inside + TILE_ROWS) * mid).max())
    else:
        net[at.PREACT_AT] = floats.add(np.maximum(in_places * cin, places * cout).max())
        net[at.MID1_AT] = floats.add((places * mid).max())
    net[at.SUMS_AT] = floats.add((-(-inside // at.CHUNK) * cout).max())
    if sact:
        net[at.LOCAL_AT] = floats.add(places.max() * 16)
    if net[at.KIND] != at.NONE:
        net[at.LEFT_AT], net[at.CUMSUM_AT] = floats.add(places.max()), floats.add(places.max())
    net[at.GLOBAL_AT] = floats.add(1)
    net[at.FEATURES_AT] = floats.add(cout[-1])

    lists, longest = _Offsets(), int(max(inside.max(), ins.max()))
    for name in (at.ACTIVE_LIST, at.GROWN_LIST, at.WIDER_LIST, at.SOURCE_LIST):
        net[name] = lists.add(longest + TILE_ROWS)
    net[at.IOTA_LIST] = lists.add(max(at.CHUNK, stem[1]) + TILE_ROWS)
    net[at.NULL_LIST] = lists.add(TILE_ROWS)
    marks = _Offsets()
    marks.add(places.max() + MARKS_AT_ONCE)
    for name in (at.GROWN_MARKS, at.WIDER_MARKS, at.SPARE_MARKS):
        net[name] = marks.add(places.max() + MARKS_AT_ONCE)

    scratch = (at.CHUNK + TILE_ROWS) * int(max(cin.max(), cout.max()) + 16)
    if bottleneck:
        stem_rows = (2 * at.POOL_ROWS + 1) * stem[1] * int(net[at.STEM_COUT])
        scratch = max(scratch, stem_rows)
    scratch += WIDE  # for the plain loops
    return Sizes(net, blocks, floats.size, int(cout.max()), lists.size, marks.size, scratch)


def _share_maps(
    blocks: np.ndarray, floats: _Offsets, inputs: np.ndarray, outputs: np.ndarray, vanilla: bool
) -> None:
    """Give every block room for its input, state and output.

    A block's output is the next one's input, so two regions take turns; a
    vanilla block's output is its state.
    """
    sizes = [0, 0]
    for b in range(len(blocks)):
        sizes[b % 2] = max(sizes[b % 2], int(inputs[b]))
        sizes[(b + 1) % 2] = max(sizes[(b + 1) % 2], int(outputs[b]))
    turns = [floats.add(size) for size in sizes]
    state = 0 if vanilla else floats.add(outputs.max())
    for b, block in enumerate(blocks):
        block[at.B_IN_AT], block[at.B_OUT_AT] = turns[b % 2], turns[(b + 1) % 2]
        block[at.B_X_AT] = block[at.B_OUT_AT] if vanilla else state


class _Offsets:
    """Hands out room, at multiples of 16."""

    def __init__(self) -> None:
        self.size = 0

    def add(self, count: int) -> int:
        begin = self.size
        self.size += padded(int(count))
        return begin


def padded(count: int) -> int:
    """The next multiple of 16."""
    return -(-count // LANES) * LANES


def aligned(size: int, dtype: type) -> np.ndarray:
    """Zeros that begin at a cache line."""
    item = np.dtype(dtype).itemsize
    room: np.ndarray = np.zeros(size + 64 // item, dtype)
    begin = -room.ctypes.data % 64 // item
    return room[begin : begin + size]


def plain_array(array: np.ndarray) -> np.ndarray:
    """The array, copied where Numba would compile anew for it (if read-only, say)."""
    if array.flags.carray and array.dtype == np.float32:
        return array
    return np.require(array, np.float32, ["C", "A", "W"])
