"""The number formats that a network may be computed in, and which of them are to be had."""

from __future__ import annotations

import os

#: What convolutions multiply; the default first. Sums are of float32, those of int8 once
#: they are whole.
PRECISIONS = ("float32", "bfloat16", "int8")

#: What a processor needs for them.
INSTRUCTIONS = {"bfloat16": "AVX512-BF16", "int8": "AVX512-VNNI or AVX-VNNI"}


def precisions() -> tuple[str, ...]:
    """The `PRECISIONS` that the masked backend computes on this machine at full speed.

    Bfloat16 and int8 need a processor that multiplies them: AVX512-BF16, and AVX512-VNNI or
    AVX-VNNI. Int8 needs a network that was calibrated, too.
    """
    from sact_core.backends import bfloat16, int8, jit

    fast = {"bfloat16": bfloat16.is_native, "int8": int8.is_native}
    return tuple(
        each for each in PRECISIONS if each not in fast or (fast[each]() and not jit.INTERPRETED)
    )


def choose_precision(precision: str | None = None, backend: str = "masked") -> str:
    """Give the precision to compute in: the argument, ``SACT_PRECISION``, or float32.

    Parameters
    ----------
    precision : str, optional
        One of `PRECISIONS`.
    backend : str
        Who computes. All but ``"masked"`` compute in float32, whatever ``SACT_PRECISION``
        says.

    Raises
    ------
    ValueError
        If it is none of `PRECISIONS`; if the backend or this machine does not have it.
        With ``SACT_FORCE_PRECISION=1`` any machine has it, for the same numbers, slowly.
    """
    name = "precision"
    if precision is None:
        from_environment = os.environ.get("SACT_PRECISION", "").strip()
        if backend != "masked" or not from_environment:
            return PRECISIONS[0]
        name, precision = "SACT_PRECISION", from_environment
    if precision not in PRECISIONS:
        raise ValueError(f"{name} must be one of {', '.join(PRECISIONS)}; got {precision!r}")
    if precision == PRECISIONS[0]:
        return precision
    if backend != "masked":
        raise ValueError(
            f"precision {precision} is for the masked backend; "
            f"the {backend} backend computes in {PRECISIONS[0]}"
        )
    forced = os.environ.get("SACT_FORCE_PRECISION", "").strip() == "1"
    if precision not in precisions() and not forced:
        raise ValueError(
            f"precision {precision} needs a processor that multiplies {precision} "
            f"({INSTRUCTIONS[precision]}), which this one does not: choose {PRECISIONS[0]}, or set "
            f"SACT_FORCE_PRECISION=1 to have the same numbers slowly"
        )
    return precision
