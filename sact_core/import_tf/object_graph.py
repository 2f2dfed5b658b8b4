"""Names of variables in an object-based checkpoint of TensorFlow 2.

``tf.train.Checkpoint`` and Keras store a variable under its place among Python objects,
such as ``model/vs/3/.ATTRIBUTES/VARIABLE_VALUE``. Beside the variables lies a graph of the
objects, which tells the name that each was created with.

Source: tensorflow/core/protobuf/trackable_object_graph.proto; for texts as tensors,
tensorflow/core/util/tensor_bundle/tensor_bundle.cc.
"""

from __future__ import annotations

from sact_core.wire import fields, message, varint

GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
MAX_GRAPH_BYTES = 1 << 26
_CRC_BYTES = 4


def names_by_key(data: bytes) -> dict[str, str]:
    """Read the graph: the name of every variable by the key that its value stands under.

    Parameters
    ----------
    data : bytes
        The tensor `GRAPH` as it is stored: a text's length, a checksum of it, the text.

    Raises
    ------
    Malformed
        If it is no such graph.
    """
    length, at = varint(data, 0)
    found = {}
    for field, node in fields(data[at + _CRC_BYTES : at + _CRC_BYTES + length]):
        for part, attribute in fields(message(node)) if field == 1 else ():
            texts = {}
            for number, value in fields(message(attribute)) if part == 2 else ():
                if number in (2, 3):  # full name, key
                    texts[number] = message(value).decode("utf-8", "backslashreplace")
            if texts.get(2) and texts.get(3):
                found[texts[3]] = texts[2]
    return found
