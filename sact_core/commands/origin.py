"""What an answer as JSON says of its origin, besides what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sact_core import __version__

if TYPE_CHECKING:
    from sact_core.backends import Net


def origin(
    net: Net,
    content_hash: str,
    command: str,
    image_size: int | None = None,
    fit: str | None = None,
) -> dict[str, Any]:
    """Say which network ran on what, and by which command.

    Parameters
    ----------
    net : Net
        As it ran; its ``tau`` is not told here, since training may have priced another.
    content_hash : str
        Of its checkpoint.
    command : str
        As it is typed again.
    image_size : int, optional
        Side of the input, in pixels; the network's own where left out.
    fit : str, optional
        How images were fitted, as of `sact_core.backends.Net.see`; as the network does
        where left out.

    Returns
    -------
    dict
        ``content_hash``, ``image_size``, ``fit``, ``precision``, ``version`` and ``command``,
        as plain JSON values.
    """
    return {
        "content_hash": content_hash,
        "image_size": image_size or net.preprocessing.image_size,
        "fit": fit or net.preprocessing.fit,
        "precision": net.precision,
        "version": __version__,
        "command": command,
    }
