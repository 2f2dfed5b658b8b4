"""A network as an ONNX file, for every runtime that reads one.

::

    python -m sact_core.export_onnx NAME.h5 --out NAME.onnx
    python -m sact_core.export_onnx ANYTAU.h5 --tau 0.02 --out NAME.onnx

Batch, height and width are free. A network that halts is written as the dense backend
computes it: every position of every unit, then masked; so its file shows what halts,
and saves no time. Of ACT, ``--early-exit`` leaves out the units that no image of a
batch needs.
"""

from sact_core.export_onnx.model import INPUT, export, make_model

__all__ = ["INPUT", "export", "make_model"]
