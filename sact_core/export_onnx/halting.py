"""The halting rule in ONNX operators: a block's state between two units."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from sact_core.config import NetworkConfig
from sact_core.export_onnx.graph import Graph
from sact_core.halting import halting_threshold
from sact_core.network import HaltingBranch, Unit


@dataclass(frozen=True)
class State:
    """Names of what a block keeps between two units, each [n, 1, h, w] or, of ACT, [n, 1, 1, 1].

    ``num_units`` is float32, in which every count is exact.
    """

    cumsum: str
    remainder: str
    num_units: str
    active: str

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, in order."""
        return (self.cumsum, self.remainder, self.num_units, self.active)


def read_proba(
    graph: Graph, x: str, unit: Unit, config: NetworkConfig, tau: float | None
) -> str | None:
    """Read the chance of stopping off a unit's output; None of a block's last unit.

    Parameters
    ----------
    graph : Graph
    x : str
        The unit's output [n, c, h, w].
    unit : Unit
    config : NetworkConfig
    tau : float, optional
        Price of a unit; given if and only if the network is conditioned on it.

    Returns
    -------
    str, optional
        [n, 1, h, w], of ACT [n, 1, 1, 1].
    """
    branch = unit.halting
    if branch is None:
        return None
    name = f"{unit.name}/halting_proba"
    mean = graph.op("GlobalAveragePool", f"{name}/mean", x)
    logit = graph.conv(graph.norm(mean, branch.global_bn), branch.global_conv)
    if branch.tau_shift is not None and tau is not None:
        shift = _tau_shift(graph, branch, config, tau)
        logit = graph.op("Add", f"{name}/shifted", logit, shift)
    if branch.local_bn is not None and branch.local_conv is not None:
        local = graph.conv(graph.norm(x, branch.local_bn), branch.local_conv)
        logit = graph.op("Add", f"{name}/logit", local, logit)
    return graph.op("Sigmoid", name, logit)


def begin(graph: Graph, name: str, x: str, proba: str | None, config: NetworkConfig) -> State:
    """Give the state after a block's first unit, which runs everywhere.

    Parameters
    ----------
    graph : Graph
    name : str
        Of the unit.
    x : str
        Its output, whose shape counts.
    proba : str, optional
        From `read_proba`; None where the block has no other unit.
    config : NetworkConfig
        Its ``eps`` counts, and whether positions halt or images.
    """
    ones = _ones(graph, name, x, by_position=config.by_position)
    state = State(graph.number(0), ones, ones, graph.constant("true", np.array(True)))
    return state if proba is None else _account(graph, name, state, proba, config)


def advance(
    graph: Graph, name: str, state: State, proba: str | None, config: NetworkConfig
) -> State:
    """Give the state after a later unit; see `begin`."""
    ran = graph.op("Cast", f"{name}/ran", state.active, to=1)  # to float32
    counted = graph.op("Add", f"{name}/num_units", state.num_units, ran)
    state = replace(state, num_units=counted)
    return state if proba is None else _account(graph, name, state, proba, config)


def left(graph: Graph, name: str, state: State) -> str:
    """Give the weight not yet given away; 0 where a position has stopped."""
    return graph.op("Where", f"{name}/left", state.active, state.remainder, graph.number(0))


def any_active(graph: Graph, name: str, state: State) -> str:
    """Give whether anything goes on, as one bool."""
    active = graph.op("Cast", f"{name}/goes_on", state.active, to=1)
    most = graph.op("ReduceMax", f"{name}/goes_on/most", active, keepdims=0)
    return graph.op("Greater", f"{name}/goes_on/any", most, graph.number(0))


def _account(graph: Graph, name: str, state: State, proba: str, config: NetworkConfig) -> State:
    zero = graph.number(0)
    threshold = graph.constant("threshold", np.array(halting_threshold(config.eps)))
    read = graph.op("Where", f"{name}/read", state.active, proba, zero)
    cumsum = graph.op("Add", f"{name}/cumsum", state.cumsum, read)
    stops = graph.op("GreaterOrEqual", f"{name}/stops", cumsum, threshold)
    # Not "below": a sum with NaN reaches no threshold and goes on.
    below = graph.op("Not", f"{name}/below", stops)
    active = graph.op("And", f"{name}/active", state.active, below)
    counted = graph.op("Where", f"{name}/counted", active, proba, zero)
    remainder = graph.op("Sub", f"{name}/remainder", state.remainder, counted)
    return State(cumsum, remainder, state.num_units, active)


def _ones(graph: Graph, name: str, x: str, by_position: bool) -> str:
    """Give ones [n, 1, h, w] or [n, 1, 1, 1], for x of [n, c, h, w]."""
    n = graph.op("Shape", f"{name}/n", x, start=0, end=1)
    one = graph.constant("one_channel", np.ones(1, np.int64))
    rest = [graph.op("Shape", f"{name}/size", x, start=2, end=4)] if by_position else [one, one]
    shape = graph.op("Concat", f"{name}/shape", n, one, *rest, axis=0)
    return graph.op("Expand", f"{name}/ones", graph.number(1), shape)


def _tau_shift(graph: Graph, branch: HaltingBranch, config: NetworkConfig, tau: float) -> str:
    """What a price adds to the logits, see `sact_core.network.TauShift`; one number."""
    assert branch.tau_shift is not None
    assert config.tau_low is not None
    assert config.tau_high is not None
    along = math.log(tau / config.tau_low) / math.log(config.tau_high / config.tau_low)
    raw = graph.params[branch.tau_shift.name].astype(np.float64)
    passed = np.clip(branch.tau_shift.pieces * along - np.arange(len(raw)), 0, 1)
    shift = (np.logaddexp(0, raw) * passed).sum()
    return graph.constant(branch.tau_shift.name, np.array(shift, np.float32))
