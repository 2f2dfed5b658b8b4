"""Measurements in seconds: the masked engine, the halting rule.

::

    python -m sact_core.benchmark infer      # masked against dense PyTorch
    python -m sact_core.benchmark halting    # Numba against NumPy and PyTorch
    python -m sact_core.benchmark family pretrained/*.h5    # trained networks

Each command measures its sides in turn (A B A B …), in processes of their own,
and writes its rows as JSON, a table and a chart into ``benchmarks/``.
"""
