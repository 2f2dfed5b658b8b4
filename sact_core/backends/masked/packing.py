"""A plan and its parameters as the flat arrays and tables that the kernels read.

`weights` lays out the numbers; here stands what a network, a block and a unit have, and
where it lies for one size of input. What a unit does with them is in `programs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sact_core.backends.masked import programs
from sact_core.backends.masked.kernels import layout as at
from sact_core.backends.masked.kernels.cpu import MARKS_AT_ONCE, TILE_ROWS, WIDE
from sact_core.backends.masked.programs import padded
from sact_core.backends.masked.scope import check_scope
from sact_core.backends.masked.weights import Weights, narrow_of
from sact_core.halting import halting_threshold
from sact_core.network import Conv, Plan, Unit
from sact_core.quantisation import Quantisation

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
        weights of bfloat16 and of bytes in ``narrow_weights``.
    kind : int
        What convolutions multiply in units and head: `layout.FLOATS`, `layout.HALVES` or
        `layout.BYTES`.
    zeros : dict of str to int
        Of bytes: what stands for 0 in what each convolution reads, by its name.
    """

    weights: np.ndarray
    net: np.ndarray
    units: np.ndarray
    where: dict[str, int]
    kind: int
    zeros: dict[str, int]

    @property
    def narrow_weights(self) -> np.ndarray | None:
        """The same memory in narrower numbers; None where all are of float32."""
        return narrow_of(self.weights, self.kind)


#: What overflows here is refused where results are looked at.
@np.errstate(over="ignore", invalid="ignore")
def pack(
    plan: Plan,
    params: Mapping[str, np.ndarray],
    kind: int = at.FLOATS,
    scales: Quantisation | None = None,
) -> Packed:
    """Lay a network out for the kernels.

    Parameters
    ----------
    plan : Plan
        The network.
    params : mapping of str to np.ndarray [float32]
        Every parameter of ``plan.param_shapes``.
    kind : int
        As in `Packed`.
    scales : Quantisation, optional
        For bytes.

    Raises
    ------
    ValueError
        If the network has a part that the engine does not compute; if its numbers
        overflow in bytes.
    """
    check_scope(plan)
    weights = Weights(params, kind, scales)
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
        _pack_conv(weights, plan.head, None)
        if kind == at.BYTES:
            weights.input_in_steps(plan.head, None)
    last = padded(plan.logits.in_channels)
    net[at.LAST_COUT], net[at.POSTNORM_AT] = last, weights.nothing(last)
    if plan.postnorm is not None:
        net[at.POSTNORM_AT] = weights.norm(plan.postnorm)
    net[at.LOGITS_W], net[at.LOGITS_B] = weights.conv(plan.logits)
    zeros = {} if scales is None else {name: zero for name, (_, zero) in scales.inputs.items()}
    return Packed(weights.joined(), net, units, weights.where, kind, zeros)


def _pack_unit(weights: Weights, unit: Unit, row: np.ndarray) -> None:
    row[at.U_COUT] = padded(unit.out_channels)
    row[at.U_HALO], row[at.U_WIDENS], row[at.U_MORE] = programs.reach(unit)
    if unit.preact is not None:
        weights.norm(unit.preact)
    for conv, reader in zip(unit.convs, (*unit.convs[1:], None), strict=True):
        _pack_conv(weights, conv, reader)
    if isinstance(unit.shortcut, Conv):
        _pack_conv(weights, unit.shortcut, None)
    if weights.kind == at.BYTES:
        weights.input_in_steps(unit.convs[0], unit.preact)
        if isinstance(unit.shortcut, Conv):
            weights.input_in_steps(unit.shortcut, unit.preact)


def _pack_conv(weights: Weights, conv: Conv, reader: Conv | None) -> None:
    """Store a convolution of a unit or the head, and what it makes for who reads it, if bytes."""
    if weights.kind == at.BYTES:
        weights.conv_in_steps(conv, reader)
    else:
        weights.conv(conv, kind=weights.kind)


def _pack_halting(weights: Weights, unit: Unit, row: np.ndarray) -> None:
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
    hands_on_state = net[at.KIND] == at.NONE or plan.config.block_output == "last"
    _share_maps(blocks, floats, in_places * cin, places * cout, hands_on_state)
    program = programs.write(plan, packed.where, net, blocks, packed.kind, packed.zeros)
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
    blocks: np.ndarray,
    floats: _Offsets,
    inputs: np.ndarray,
    outputs: np.ndarray,
    hands_on_state: bool,
) -> None:
    """Give every block room for its input, state and output.

    A block's output is the next one's input, so two regions take turns; it may be the
    block's state, as a vanilla one's is.
    """
    sizes = [0, 0]
    for b in range(len(blocks)):
        sizes[b % 2] = max(sizes[b % 2], int(inputs[b]))
        sizes[(b + 1) % 2] = max(sizes[(b + 1) % 2], int(outputs[b]))
    turns = [floats.add(size) for size in sizes]
    state = 0 if hands_on_state else floats.add(outputs.max())
    for b, block in enumerate(blocks):
        block[at.B_IN_AT], block[at.B_OUT_AT] = turns[b % 2], turns[(b + 1) % 2]
        block[at.B_X_AT] = block[at.B_OUT_AT] if hands_on_state else state


class _Offsets:
    """Hands out room, at multiples of 16."""

    def __init__(self) -> None:
        self.size = 0

    def add(self, count: int) -> int:
        begin = self.size
        self.size += padded(int(count))
        return begin


def plain_array(array: np.ndarray) -> np.ndarray:
    """The array, copied where Numba would compile anew for it (if read-only, say)."""
    if array.flags.carray and array.dtype == np.float32:
        return array
    return np.require(array, np.float32, ["C", "A", "W"])
