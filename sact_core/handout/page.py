"""Scenes as one HTML file that opens offline, and asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from sact_core.files import write_bytes
from sact_core.handout.scenes import METRICS
from sact_core.texts import cut, plain, shown_values
from sact_core.viewer import colour_table, sources

#: Of a file: what a browser opens without a pause, and a mail may not take anyhow.
MAX_BYTES = 64_000_000

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header class="top"><span>SACT Explorer: where a network thinks</span><button type="button" class="theme" hidden></button></header>
<main><noscript>This page draws its maps with JavaScript: open the file in a browser.</noscript></main>
<footer>Spatially adaptive computation time (arXiv 1612.02297). This file asks for nothing from any network.</footer>
<script type="application/json" id="data">{data}</script>
<script type="module">{script}</script>
</body>
</html>
"""  # noqa: E501


class Options(TypedDict, total=False):
    """How maps are shown at first, in every host.

    Attributes
    ----------
    colour_map : str
        One of `sact_core.viewer.colours.STOPS`; viridis where left out.
    opacity : float
        Of the map over the image, in [0, 1]; 0.55 where left out.
    metric : str
        What maps show: ``"ponder_cost"``, as where left out, or ``"num_units"``.
    """

    colour_map: str
    opacity: float
    metric: str


def document(
    scenes: Sequence[dict[str, Any]],
    *,
    command: str = "",
    provenance: dict[str, Any] | None = None,
    **options: Unpack[Options],
) -> dict[str, Any]:
    """What the explorer of `sact_core.viewer` draws, as plain JSON values.

    Parameters, errors: as `page`.
    """
    opacity, metric = options.get("opacity", 0.55), options.get("metric", "ponder_cost")
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must lie between 0 and 1, got {opacity!r}")
    table = colour_table(options.get("colour_map", "viridis"))
    return {
        "format": "sact handout 1",
        "command": plain(command),
        "provenance": shown_values(provenance or {}),
        "colours": base64.b64encode(table.tobytes()).decode(),
        "opacity": opacity,
        "metric": metric,
        "scenes": list(scenes),
    }


def page(
    scenes: Sequence[dict[str, Any]],
    *,
    command: str = "",
    provenance: dict[str, Any] | None = None,
    **options: Unpack[Options],
) -> bytes:
    """Make the file.

    Parameters
    ----------
    scenes : sequence of dict
        Of `sact_core.handout.scene`; at least one.
    command : str
        The command that makes the same.
    provenance : dict, optional
        Where the numbers come from, for programs that read the file; plain JSON values.
    **options
        As in `Options`.

    Returns
    -------
    bytes
        UTF-8. Texts of strangers stand in it as data, never as markup; a policy in it
        refuses every request, and every script and style but its own.

    Raises
    ------
    ValueError
        If an option is out of range.
    """
    data = document(scenes, command=command, provenance=provenance, **options)
    script, style = sources.script("page"), sources.style("page")
    policy = (
        f"default-src 'none'; img-src data:; script-src {_hash(script)}; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    names = [scene["name"] for scene in scenes]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return PAGE.format(
        policy=policy,
        title=html.escape(f"{cut(names[0], 80)}{more}: where a network thinks"),
        style=style,
        data=_data(data),
        script=script,
    ).encode()


def write_page(path: str | Path, scenes: Sequence[dict[str, Any]], **said: Any) -> None:
    """Write the file, beside and renamed.

    Parameters
    ----------
    path : str or Path
        Where to.
    scenes : sequence of dict
        As in `page`, as is the rest.

    Raises
    ------
    OSError
        As `sact_core.files.write_bytes`.
    """
    write_bytes(path, page(scenes, **said))


def _data(values: dict[str, Any]) -> str:
    """JSON that ends no element and begins none, whatever texts it holds."""
    text = json.dumps(values, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
