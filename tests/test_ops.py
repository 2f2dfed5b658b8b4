"""One table of operations: every kernel of every backend against `naive`, row by row.

An operation is a draw of arguments, `naive`'s answer to them, and the sides that compute
it, from `tests/ops`. A new kernel is one more row of `TABLE`, or one more side of a row: a
test below misses kernels that no row names. ``python -m tests.test_ops`` prints who computes
what.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from sact_core.backends import dense, masked, reference
from sact_core.backends.dense import kernels as training
from sact_core.backends.dense.network import _max_pool_same
from sact_core.backends.masked.kernels import depthwise, places, plain, vector
from tests import naive
from tests.ops.convolutions import (
    CONVS,
    dense_conv,
    draw_conv,
    draw_residual,
    engine_conv,
    engine_depthwise,
    engine_residual,
    naive_conv,
    naive_residual,
    reference_conv,
)
from tests.ops.layers import (
    dense_norm,
    dense_pool,
    draw_norm,
    draw_pool,
    draw_rows,
    draw_scores,
    engine_max_pool,
    engine_norm,
    engine_pool,
    engine_rows,
    engine_sigmoid,
    naive_norm,
    naive_rows,
    reference_norm,
    torch_map,
)
from tests.ops.marks import (
    by_rule,
    by_steps,
    draw_every_other,
    draw_marks,
    draw_proba,
    engine_every_other,
    engine_marks,
    naive_every_other,
    naive_halt,
    naive_marks,
)
from tests.ops.operation import (
    CLOSE,
    EXACT,
    LISTED,
    LISTS,
    Operation,
    compiled,
    draw_active,
    drawn,
    listed,
)
from tests.ops.pairs import (
    draw_half_depthwise,
    draw_pair_residual,
    draw_pairs,
    engine_half_depthwise,
    engine_pair_residual,
    engine_pairs,
    naive_pairs,
)
from tests.ops.steps import (
    fused_branch_backward,
    fused_branch_backward_sums,
    fused_branch_forward,
    fused_gate,
    fused_gate_gradients,
    fused_moments,
    fused_norm_backward,
    fused_norm_backward_sums,
    fused_norm_forward,
    naive_branch_backward,
    naive_branch_backward_sums,
    naive_branch_forward,
    naive_gate,
    naive_gate_gradients,
    naive_moments,
    naive_norm_backward,
    naive_norm_backward_sums,
    naive_norm_forward,
    step,
)

pytestmark = pytest.mark.interpreted


TABLE: dict[str, Operation] = {
    "convolution": Operation(
        draw_conv,
        naive_conv,
        {
            "reference": reference_conv,
            "dense": dense_conv(False),
            "dense bfloat16": dense_conv(True),
            **listed(engine_conv),
        },
        CONVS,
        kernels="store_tile store_tile_wide store_half_wide store_tile_narrow activate",
    ),
    "convolution in groups": Operation(
        draw_conv,
        naive_conv,
        {
            "reference": reference_conv,
            "dense": dense_conv(False),
            "dense bfloat16": dense_conv(True),
        },
        [
            {"groups": 2, "cin": 10, "cout": 6},
            {"groups": 12, "cin": 12, "cout": 12, "stride": 2},  # depthwise
            {"groups": 4, "cin": 8, "cout": 16, "side": 1, "cap": 6.0},
        ],
    ),
    "depthwise convolution": Operation(
        draw_conv,
        naive_conv,
        {"reference": reference_conv, "dense": dense_conv(False), **listed(engine_depthwise)},
        [
            *({"groups": 20, "cin": 20, "cout": 20, "which": which} for which in LISTS),
            {"groups": 32, "cin": 32, "cout": 32, "side": 5, "cap": 6.0, "slope": 0.0},
            {"groups": 18, "cin": 18, "cout": 18, "side": 5, "stride": 2, "size": (9, 6)},
            {"groups": 1, "cin": 1, "cout": 1, "size": (1, 1), "which": "all"},
        ],
        kernels="depthwise_rows by_channel activate",
    ),
    "convolution of pairs": Operation(
        draw_pairs,
        naive_pairs,
        listed(engine_pairs, "bfloat16"),
        [
            *(
                {**shape, "halves": shape.get("slope") != 1.0}
                for shape in CONVS
                if shape.get("cin") != 3
            ),
            # Sums, and then what is multiplied, around the smallest number.
            {"scales": (2.0**-64, 2.0**-64), "which": "all"},
            {"scales": (2.0**-126, 1.0), "which": "all", "side": 1},
            {"halves": False, "cout": 36},
        ],
        {"bfloat16": 0.0},
        kernels="products store_tile store_tile_wide store_half_wide store_tile_narrow",
    ),
    "residual of pairs": Operation(
        draw_pair_residual,
        naive_residual,
        listed(engine_pair_residual, "bfloat16"),
        [
            *({"mode": mode, "which": which, "cout": 36} for mode in (0, 1, 2) for which in LISTS),
            {"cout": 64, "size": (4, 4), "which": "all"},
            {"side": 1, "cin": 20, "cout": 36, "which": "all"},
        ],
        {"bfloat16": CLOSE["float32"]},
        kernels="products add_tile add_tile_wide add_half_wide add_tile_narrow",
    ),
    "depthwise convolution of bfloat16": Operation(
        draw_half_depthwise,
        naive_conv,
        listed(engine_half_depthwise, "bfloat16"),
        [
            *({"groups": 20, "cin": 20, "cout": 20, "which": which} for which in LISTS),
            {"groups": 32, "cin": 32, "cout": 32, "side": 5, "cap": 6.0, "slope": 0.0},
        ],
        {"bfloat16": 2.0**-8},  # one rounding
        kernels="depthwise_rows",
    ),
    "residual": Operation(
        draw_residual,
        naive_residual,
        listed(engine_residual),
        [
            *({"mode": mode, "which": which, "cout": 36} for mode in (0, 1, 2) for which in LISTS),
            {"cout": 64, "size": (4, 4), "which": "all"},
            {"side": 1, "cin": 20, "cout": 36, "which": "all"},
        ],
        kernels="add_tile add_tile_wide add_half_wide add_tile_narrow",
    ),
    "normalisation": Operation(
        draw_norm,
        naive_norm,
        {
            "reference": reference_norm,
            "dense": dense_norm(torch.float32, False),
            "dense bfloat16": dense_norm(torch.bfloat16, False),
            **listed(engine_norm),
            **listed(lambda vectors: engine_norm(vectors, True), "bfloat16"),
        },
        [
            *({"which": which} for which in LISTS),
            {"channels": 1, "size": (1, 1), "which": "all"},
            {"channels": 16, "slope": 0.0, "cap": 6.0},
            {"channels": 64, "slope": 1.0},
        ],
        kernels="affine_rows activate",
    ),
    "fused normalisation": Operation(
        draw_norm,
        naive_norm,
        compiled(
            fused=dense_norm(torch.float32, True), fused_bfloat16=dense_norm(torch.bfloat16, True)
        ),
        [{"channels": 32}, {"channels": 16, "slope": 0.0, "size": (1, 2)}],
    ),
    "2x2 mean pooling": Operation(
        draw_pool,
        lambda x, channels: naive.pool_and_widen(x[None], channels)[0],
        {
            "reference": lambda x, channels: reference.pool_and_widen(x[None], channels)[0],
            "dense": dense_pool,
            **listed(engine_pool),
        },
        [
            {},
            {"cin": 16, "cout": 32},
            {"cin": 2, "cout": 4, "size": (2, 2)},
            {"cin": 18, "cout": 36},
        ],
        kernels="pool_rows",
    ),
    "3x3 max pooling": Operation(
        lambda rng, size: {"x": drawn(rng, *size, 5)},
        lambda x: naive.max_pool(x[None])[0],
        {
            "reference": lambda x: reference.max_pool(x[None])[0],
            "dense": torch_map(_max_pool_same),
            **listed(engine_max_pool),
        },
        [{"size": size} for size in [(6, 8), (5, 7), (1, 1), (2, 9), (19, 4)]],
        EXACT,
        kernels="pool_task",
    ),
    "sigmoid": Operation(
        draw_scores,
        naive.sigmoid,
        listed(engine_sigmoid),
        [{"count": count} for count in (1, 16, 40)],
        kernels="sigmoid_rows sigmoid",
    ),
    "rows": Operation(
        draw_rows,
        naive_rows,
        listed(engine_rows),
        [
            {"kind": kind, "count": count}
            for kind in ("copy", "add", "largest")
            for count in (16, 48)
        ],
        EXACT,
        kernels="copy_row add_row max_row",
    ),
    "halting": Operation(
        draw_proba,
        naive_halt,
        {
            "reference": by_rule(reference.halt),
            "reference by steps": by_steps,
            "dense": by_rule(dense.halt),
            "plain": by_rule(masked.halt),
        },
        [
            {"kind": kind, "units": units, "eps": eps}
            for kind in ("any", "ties")
            for units in (1, 2, 5)
            for eps in (0.0, 0.01, 0.5, 1.0)
        ],
        EXACT,
        kernels="halt_positions",
    ),
    "marks and lists": Operation(
        draw_marks,
        naive_marks,
        listed(engine_marks),
        [
            *({"which": which} for which in LISTS),
            *({"which": which, "size": size} for which in LISTS for size in [(1, 1), (1, 70)]),
            {"size": (17, 30)},
        ],
        EXACT,
        kernels="grow list_marked list_all num_marked keep_marked fill_tile either_mark list_marks",
    ),
    "growing": Operation(
        lambda rng, halo, size: {"active": draw_active(rng, *size, "some"), "halo": halo},
        naive.grown,
        {"reference": lambda active, halo: reference.grow(active[None], halo)[0]},
        [{"halo": halo, "size": size} for halo in (0, 1, 2) for size in [(5, 7), (1, 3)]],
        EXACT,
    ),
    "every position": Operation(
        draw_every_other,
        naive_every_other,
        {"plain": engine_every_other},
        [{"size": size, "stride": stride} for size in [(6, 8), (1, 1)] for stride in (1, 2)],
        EXACT,
        kernels="mark_all list_all fill_tile",
    ),
    "moments": step(naive_moments, fused_moments, "moments"),
    "norm": step(naive_norm_forward, fused_norm_forward, "norm_forward"),
    "sums back through a norm": step(
        naive_norm_backward_sums, fused_norm_backward_sums, "norm_backward_sums"
    ),
    "back through a norm": step(naive_norm_backward, fused_norm_backward, "norm_backward"),
    "norm and halting branch": step(naive_branch_forward, fused_branch_forward, "branch_forward"),
    "sums back through a branch": step(
        naive_branch_backward_sums, fused_branch_backward_sums, "branch_backward_sums"
    ),
    "back through a branch": step(naive_branch_backward, fused_branch_backward, "branch_backward"),
    "gate": step(naive_gate, fused_gate, "gate_forward"),
    "back through a gate": step(naive_gate_gradients, fused_gate_gradients, "gate_backward"),
}


CASES = [
    pytest.param(name, side, shape, id=f"{name}-{side}-{'-'.join(map(str, shape.values()))}")
    for name, operation in TABLE.items()
    for side in operation.sides
    for shape in operation.shapes
]


@pytest.mark.parametrize(("name", "side", "shape"), CASES)
def test_operation(rng, name, side, shape):
    operation = TABLE[name]
    given = operation.draw(rng, **shape)
    copies = {k: v.copy() for k, v in given.items() if isinstance(v, np.ndarray)}
    refs, comps = (
        each if isinstance(each, tuple) else (each,)
        for each in (operation.ref(**given), operation.sides[side](**given))
    )
    for key, value in copies.items():
        np.testing.assert_array_equal(given[key], value, err_msg=f"{key} was overwritten")
    bfloat16 = "bfloat16" in side or shape.get("bfloat16")
    close = operation.close["bfloat16" if bfloat16 else "float32"]
    for comp, ref in zip(comps, refs, strict=True):
        assert comp.shape == ref.shape
        where = np.ones(ref.shape, bool)
        if side in LISTED and not name.startswith("residual") and ref.ndim == 3:
            where[~given.get("active", np.ones(ref.shape[:2], bool))] = False  # not written
        if close == 0:
            np.testing.assert_array_equal(comp[where], ref[where])
        else:
            scale = max(1.0, np.abs(ref).max(initial=0))
            np.testing.assert_allclose(comp[where], ref[where], rtol=0, atol=close * scale)


def is_kernel(module, value):
    if module in (vector, depthwise):
        return isinstance(value, type(vector.affine_rows))
    function = getattr(value, "py_func", value)  # itself, where nothing is compiled
    return inspect.isfunction(function) and function.__module__ == module.__name__


def test_every_kernel_has_a_row():
    """A new kernel must be named by a row of `TABLE`."""
    found = {
        name
        for module in (plain, vector, depthwise, places, training)
        for name, value in vars(module).items()
        if not name.startswith("_") and is_kernel(module, value)
    }
    named = {name for operation in TABLE.values() for name in operation.kernels.split()}
    assert len(found) > 30
    assert found <= named, f"no row of TABLE names {', '.join(sorted(found - named))}"


def support() -> str:
    """Who computes what, as a table."""
    sides = list(dict.fromkeys(side for operation in TABLE.values() for side in operation.sides))
    rows = [["", *sides]]
    for name, operation in TABLE.items():
        marks = [str(len(operation.shapes)) if s in operation.sides else "–" for s in sides]
        rows.append([name, *marks])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(c.ljust(n) for c, n in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":
    print(support())
