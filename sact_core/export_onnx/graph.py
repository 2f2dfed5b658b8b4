"""A graph of ONNX operators that is written down one operator after another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sact_core.network import BatchNorm, Conv


class Graph:
    """Operators, in the order in which they are added, and the constants that they read.

    Activations are NCHW float32, as ONNX has them.

    Parameters
    ----------
    params : mapping of str to np.ndarray
        Parameters of the network by name, HWIO weights.
    outer : Graph, optional
        The graph that this one is a branch of, whose values it may read.
    """

    def __init__(self, params: Mapping[str, np.ndarray], outer: Graph | None = None) -> None:
        self.params = params
        self.nodes: list[Any] = []
        # Names are of the whole model, and so are constants: the outermost graph keeps them.
        self._constants: dict[str, Any] = {} if outer is None else outer._constants
        self._names: dict[str, int] = {} if outer is None else outer._names

    @property
    def constants(self) -> list[Any]:
        """Every constant of the model."""
        return list(self._constants.values())

    def op(self, kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator of one output; give the name of that.

        Parameters
        ----------
        kind : str
            Of the operator, as ONNX calls it.
        name : str
            What it computes; a number is added where it is taken.
        *inputs : str
            Names of what it reads.
        **attributes
            Of the operator.
        """
        return self.ops(kind, (name,), *inputs, **attributes)[0]

    def ops(
        self, kind: str, names: tuple[str, ...], *inputs: str, **attributes: Any
    ) -> tuple[str, ...]:
        """Add an operator of several outputs; see `op`."""
        from onnx import helper

        outputs = tuple(self._fresh(name) for name in names)
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes))
        return outputs

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add a constant; what stands under a name already is taken as it is."""
        from onnx import numpy_helper

        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(value, name)
        return name

    def number(self, value: float) -> str:
        """Give a constant of one float32 number."""
        return self.constant(f"number_{value!r}", np.array(value, np.float32))

    def conv(self, x: str, conv: Conv) -> str:
        """Convolve, then normalise and activate, where the plan says so."""
        weight, bias = self._folded(conv)
        inputs = [x, self.constant(f"{conv.name}/weight", weight.transpose(3, 2, 0, 1))]
        if bias is not None:
            inputs.append(self.constant(f"{conv.name}/bias", bias))
        height, width = conv.weight_shape[:2]
        attributes: dict[str, Any] = {"kernel_shape": (height, width), "group": conv.groups}
        attributes["strides"] = (conv.stride, conv.stride)
        if conv.padding == "same" and conv.stride > 1:
            # Pads depend on the size, which is free: ONNX's rule of this name is TensorFlow's.
            attributes["auto_pad"] = "SAME_UPPER"
        else:  # of stride 1, or given: the same pads at every size
            (top, bottom), (left, right) = conv.pads((height * conv.stride, width * conv.stride))
            attributes["pads"] = (top, left, bottom, right)
        y = self.op("Conv", conv.name, *inputs, **attributes)
        return y if conv.bn is None else self._activate(y, conv.bn)

    def norm(self, x: str, bn: BatchNorm) -> str:
        """Normalise by the moving statistics, then activate."""
        parts = ("gamma", "beta", "moving_mean", "moving_variance")
        inputs = [self.constant(f"{bn.name}/{p}", self.params[f"{bn.name}/{p}"]) for p in parts]
        y = self.op("BatchNormalization", bn.name, x, *inputs, epsilon=bn.eps)
        return self._activate(y, bn)

    def _activate(self, x: str, bn: BatchNorm) -> str:
        name = f"{bn.name}/activation"
        if bn.slope == 0 and bn.cap < math.inf:
            return self.op("Clip", name, x, self.number(0), self.number(bn.cap))
        if bn.slope == 0:
            return self.op("Relu", name, x)
        if bn.slope != 1:
            x = self.op("LeakyRelu", name, x, alpha=bn.slope)
        return x if bn.cap == math.inf else self.op("Min", name, x, self.number(bn.cap))

    def _folded(self, conv: Conv) -> tuple[np.ndarray, np.ndarray | None]:
        """Weight and bias with the normalisation that follows in them, rounded once."""
        weight = self.params[f"{conv.name}/weight"]
        bias = self.params[f"{conv.name}/bias"] if conv.bias else None
        if conv.bn is None:
            return weight, bias
        gamma, beta, mean, variance = (
            self.params[f"{conv.bn.name}/{part}"].astype(np.float64)
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma / np.sqrt(variance + conv.bn.eps)
        shifted = beta + ((0 if bias is None else bias) - mean) * scale
        return (weight * scale).astype(np.float32), shifted.astype(np.float32)

    def _fresh(self, name: str) -> str:
        """Give a name that nothing has yet."""
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return f"{name}/{count + 1}" if count else name
