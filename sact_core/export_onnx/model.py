"""The ONNX model of a plan, and of a checkpoint with all that its file tells.

Source: arXiv:1612.02297, section 3 and the authors' published networks;
https://onnx.ai/onnx/operators/ for the operators.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from sact_core.checkpoint import Checkpoint, content_hash
from sact_core.config import KINDS, NetworkConfig, Preprocessing, to_dict
from sact_core.export_onnx.graph import Graph
from sact_core.export_onnx.halting import State, advance, any_active, begin, left, read_proba
from sact_core.network import Block, Conv, Plan, Unit
from sact_core.plans import build_plan
from sact_core.taus import check_taus

#: Version of ONNX's operators, and of its files: the oldest that have what is needed
#: and that runtimes of today read.
OPSET, IR_VERSION = 20, 10

#: Name of the input [batch, 3, height, width].
INPUT = "images"


def export(
    checkpoint: Checkpoint,
    tau: float | None = None,
    clamp_tau: bool = False,
    early_exit: bool = False,
    command: str | None = None,
) -> Any:
    """Make the ONNX model of a checkpoint.

    Parameters
    ----------
    checkpoint : Checkpoint
        The network.
    tau : float, optional
        The price of a unit that the file runs at, of a network that is conditioned on
        it; the network's default where left out.
    clamp_tau : bool
        Take the nearest end of the range for a tau out of range.
    early_exit : bool
        As `make_model`.
    command : str, optional
        What it is made by.

    Returns
    -------
    onnx.ModelProto
        See `make_model`; its metadata says config, tau, preprocessing, class names,
        provenance, content hash, version and command as JSON, and in words what the input must be.

    Raises
    ------
    ValueError
        As `sact_core.taus.check_taus` and `make_model`.
    """
    from onnx import helper

    from sact_core import __version__

    config = checkpoint.config
    taus = check_taus(config, tau, 1, clamp_tau)
    price = None if taus is None else float(taus[0])
    plan = build_plan(config)
    model = make_model(plan, checkpoint.params, price, early_exit)
    model.producer_name, model.producer_version = "sact-explorer", __version__
    model.doc_string = f"{config.name}. {describe_input(checkpoint.preprocessing, plan.divisor)}"
    told = {
        "config": to_dict(config),
        "tau": checkpoint.provenance.get("tau") if price is None else price,
        "preprocessing": to_dict(checkpoint.preprocessing),
        "class_names": list(checkpoint.class_names),
        "provenance": checkpoint.provenance,
        "content_hash": content_hash(checkpoint),
        "early_exit": early_exit,
        "version": __version__,
        "command": command,
    }
    properties = {key: json.dumps(value) for key, value in told.items()}
    properties["input"] = describe_input(checkpoint.preprocessing, plan.divisor)
    helper.set_model_props(model, properties)
    return model


def describe_input(preprocessing: Preprocessing, divisor: int) -> str:
    """Say in words what the input of an exported network is."""
    scale = KINDS[preprocessing.kind].scale
    if scale is None:
        rule = (
            "every image standardised by itself: (value - mean) / max(std, 1 / sqrt(number of "
            "values)), mean and std over all of its values"
        )
    else:
        rule = f"(value / 255 - {scale[0]:g}) * {scale[1]:g}"
    sides = f", multiples of {divisor}" if divisor > 1 else ""
    return (
        f"{INPUT}: float32 [batch, 3, height, width], RGB, batch, height and width free{sides}; "
        f"{rule}. Trained at {preprocessing.image_size} pixels."
    )


def make_model(
    plan: Plan,
    params: Mapping[str, np.ndarray],
    tau: float | None = None,
    early_exit: bool = False,
) -> Any:
    """Make the ONNX model of a plan.

    Parameters
    ----------
    plan : Plan
        The network.
    params : mapping of str to np.ndarray
        Every parameter of ``plan.param_shapes``.
    tau : float, optional
        Price of a unit; given if and only if the network is conditioned on it.
    early_exit : bool
        Of an ACT network: run a unit, in an ``If``, only while an image of the batch
        goes on.

    Returns
    -------
    onnx.ModelProto
        From ``images`` [batch, 3, height, width] to ``logits`` [batch, classes] and, of
        a network that halts, for every block ``block1_num_units`` (int32) and
        ``block1_ponder_cost`` (float32), [batch, h, w] or, of ACT, [batch].

    Raises
    ------
    ValueError
        If an early exit is asked of a network whose images do not halt as a whole.
    """
    import onnx
    from onnx import TensorProto, helper

    config = plan.config
    if early_exit and not config.by_image:
        raise ValueError(
            f"{config.name} has no early exit: only in an ACT network does an image halt as a whole"
        )
    graph = Graph(params)
    x = graph.conv(INPUT, plan.stem)
    if plan.pool:
        # Padded with minus infinity, by TensorFlow's rule.
        window = {"kernel_shape": (3, 3), "strides": (2, 2), "auto_pad": "SAME_UPPER"}
        x = graph.op("MaxPool", "pool", x, **window)
    outputs = []
    for block in plan.blocks:
        x, state = _block(graph, block, x, config, tau, early_exit)
        if state is not None:
            outputs += _told(graph, block, state, by_position=config.by_position)
    if plan.head is not None:
        x = graph.conv(x, plan.head)
    if plan.postnorm is not None and plan.head_first == "bn":
        x = graph.norm(x, plan.postnorm)
    x = graph.op("GlobalAveragePool", "mean", x)
    if plan.postnorm is not None and plan.head_first == "mean":
        x = graph.norm(x, plan.postnorm)
    x = graph.op("Flatten", "features", x)
    weight = params[f"{plan.logits.name}/weight"][0, 0]
    graph.op(
        "Gemm",
        "logits",
        x,
        graph.constant("logits/weight", weight),
        graph.constant("logits/bias", params[f"{plan.logits.name}/bias"]),
    )
    logits = helper.make_tensor_value_info(
        "logits", TensorProto.FLOAT, ["batch", config.num_classes]
    )
    images = helper.make_tensor_value_info(
        INPUT, TensorProto.FLOAT, ["batch", 3, "height", "width"]
    )
    made = helper.make_graph(
        graph.nodes, config.name, [images], [logits, *outputs], graph.constants
    )
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, opset_imports=opset, ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


def _block(
    graph: Graph, block: Block, x: str, config: NetworkConfig, tau: float | None, early_exit: bool
) -> tuple[str, State | None]:
    """Run a block's units; give its output and, where anything halts, its last state."""
    first, *later = block.units
    x = _first_unit(graph, first, x)
    if not config.halts:
        for unit in later:
            x = graph.op("Add", unit.name, x, _residual(graph, unit, x))
        return x, None
    state = begin(graph, first.name, x, read_proba(graph, x, first, config, tau), config)
    output = x
    for unit in later:
        if early_exit:
            x, output, state = _maybe_unit(graph, unit, x, output, state, config, tau)
        else:
            x, output, state = _later_unit(graph, unit, x, output, state, config, tau)
    return output, state


def _first_unit(graph: Graph, unit: Unit, x: str) -> str:
    """Give the output of a unit that may change size and width."""
    preact = x if unit.preact is None else graph.norm(x, unit.preact)
    residual = preact
    for conv in unit.convs:
        residual = graph.conv(residual, conv)
    if unit.shortcut is None:
        return residual
    shortcut = x
    if isinstance(unit.shortcut, Conv):
        shortcut = graph.conv(preact, unit.shortcut)
    elif unit.shortcut == "preact":
        shortcut = preact
    elif unit.shortcut == "pool":
        if unit.stride > 1:
            step = (unit.stride, unit.stride)
            name = f"{unit.name}/shortcut"
            shortcut = graph.op("AveragePool", name, x, kernel_shape=step, strides=step)
        extra = unit.out_channels - unit.in_channels
        pads = np.array([0, extra // 2, 0, 0, 0, extra - extra // 2, 0, 0], np.int64)
        pads_name = graph.constant(f"{unit.name}/shortcut/pads", pads)
        shortcut = graph.op("Pad", f"{unit.name}/shortcut/wide", shortcut, pads_name)
    return graph.op("Add", unit.name, shortcut, residual)


def _residual(graph: Graph, unit: Unit, x: str) -> str:
    residual = x if unit.preact is None else graph.norm(x, unit.preact)
    for conv in unit.convs:
        residual = graph.conv(residual, conv)
    return residual


def _later_unit(
    graph: Graph,
    unit: Unit,
    x: str,
    output: str,
    state: State,
    config: NetworkConfig,
    tau: float | None,
) -> tuple[str, str, State]:
    """Add a later unit's residual to its input, and to the block's output.

    The weights sum to 1, so the weighted sum of the units' outputs is the first output
    plus each later residual times the weight not yet given away; or it is the state, which
    stays as it is where a position has stopped.
    """
    residual, is_state = _residual(graph, unit, x), config.block_output == "last"
    if unit.masked or is_state:
        residual = graph.op("Where", f"{unit.name}/kept", state.active, residual, graph.number(0))
    if unit.halting is not None or is_state:
        x = graph.op("Add", unit.name, x, residual)
    if is_state:
        output = x
    else:
        share = graph.op("Mul", f"{unit.name}/weighted", residual, left(graph, unit.name, state))
        output = graph.op("Add", f"{unit.name}/output", output, share)
    proba = None
    if unit.halting is not None:
        proba = read_proba(graph, x, unit, config, tau)
    return x, output, advance(graph, unit.name, state, proba, config)


def _maybe_unit(
    graph: Graph,
    unit: Unit,
    x: str,
    output: str,
    state: State,
    config: NetworkConfig,
    tau: float | None,
) -> tuple[str, str, State]:
    """As `_later_unit`, where an image goes on; else all stays as it is."""
    from onnx import TensorProto, helper

    ran, kept = Graph(graph.params, graph), Graph(graph.params, graph)
    new_x, new_output, new_state = _later_unit(ran, unit, x, output, state, config, tau)
    before = (x, output, *state.names)
    after = (new_x, new_output, *new_state.names)
    branches = {}
    for branch, part, names in (("then_branch", ran, after), ("else_branch", kept, before)):
        # What a branch gives, it must have computed.
        given = [part.op("Identity", f"{unit.name}/{branch}/{i}", n) for i, n in enumerate(names)]
        kinds = [TensorProto.FLOAT] * (len(given) - 1) + [TensorProto.BOOL]
        infos = [
            helper.make_tensor_value_info(name, kind, None)
            for name, kind in zip(given, kinds, strict=True)
        ]
        branches[branch] = helper.make_graph(part.nodes, f"{unit.name}/{branch}", [], infos)
    condition = any_active(graph, unit.name, state)
    titles = ("x", "output", "cumsum", "remainder", "num_units", "active")
    names = tuple(f"{unit.name}/after/{title}" for title in titles)
    x, output, *rest = graph.ops("If", names, condition, **branches)
    return x, output, State(*rest)


def _told(graph: Graph, block: Block, state: State, by_position: bool) -> list[Any]:
    """Add what a block tells of its halting, [n, h, w] or [n]; describe it."""
    from onnx import TensorProto, helper

    axes = graph.constant("map_axes", np.array([1] if by_position else [1, 2, 3], np.int64))
    shape = ["batch", *([f"{block.name}_height", f"{block.name}_width"] if by_position else [])]
    counts = graph.op("Cast", f"{block.name}/counts", state.num_units, to=TensorProto.INT32)
    cost = graph.op("Add", f"{block.name}/cost", state.num_units, state.remainder)
    graph.op("Squeeze", f"{block.name}_num_units", counts, axes)
    graph.op("Squeeze", f"{block.name}_ponder_cost", cost, axes)
    return [
        helper.make_tensor_value_info(f"{block.name}_num_units", TensorProto.INT32, shape),
        helper.make_tensor_value_info(f"{block.name}_ponder_cost", TensorProto.FLOAT, shape),
    ]
