"""One vocabulary of vector code for every backend that compiles its own loops.

It holds types, loads, stores and single instructions, and no arithmetic of a network:
each backend writes its own loops with it. A vector is 16 float32. A float32 array is
read and written as it is; a uint16 array holds bfloat16, the upper halves of float32,
widened when read and rounded to the nearest, ties to even, when written. The rounding
is done in whole numbers, so that it is the same on every processor; what processors
offer for it takes subnormal numbers for zero.

The words come in two forms. An `Emitter` adds instructions to a function that is being
built, for loop nests such as a tile's, in which every register is planned. The functions
below it are the same words for functions that Numba compiles: a variable that holds a
vector lives in a register.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import extending, types

#: Floats in a vector. LLVM splits it where registers are shorter.
LANES = 16

FLOAT, HALF, INT32, INT = ir.FloatType(), ir.IntType(16), ir.IntType(32), ir.IntType(64)
VECTOR, HALVES, WORDS = (ir.VectorType(kind, LANES) for kind in (FLOAT, HALF, INT32))

intrinsic: Any = extending.intrinsic


def constant(value: float, vector: ir.VectorType = VECTOR) -> ir.Constant:
    """Vector of one number that is known beforehand."""
    return ir.Constant(vector, [value] * LANES)


ZERO = constant(0.0)


class Emitter:
    """A few words over llvmlite's builder.

    A pointer comes from `data`, and knows what it points to: float32, bfloat16 (an array
    of uint16) or places (int32).
    """

    def __init__(self, context: Any, builder: Any) -> None:
        self.context = context
        self.builder = builder

    def data(self, array_type: Any, array: Any) -> Any:
        """Pointer to the first element of an array."""
        return self.context.make_array(array_type)(self.context, self.builder, array).data

    def load(self, pointer: Any, index: Any) -> Any:
        """Read a scalar."""
        return self.builder.load(self.builder.gep(pointer, [index]))

    def index(self, pointer: Any, index: Any) -> Any:
        """Read a position (int32) as a 64-bit number."""
        return self.builder.sext(self.load(pointer, index), INT)

    def vector(self, pointer: Any, index: Any) -> Any:
        """Read a vector that starts at an element; bfloat16 is widened."""
        builder = self.builder
        half = pointer.type.pointee == HALF
        loaded = builder.load(self._at(pointer, index, HALVES if half else VECTOR))
        loaded.align = 2 if half else 4
        if not half:
            return loaded
        bits = builder.shl(builder.zext(loaded, WORDS), constant(16, WORDS))
        return builder.bitcast(bits, VECTOR)

    def store(self, vector: Any, pointer: Any, index: Any, computed: bool = False) -> None:
        """Write a vector that starts at an element; to bfloat16 it is rounded.

        Any NaN stays one. With ``computed``, which is quicker, those alone whose lower half
        is 0: what arithmetic makes, or hands on from bfloat16.
        """
        half = pointer.type.pointee == HALF
        value = self._rounded(vector, computed) if half else vector
        address = self._at(pointer, index, HALVES if half else VECTOR)
        self.builder.store(value, address).align = 2 if half else 4

    def spread(self, scalar: Any) -> Any:
        """Vector of one number."""
        undefined = ir.Constant(VECTOR, ir.Undefined)
        one = self.builder.insert_element(undefined, scalar, INT32(0))
        return self.builder.shuffle_vector(one, undefined, constant(0, WORDS))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """``a * b + c``, fused where the processor can."""
        kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
        return self.builder.call(self.function(f"llvm.fmuladd.v{LANES}f32", kind), [a, b, c])

    def larger(self, x: Any, y: Any) -> Any:
        """``max(x, y)``, NaN if either is: a network that overflows must not hide it."""
        builder = self.builder
        above = builder.fcmp_ordered(">", x, y)
        return builder.select(builder.or_(above, builder.fcmp_unordered("!=", x, x)), x, y)

    def leak(self, x: Any, slope: Any) -> Any:
        """``max(x, slope * x)``: the leaky ReLU of slopes from 0 to 1; NaN stays NaN."""
        leaked = self.builder.fmul(x, slope)
        return self.builder.select(self.builder.fcmp_ordered(">", leaked, x), leaked, x)

    def activate(self, x: Any, slope: Any, cap: Any) -> Any:
        """``min(leak(x, slope), cap)``; NaN stays NaN."""
        x = self.leak(x, slope)
        return self.builder.select(self.builder.fcmp_ordered(">", x, cap), cap, x)

    def total(self, x: Any) -> Any:
        """Sum of a vector."""
        # Halves added to halves: the same order on every processor.
        undefined = ir.Constant(VECTOR, ir.Undefined)
        step = LANES // 2
        while step:
            lanes = [(lane + step) % LANES for lane in range(LANES)]
            moved = self.builder.shuffle_vector(x, undefined, ir.Constant(WORDS, lanes))
            x = self.builder.fadd(x, moved)
            step //= 2
        return self.builder.extract_element(x, INT32(0))

    def prefetch(self, pointer: Any, index: Any) -> None:
        """Ask for a cache line that will be written soon."""
        char = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [char, INT32, INT32, INT32])
        address = self.builder.bitcast(self.builder.gep(pointer, [index]), char)
        function = self.function("llvm.prefetch.p0", kind)
        self.builder.call(function, [address, INT32(1), INT32(3), INT32(1)])

    def times_plus(self, a: Any, b: Any, c: Any) -> Any:
        """``a * b + c`` of whole numbers."""
        return self.builder.add(self.builder.mul(a, b), c)

    @contextmanager
    def loop(self, count: Any, step: int) -> Iterator[Any]:
        """Emit a loop from 0 to ``count``, which is above 0, by ``step``; yields the index.

        Where ``count`` is no multiple of a step of `LANES`, the last turn reaches past it:
        arrays have room for whole vectors.
        """
        builder = self.builder
        entry = builder.block
        body, done = builder.append_basic_block("loop"), builder.append_basic_block("loop_done")
        builder.branch(body)
        builder.position_at_end(body)
        k = builder.phi(INT)
        yield k
        following = builder.add(k, INT(step))
        k.add_incoming(INT(0), entry)
        k.add_incoming(following, builder.block)  # the body may have ended in another block
        builder.cbranch(builder.icmp_signed("<", following, count), body, done)
        builder.position_at_end(done)

    def _at(self, pointer: Any, index: Any, vector: ir.VectorType) -> Any:
        return self.builder.bitcast(self.builder.gep(pointer, [index]), vector.as_pointer())

    def _rounded(self, x: Any, computed: bool) -> Any:
        """The upper halves of float32, to the nearest, ties to even."""
        builder = self.builder
        bits = builder.bitcast(x, WORDS)
        upper = builder.lshr(bits, constant(16, WORDS))
        odd = builder.and_(upper, constant(1, WORDS))
        near = builder.add(builder.add(bits, constant(0x7FFF, WORDS)), odd)
        near = builder.lshr(near, constant(16, WORDS))
        if not computed:  # rounding may carry a NaN over into a number, or cut it to infinity
            quiet = builder.or_(upper, constant(0x40, WORDS))
            near = builder.select(builder.fcmp_unordered("uno", x, x), quiet, near)
        return builder.trunc(near, HALVES)

    def function(self, name: str, kind: ir.FunctionType) -> Any:
        """A function of LLVM's or of the process, by name."""
        module = self.builder.module
        return module.globals.get(name) or ir.Function(module, kind, name)


# --- the same words for functions that Numba compiles ---


class _Vector(types.Type):
    def __init__(self) -> None:
        super().__init__(name="float32x16")


vector_type = _Vector()


@extending.register_model(_Vector)
class _VectorModel(extending.models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, VECTOR)


@intrinsic
def load(typing, array, index):
    """Read the vector that starts at an element."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emitter(context, builder)
        return emit.vector(emit.data(signature.args[0], args[0]), args[1])

    return vector_type(array, types.int64), codegen


def _store(computed: bool, doc: str) -> Any:
    def store(typing, array, index, value):
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            emit = Emitter(context, builder)
            emit.store(args[2], emit.data(signature.args[0], args[0]), args[1], computed)
            return context.get_dummy_value()

        return types.void(array, types.int64, vector_type), codegen

    store.__doc__ = doc
    return intrinsic(store)


store = _store(False, "Write the vector that starts at an element.")
store_computed = _store(True, "The same of what arithmetic made; see `Emitter.store`.")


def _word(result: Any, arguments: list[Any], emit: Any, doc: str) -> Any:
    """A word of an `Emitter` as a function of one to three values."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return emit(Emitter(context, builder), *args)

    def one(typing, a):
        return result(*arguments), codegen

    def two(typing, a, b):
        return result(*arguments), codegen

    def three(typing, a, b, c):
        return result(*arguments), codegen

    function = (one, two, three)[len(arguments) - 1]
    function.__doc__ = doc
    return intrinsic(function)


spread = _word(vector_type, [types.float32], Emitter.spread, "Vector of one number.")
total = _word(types.float32, [vector_type], Emitter.total, "Sum of a vector.")
fma = _word(vector_type, [vector_type] * 3, Emitter.fma, "``a * b + c``, fused where possible.")
larger = _word(vector_type, [vector_type] * 2, Emitter.larger, "``max(a, b)``, NaN if either is.")
leak = _word(vector_type, [vector_type] * 2, Emitter.leak, "``max(a, b * a)``; NaN stays NaN.")
activate = _word(
    vector_type, [vector_type] * 3, Emitter.activate, "``min(max(a, b * a), c)``; NaN stays NaN."
)
where_positive = _word(
    vector_type,
    [vector_type] * 3,
    lambda emit, a, b, c: emit.builder.select(emit.builder.fcmp_ordered(">", a, ZERO), b, c),
    "``b`` where ``a > 0``, else ``c``.",
)


def _overload_operator(function: Any, instruction: str) -> None:
    apply = _word(
        vector_type,
        [vector_type] * 2,
        lambda emit, a, b: getattr(emit.builder, instruction)(a, b),
        f"`{instruction}` of two vectors.",
    )

    @extending.overload(function)
    def typed(a, b):
        if a is vector_type and b is vector_type:
            return lambda a, b: apply(a, b)
        return None


for _function, _instruction in [
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
]:
    _overload_operator(_function, _instruction)
