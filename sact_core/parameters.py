"""Parameters of a plan: drawn afresh, and held against the plan's names and shapes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sact_core.network import Plan

#: How far fresh parameters shift a halting logit from one end of the range to the other.
TAU_SPAN = 4.5


def check_params(plan: Plan, shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """List everything that does not fit the plan, one line each.

    Parameters
    ----------
    plan : Plan
        The network.
    shapes : dict of str to tuple of int
        Name and shape of the parameters at hand.
    """
    wanted = plan.param_shapes
    problems = [f"missing: {name} {wanted[name]}" for name in wanted if name not in shapes]
    problems += [f"unexpected: {name} {shapes[name]}" for name in shapes if name not in wanted]
    problems += [
        f"wrong shape: {name} is {shapes[name]}, should be {wanted[name]}"
        for name in wanted
        if name in shapes and tuple(shapes[name]) != wanted[name]
    ]
    return problems


def require_params(plan: Plan, params: Mapping[str, np.ndarray]) -> None:
    """Refuse parameters that do not fit the plan.

    Parameters
    ----------
    plan : Plan
        The network.
    params : mapping of str to np.ndarray
        The parameters at hand.

    Raises
    ------
    ValueError
        If names or shapes differ; everything that does is listed.
    """
    problems = check_params(plan, {name: np.shape(value) for name, value in params.items()})
    if problems:
        raise ValueError("the parameters do not fit the network: " + "; ".join(problems))


def init_params(plan: Plan, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw fresh parameters as the authors initialise them.

    He normal weights (fan-in, truncated at two deviations), zero biases but
    ``config.halting_bias`` for the halting logits, unit gammas and variances. Over
    the range of tau, if any, halting logits rise evenly by `TAU_SPAN`.

    Parameters
    ----------
    plan : Plan
        The network.
    seed : int
        Seed of the generator; the same seed gives the same parameters.

    Returns
    -------
    dict of str to np.ndarray [float32]
        Every parameter of ``plan.param_shapes``.

    References
    ----------
    He et al. 2015, arXiv:1502.01852.
    """
    rng = np.random.default_rng(seed)
    params: dict[str, np.ndarray] = {}
    for name, shape in plan.param_shapes.items():
        part = name.rsplit("/", 1)[1]
        if part == "weight":
            params[name] = _he_normal(rng, shape)
        else:
            fill = 1.0 if part in ("gamma", "moving_variance") else 0.0
            params[name] = np.full(shape, fill, np.float32)
    for unit in plan.units:
        if unit.halting is not None:
            biased = unit.halting.local_conv or unit.halting.global_conv
            params[f"{biased.name}/bias"][:] = plan.config.halting_bias
            shift = unit.halting.tau_shift
            if shift is not None:  # softplus of it is an even share of the span
                params[shift.name][:] = np.log(np.expm1(TAU_SPAN / shift.pieces))
    return params


def _he_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    draw = rng.standard_normal(shape)
    while (far := np.abs(draw) > 2).any():
        draw[far] = rng.standard_normal(int(far.sum()))
    # 0.8796 is the deviation of a normal truncated at two deviations.
    scaled: np.ndarray = draw * np.sqrt(2 / np.prod(shape[:3])) / 0.87962566
    return scaled.astype(np.float32)
