"""A plan and its parameters as the flat arrays and tables that the kernels read.

Batch normalisations become a scale and a shift; those after a convolution are
folded into it. Channels are padded with zeros to a multiple of 16, weights laid
out by panels of output channels, ``[panel][tap][in][channel]``. What a unit does
with them is in `programs`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from sact_core.backends.masked import programs
from sact_core.backends.masked.kernels import layout as at
from sact_core.backends.masked.kernels.cpu import MARKS_AT_ONCE, TILE_ROWS, WIDE
from sact_core.backends.masked.programs import padded
from sact_core.backends.masked.scope import check_scope
from sact_core.halting import halting_threshold
from sact_core.network import BatchNorm, Conv, Plan, Unit

KINDS = {"none": at.NONE, "act": at.ACT, "sact": at.SACT}


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
    where : dict of str to int
        Where weights, biases and batch normalisations begin in ``weights``, by name;
        weights of bfloat16 in ``half_weights``.
    kind : int
        What convolutions multiply in units and head: `layout.FLOATS` or `layout.HALVES`.
    """

    weights: np.ndarray
    net: np.ndarray
    units: np.ndarray
    where: dict[str, int]
    kind: int

    @property
    def half_weights(self) -> np.ndarray | None:
        """The same memory in halves, [uint16]; None where nothing is of bfloat16."""
        return halves_of(self.weights, self.kind)


class _Weights:
    """Hands out room for arrays, and fills it when all are known.

    Nothing is copied before `joined`, so that packing takes no more memory than
    the packed weights.
    """

    def __init__(self, params: Mapping[str, np.ndarray], kind: int) -> None:
        self.params, self.kind = params, kind
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
        pair = (1.0, math.inf) if bn is None else (bn.slope, bn.cap)
        return self.add(2, lambda: np.array(pair, np.float32))

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
        if conv.groups > 1:  # depthwise: [height, width, channel]
            taps = weight.shape[0] * weight.shape[1]
            more = ((0, 0), (0, padded(weight.shape[3]) - weight.shape[3]))
            begin = self.add(
                taps * padded(weight.shape[3]),
                lambda: np.pad((weight * scale).reshape(taps, -1), more).reshape(-1),
            )
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
            return np.concatenate([panel.reshape(-1) for panel in panels])

        together = 1 + kind  # numbers that a float has room for
        count = height * width * (cin + more) * padded(cout) // together
        return self.add(count, fill) * together

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


def halves_of(floats: np.ndarray, kind: int) -> np.ndarray | None:
    """The same memory as halves of floats, [uint16], where they are of bfloat16."""
    return floats.view(np.uint16) if kind == at.HALVES else None


#: What overflows here is refused where results are looked at.
@np.errstate(over="ignore", invalid="ignore")
def pack(plan: Plan, params: Mapping[str, np.ndarray], kind: int = at.FLOATS) -> Packed:
    """Lay a network out for the kernels.

    Parameters
    ----------
    plan : Plan
        The network.
    params : mapping of str to np.ndarray [float32]
        Every parameter of ``plan.param_shapes``.
    kind : int
        As in `Packed`.

    Raises
    ------
    ValueError
        If the network has a part that the engine does not compute.
    """
    check_scope(plan)
    weights = _Weights(params, kind)
    net = np.zeros(at.NUM_FACTS, np.int64)
    net[at.KIND] = KINDS[plan.config.halting]
    net[at.MEAN_FIRST], net[at.POOLS] = plan.head_first == "mean", plan.pool
    net[at.CLASSES] = padded(plan.config.num_classes)
    net[at.THRESHOLD_AT] = weights.number(halting_threshold(plan.config.eps))
    widest = padded(max(max(unit.in_channels, unit.out_channels) for unit in plan.units))
    net[at.ONES_AT] = weights.nothing(widest)
    net[at.ZEROS_AT], net[at.NEUTRAL_AT] = net[at.ONES_AT] + widest, net[at.ONES_AT] + 2 * widest
    net[at.STEM_COUT] = padded(plan.stem.out_channels)
    net[at.STEM_SIDE], net[at.STEM_STRIDE] = plan.stem.weight_shape[0], plan.stem.stride
    net[at.BORDER] = plan.stem.weight_shape[0] // 2
    net[at.STEM_W], net[at.STEM_B] = weights.conv(plan.stem, pad_input=False)
    units = np.zeros((len(plan.units), at.NUM_UNIT_FACTS), np.int64)
    rows = iter(units)
    for b, block in enumerate(plan.blocks):
        for index, unit in enumerate(block.units):
            row = next(rows)
            row[at.U_BLOCK], row[at.U_INDEX] = b, index
            _pack_unit(weights, unit, row)
            _pack_halting(weights, unit, row)
    if plan.head is not None:
        weights.conv(plan.head, kind=kind)
    last = padded(plan.logits.in_channels)
    net[at.LAST_COUT], net[at.POSTNORM_AT] = last, weights.nothing(last)
    if plan.postnorm is not None:
        net[at.POSTNORM_AT] = weights.norm(plan.postnorm)
    net[at.LOGITS_W], net[at.LOGITS_B] = weights.conv(plan.logits)
    return Packed(weights.joined(), net, units, weights.where, kind)


def _pack_unit(weights: _Weights, unit: Unit, row: np.ndarray) -> None:
    row[at.U_COUT] = padded(unit.out_channels)
    row[at.U_HALO], row[at.U_WIDENS], row[at.U_MORE] = programs.reach(unit)
    if unit.preact is not None:
        weights.norm(unit.preact)
    for conv in unit.convs:
        weights.conv(conv, kind=weights.kind)
    if isinstance(unit.shortcut, Conv):
        weights.conv(unit.shortcut, kind=weights.kind)


def _pack_halting(weights: _Weights, unit: Unit, row: np.ndarray) -> None:
    branch = unit.halting
    if branch is None:
        return
    row[at.U_HALTS] = 1
    row[at.U_GLOBAL_AT] = weights.norm(branch.global_bn)
    row[at.U_GLOBAL_W] = weights.param(f"{branch.global_conv.name}/weight")
    biased = branch.local_conv or branch.global_conv
    row[at.U_BIAS_AT] = weights.param(f"{biased.name}/bias")
    if branch.local_conv is None or branch.local_bn is None:
        return
    height, width, channels, _ = branch.local_conv.weight_shape
    row[at.U_LOCAL_TAPS] = height * width
    weights.norm(branch.local_bn)
    name = f"{branch.local_conv.name}/weight"
    taps = np.asarray(weights.params[name], np.float32)
    # [height, width, channels, 1] to a 1x1 convolution with a column for each tap
    columns = taps.reshape(1, 1, height * width, channels).transpose(0, 1, 3, 2)
    weights.where[name] = weights.panels(columns.shape, lambda: columns)


@dataclass(frozen=True)
class Sizes:
    """A network for one size of input.

    Attributes
    ----------
    net : np.ndarray [shape=(NUM_FACTS,), int64]
        Facts, complete.
    blocks : np.ndarray [shape=(blocks, NUM_BLOCK_FACTS), int64]
        Facts of the blocks; where their results begin is still 0.
    steps : np.ndarray [shape=(units * NUM_STEPS + 1, NUM_STEP_FACTS), int64]
        Programs of the units, and the head's step.
    floats, totals, places, marks, scratch : int
        Elements of a team's, and of a thread's, arrays.
    """

    net: np.ndarray
    blocks: np.ndarray
    steps: np.ndarray
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
    net = packed.net.copy()
    stem = plan.stem.output_size(size)
    here = (-(-stem[0] // 2), -(-stem[1] // 2)) if plan.pool else stem
    net[[at.HEIGHT, at.WIDTH, at.STEM_HEIGHT, at.STEM_WIDTH]] = [*size, *stem]
    border = int(net[at.BORDER])
    (top, _), (left, _) = plan.stem.pads(size)
    net[at.STEM_CORNER] = ((border - top) * (size[1] + 2 * border) + border - left) * 3
    blocks = np.zeros((len(plan.blocks), at.NUM_BLOCK_FACTS), np.int64)
    for block, out, plan_block in zip(blocks, plan.block_sizes(size), plan.blocks, strict=True):
        block[[at.B_HEIGHT, at.B_WIDTH, at.B_IN_HEIGHT, at.B_IN_WIDTH]] = [*out, *here]
        block[at.B_UNITS], block[at.B_STRIDE] = len(plan_block.units), plan_block.units[0].stride
        block[at.B_COUT] = padded(plan_block.units[-1].out_channels)
        block[at.B_PLACES] = (out[0] + 2) * (out[1] + 2)
        here = out
    inside = blocks[:, at.B_HEIGHT] * blocks[:, at.B_WIDTH]
    ins = blocks[:, at.B_IN_HEIGHT] * blocks[:, at.B_IN_WIDTH]
    places = blocks[:, at.B_PLACES]
    in_places = (blocks[:, at.B_IN_HEIGHT] + 2) * (blocks[:, at.B_IN_WIDTH] + 2)
    cin = np.array([padded(block.units[0].in_channels) for block in plan.blocks])
    cout = blocks[:, at.B_COUT]

    floats = _Offsets()
    net[at.IMAGE_AT] = floats.add((size[0] + 2 * border) * (size[1] + 2 * border) * 3)
    _share_maps(blocks, floats, in_places * cin, places * cout, net[at.KIND] == at.NONE)
    program = programs.write(plan, packed.where, net, blocks, packed.kind)
    begins = program.place(floats.add)
    net[at.LOCAL_AT] = begins.get("local", 0)
    net[at.LAST_AT] = begins.get("head", blocks[-1, at.B_OUT_AT])
    steps = program.steps
    net[at.SUMS_AT] = floats.add((-(-inside // at.CHUNK) * cout).max())
    if net[at.KIND] != at.NONE:
        net[at.LEFT_AT], net[at.CUMSUM_AT] = floats.add(places.max()), floats.add(places.max())
    net[at.GLOBAL_AT] = floats.add(1)
    net[at.FEATURES_AT] = floats.add(net[at.LAST_COUT])

    lists, longest = _Offsets(), int(max(inside.max(), ins.max()))
    for name in (at.ACTIVE_LIST, at.GROWN_LIST, at.WIDER_LIST, at.SOURCE_LIST):
        net[name] = lists.add(longest + TILE_ROWS)
    net[at.IOTA_LIST] = lists.add(max(longest, at.CHUNK, stem[1]) + TILE_ROWS)
    net[at.NULL_LIST] = lists.add(TILE_ROWS)
    marks = _Offsets()
    marks.add(places.max() + MARKS_AT_ONCE)
    for name in (at.GROWN_MARKS, at.WIDER_MARKS, at.SPARE_MARKS):
        net[name] = marks.add(places.max() + MARKS_AT_ONCE)

    packs = steps[steps[:, at.T_PACKS] > 0]
    scratch = (at.CHUNK + TILE_ROWS) * (int(packs[:, at.T_DEPTH].max(initial=16)) + 16)
    if plan.pool:
        stem_rows = (2 * at.POOL_ROWS + 1) * stem[1] * int(net[at.STEM_COUT])
        scratch = max(scratch, stem_rows)
    scratch += WIDE  # for the plain loops
    counts = floats.size, int(max(cout.max(), net[at.LAST_COUT])), lists.size, marks.size, scratch
    return Sizes(net, blocks, steps, *counts)


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
