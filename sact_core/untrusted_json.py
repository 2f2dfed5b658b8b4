"""JSON that anybody may have written."""

from __future__ import annotations

import json
from typing import Any

#: Objects and lists within one another.
MAX_DEPTH = 100


def from_json(text: str | bytes, **options: Any) -> Any:
    """Read JSON.

    Parameters
    ----------
    text : str or bytes
        The JSON; bytes are UTF-8.
    **options
        Of `json.loads`.

    Raises
    ------
    ValueError
        If it is none, or more than `MAX_DEPTH` objects and lists lie within one another.
    """
    too_deep = f"more than {MAX_DEPTH} objects or lists lie within one another"
    try:
        values = json.loads(text, **options)
    except RecursionError:
        raise ValueError(too_deep) from None
    layer = [values]
    for _ in range(MAX_DEPTH + 1):
        inner = [each for each in layer if isinstance(each, dict | list) and each]
        layer = [v for each in inner for v in (each.values() if isinstance(each, dict) else each)]
        if not layer:
            return values
    raise ValueError(too_deep)
