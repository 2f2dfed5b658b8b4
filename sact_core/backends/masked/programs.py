"""Units as programs of steps, rows of one table that the kernels follow.

Every unit becomes the same few steps: normalise into a map with a border what a wide
convolution reads around its places, begin the state with the shortcut, convolve, add
the residual. What differs between families, and between a block's first unit and the
others, is which steps there are, what they read and through which list of places. A
new family needs new rows and perhaps a new operation, never a question about its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sact_core.backends.masked.kernels import layout as at
from sact_core.backends.masked.kernels.cpu import TILE_ROWS, WIDE
from sact_core.backends.simd import LANES
from sact_core.network import Conv, Plan, Unit

Size = tuple[int, int]


@dataclass(frozen=True)
class Spot:
    """A place in a region of floats that has a name until it has an address.

    ``kind`` says what the numbers there are, in which ``shift`` counts.
    """

    region: str
    shift: int = 0
    kind: int = at.FLOATS


@dataclass
class Program:
    """The steps of all units; `place` says where their maps lie."""

    steps: np.ndarray
    spots: dict[tuple[int, int], Spot] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    fixed: dict[str, int] = field(default_factory=dict)

    def place(self, add: Callable[[int], int]) -> dict[str, int]:
        """Take room for every map, finish the table, and give where the maps begin."""
        begins = self.fixed | {name: add(size) for name, size in self.sizes.items()}
        for (row, column), spot in self.spots.items():
            self.steps[row, column] = (begins[spot.region] << spot.kind) + spot.shift
        return begins

    def room(self, region: str, size: int, kind: int = at.FLOATS) -> Spot:
        """Ask for a region of at least so many numbers; give where it begins."""
        floats = -(-size // (1 << kind))
        self.sizes[region] = max(self.sizes.get(region, 0), floats)
        return Spot(region, 0, kind)


def reach(unit: Unit) -> tuple[int, int, int]:
    """How far the grown list reaches, whether there is a wider one, and how much further.

    The grown list is of the places at which convolutions are needed that others read
    around; the wider one of those which are normalised for a wide first convolution.

    Raises
    ------
    ValueError
        If the convolutions need more than one grown list.
    """
    halos = {halo for halo in unit.halos if halo}
    if len(halos) > 1:
        raise ValueError(
            f"the masked backend cannot compute {unit.name}, whose convolutions read around "
            f"one another more than once; choose the dense or the reference backend"
        )
    # The halting branch reads one place around.
    halo = max(halos, default=1)
    side = _side(unit.convs[0])
    more = max(unit.halos[0] + side // 2 - halo, 0)
    return halo, int(side > 1), more


def write(
    plan: Plan,
    where: dict[str, int],
    net: np.ndarray,
    blocks: np.ndarray,
    kind: int,
    zeros: Mapping[str, int],
) -> Program:
    """Write the programs of a network for one size of input.

    Parameters
    ----------
    plan : Plan
        The network.
    where : dict of str to int
        Where its numbers lie in the packed weights.
    net, blocks : np.ndarray
        Facts of the network and of its blocks, maps of the blocks included.
    kind : int
        What convolutions multiply in units and head: `layout.FLOATS`, `layout.HALVES` or
        `layout.BYTES`. Sums, the residual state and halting branches are of float32 in any
        case.
    zeros : mapping of str to int
        Of bytes: what stands for 0 in what each convolution reads, by its name.
    """
    rows = len(plan.units) * at.NUM_STEPS + 1
    program = Program(np.zeros((rows, at.NUM_STEP_FACTS), np.int64))
    u = 0
    for plan_block, block in zip(plan.blocks, blocks, strict=True):
        maps = {"in": block[at.B_IN_AT], "x": block[at.B_X_AT], "out": block[at.B_OUT_AT]}
        for name, begin in maps.items():
            program.fixed[f"{plan_block.name}/{name}"] = int(begin)
        about = where, net, block
        borders: dict[str, tuple[int, ...]] = {}
        for unit in plan_block.units:
            _Writer(program, unit, plan_block.name, *about, u, borders, kind, zeros).write()
            u += 1
    if plan.head is not None:
        last = plan.units[-1]
        _Writer(program, last, plan_block.name, *about, u, {}, kind, zeros).head(plan.head)
    return program


class _Writer:
    """Writes one unit's steps, in order."""

    def __init__(
        self,
        program: Program,
        unit: Unit,
        block_name: str,
        where: dict[str, int],
        net: np.ndarray,
        block: np.ndarray,
        number: int,
        borders: dict[str, tuple[int, ...]],
        kind: int,
        zeros: Mapping[str, int],
    ) -> None:
        self.program, self.unit, self.where, self.net = program, unit, where, net
        self.row, self.last_row = number * at.NUM_STEPS, (number + 1) * at.NUM_STEPS - 1
        self.borders, self.kind, self.zeros = borders, kind, zeros
        self.is_first = unit.name.endswith("/unit1")
        self.out_size: Size = (int(block[at.B_HEIGHT]), int(block[at.B_WIDTH]))
        self.in_size: Size = (int(block[at.B_IN_HEIGHT]), int(block[at.B_IN_WIDTH]))
        self.x = Spot(f"{block_name}/x")
        self.input = Spot(f"{block_name}/in") if self.is_first else self.x
        if not self.is_first:
            self.in_size = self.out_size
        self.cin, self.cout = padded(unit.in_channels), padded(unit.out_channels)

    @property
    def packs(self) -> bool:
        """Whether a 1x1 convolution of the input needs it in another form than it has."""
        return self.unit.preact is not None or self.kind != at.FLOATS

    def write(self) -> None:
        """Write all steps of the unit."""
        source, packs = self.input, self.packs
        if _side(self.unit.convs[0]) > 1:
            source, packs = self.bordered(), False
        if self.is_first:
            self.shortcut()
        self.convolutions(source, packs)
        assert self.row <= self.last_row, f"{self.unit.name} has too many steps"
        self.local_halting()

    def bordered(self) -> Spot:
        """Normalise the input, or copy it, into a map with a border of zeros."""
        conv = self.unit.convs[0]
        half = _side(conv) // 2
        target = self.map("preact", self.in_size, self.cin, half, self.kind)
        self.step(
            at.NORMALISE, at.WIDER, (at.WIDER, self.input, self.cin), (at.WIDER, target, self.cin),
            **self.read_by(conv), depth=self.cin, border=(self.in_size, self.cin, half),
            fill=self.zeros.get(conv.name, 0),
        )  # fmt: skip
        return target

    def shortcut(self) -> None:
        """Begin the state of a block."""
        shortcut, target = self.unit.shortcut, (at.ACTIVE, self.x, self.cout)
        source = (at.SOURCE, self.input, self.cin)
        if isinstance(shortcut, Conv):
            more = self.product(shortcut, (1, 0, self.cin))
            more |= {"packs": 1, **self.read_by(shortcut)} if self.packs else {}
            self.step(at.STORE, at.ACTIVE, source, target, **more)
        elif shortcut == "pool":
            below = (self.in_size[1] + 2) * self.cin
            front = (self.unit.out_channels - self.unit.in_channels) // 2
            more = {"depth": self.cin, "channels": self.cout, "below": below, "front": front}
            self.step(at.POOL, at.ACTIVE, source, target, **more)
        elif shortcut is None:  # zeros, read from where nothing is ever written
            nothing = (at.ACTIVE, self.program.room("nothing", self.cout), 0)
            self.step(
                at.NORMALISE, at.ACTIVE, nothing, target, **self.copied(), depth=self.cout
            )  # fmt: skip
        else:
            norm = self.preact() if shortcut == "preact" else self.copied()
            self.step(at.NORMALISE, at.ACTIVE, source, target, **norm, depth=self.cin)

    def convolutions(self, source: Spot, packs: bool) -> None:
        """Convolve; the last products are the residual."""
        convs, halos = self.unit.convs, self.unit.halos
        size, channels, beside = self.in_size, self.cin, False
        for i, conv in enumerate(convs):
            over = at.GROWN if halos[i] else at.ACTIVE
            read = at.BESIDE if beside else at.SOURCE if conv.stride > 1 else over
            side, taps, out = _side(conv), (1, 0, channels), padded(conv.out_channels)
            if side > 1:
                (top, _), (left, _) = conv.pads(size)
                row = size[1] + 2
                corner = source.shift - (top * row + left) * channels
                source = replace(source, shift=corner)
                taps = (side, row * channels, side * channels)
            more = self.product(conv, taps)
            if packs:
                more |= {"packs": 1, **self.read_by(conv)}
            size = conv.output_size(size)
            reading = (read, source, channels)
            op = at.DEPTHWISE if conv.groups > 1 else at.STORE
            if i == len(convs) - 1:
                self.step(at.ADD, over, reading, (at.ACTIVE, self.x, out), **more)
                return
            wide = _side(convs[i + 1]) > 1
            if wide:  # read around: a map with a border
                half = _side(convs[i + 1]) // 2
                source = self.map(f"mid{i + 1}", size, out, half, self.kind)
                more["border"] = (size, out, half)
                more["fill"] = self.zeros.get(convs[i + 1].name, 0)
            else:
                rows = size[0] * size[1] + TILE_ROWS
                source = self.program.room(f"mid{i + 1}", rows * out, self.kind)
            self.step(op, over, reading, (over if wide else at.BESIDE, source, out), **more)
            channels, beside, packs = out, not wide, False

    def local_halting(self) -> None:
        """The local halting convolution, a column for each of its taps."""
        branch = self.unit.halting
        if branch is None or branch.local_bn is None or branch.local_conv is None:
            return
        wide = _side(branch.local_conv) > 1
        over = at.GROWN if wide and not self.is_first else at.ACTIVE
        target = self.map("local", self.out_size, LANES, 1)
        norm = self.normalised(branch.local_bn.name, self.cout)
        self.row = self.last_row
        self.step(
            at.STORE, over, (over, self.x, self.cout), (over, target, LANES), **norm, packs=1,
            taps=(1, 0, self.cout), weight=self.where[f"{branch.local_conv.name}/weight"],
            bias=int(self.net[at.ZEROS_AT]), after=int(self.net[at.NEUTRAL_AT]), channels=LANES,
            border=(self.out_size, LANES, 1),
        )  # fmt: skip

    def head(self, conv: Conv) -> None:
        """The convolution after the last block, of its output, everywhere."""
        source = Spot(self.x.region.replace("/x", "/out"))
        channels = padded(conv.out_channels)
        target = self.map("head", self.out_size, channels, 0)
        self.step(
            at.STORE, at.ACTIVE, (at.ACTIVE, source, self.cout), (at.ACTIVE, target, channels),
            **self.product(conv, (1, 0, self.cout)), **self.copied_for(conv),
            packs=int(self.kind != at.FLOATS),
        )  # fmt: skip

    def step(
        self,
        op: int,
        over: int,
        source: tuple[int, Spot, int],
        target: tuple[int, Spot, int],
        *,
        packs: int = 0,
        reads: int | None = None,
        norm: tuple[int, int, int] | None = None,
        taps: tuple[int, int, int] = (1, 0, 0),
        depth: int | None = None,
        weight: int = 0,
        bias: int = 0,
        after: int | None = None,
        channels: int = 0,
        below: int = 0,
        front: int = 0,
        multipliers: int = 0,
        border: tuple[Size, int, int] | None = None,
        fill: int = 0,
    ) -> None:
        """Write one row; source and target are a list, where they begin and floats per place."""
        row = self.program.steps[self.row]
        neutral = int(self.net[at.NEUTRAL_AT])
        row[at.T_OP], row[at.T_OVER] = op, over
        row[at.T_PANELS] = -(-channels // WIDE) if op >= at.STORE else 1
        for (which, spot, stride), columns in (
            (source, (at.T_FROM, at.T_X_AT, at.T_X_STRIDE)),
            (target, (at.T_TO, at.T_Y_AT, at.T_Y_STRIDE)),
        ):
            row[columns[0]], row[columns[2]] = which, stride
            self.program.spots[self.row, columns[1]] = spot
        row[at.T_READS] = source[1].kind if reads is None else reads
        row[at.T_WRITES], row[at.T_PACKS] = target[1].kind, packs
        row[[at.T_SCALE, at.T_SHIFT, at.T_BEFORE]] = norm or (0, 0, neutral)
        row[at.T_TAPS], row[at.T_TAP_STRIDE] = taps[0], taps[1]
        row[at.T_DEPTH] = taps[2] if depth is None else depth
        row[at.T_W], row[at.T_B], row[at.T_M] = weight, bias, multipliers
        row[at.T_CHANNELS] = channels
        row[at.T_AFTER] = neutral if after is None else after
        row[at.T_BELOW], row[at.T_FRONT] = below, front
        if border is not None:
            size, wide, half = border
            # What stands there has this border already, unless another map was there before.
            region, shape = target[1].region, (*size, wide, half, fill)
            row[at.T_BORDER] = 0 if self.borders.get(region) == shape else _rows_beyond(half) + 1
            row[at.T_HEIGHT], row[at.T_WIDTH] = size
            row[at.T_FILL] = fill
            self.borders[region] = shape
        self.row += 1

    def product(self, conv: Conv, taps: tuple[int, int, int]) -> dict[str, Any]:
        """What a convolution multiplies, and what follows it."""
        bias, channels = self.where[f"{conv.name}/bias"], padded(conv.out_channels)
        weight = self.where[f"{conv.name}/weight"]
        return {
            "reads": self.kind,
            "taps": taps,
            "weight": weight,
            "bias": bias,
            "after": bias + channels,
            "channels": channels,
            "multipliers": self.where.get(f"{conv.name}/multipliers", 0),
        }

    def preact(self) -> dict[str, Any]:
        """The pre-activation, or a copy where there is none."""
        if self.unit.preact is None:
            return self.copied()
        return self.normalised(self.unit.preact.name, self.cin)

    def read_by(self, conv: Conv) -> dict[str, Any]:
        """The pre-activation as a convolution reads it; for bytes in steps of its scale."""
        if self.kind == at.BYTES:
            return self.normalised(f"{conv.name}/input", self.cin)
        return self.preact()

    def copied_for(self, conv: Conv) -> dict[str, Any]:
        """A copy of the block's output, as the head reads it."""
        if self.kind == at.BYTES:
            return self.normalised(f"{conv.name}/input", self.cout)
        return self.copied()

    def copied(self) -> dict[str, Any]:
        """A normalisation that does nothing."""
        return {"norm": tuple(int(self.net[i]) for i in (at.ONES_AT, at.ZEROS_AT, at.NEUTRAL_AT))}

    def normalised(self, name: str, channels: int) -> dict[str, Any]:
        """A batch normalisation, and the activation that follows it."""
        begin = self.where[name]
        return {"norm": (begin, begin + channels, begin + 2 * channels)}

    def map(self, name: str, size: Size, channels: int, half: int, kind: int = at.FLOATS) -> Spot:
        """A map with a border of one place, and rows beyond it where a kernel reaches further."""
        row, beyond = (size[1] + 2) * channels, _rows_beyond(half)
        room = self.program.room(name, (size[0] + 2 + 2 * beyond) * row, kind)
        return replace(room, shift=beyond * row)


def _rows_beyond(half: int) -> int:
    """Rows of zeros above and below a map, beyond its border, for a kernel of ``2 half + 1``.

    A row's two borders lie next to each other, so two places are zero on either side. A
    kernel that reads two rows above the map begins its first row two places before it.
    """
    return 0 if half < 2 else half


def padded(count: int) -> int:
    """The next multiple of 16."""
    return -(-count // LANES) * LANES


def _side(conv: Conv) -> int:
    return max(conv.weight_shape[:2])
