"""How the app is served: what stands in its page before Streamlit has drawn anything.

Streamlit's page is empty until the first run of the script has arrived. What is said here
is there before: the style, with the room of the side bar, so that nothing moves when it
comes; and where the app is, which Streamlit would look for below the address of every
page, to be told that it is not there.
"""

from __future__ import annotations

import re
import secrets
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The cookie that a visit goes by, see `app.loaders.visits`.
VISIT = "sact_visit"
#: Where Streamlit's page begins; its own styles stand before it, so that ours win.
BODY = b'<div id="root">'
#: What a browser may have kept of the page says nothing about what is put into it.
UNWANTED = (b"accept-encoding", b"if-none-match", b"if-modified-since", b"range")
_HAS_VISIT = re.compile(rf"(^|;\s*){VISIT}=[\w-]{{32}}(;|$)".encode())
STALE = (b"content-length", b"etag", b"last-modified", b"accept-ranges")


class Dressed:
    """Put style and address into every page that Streamlit serves.

    Parameters
    ----------
    app : ASGI application
        What serves them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        headers = scope.get("headers", ())
        wanted = any(k == b"accept" and b"text/html" in v for k, v in headers)
        if scope["type"] != "http" or scope["method"] != "GET" or not wanted:
            await self.app(scope, receive, send)
            return
        known = any(k == b"cookie" and _HAS_VISIT.search(v) for k, v in headers)
        kept = [(key, value) for key, value in headers if key not in UNWANTED]
        held: Message | None = None
        body = b""

        async def dress(message: Message) -> None:
            nonlocal held, body
            if message["type"] == "http.response.start" and _is_page(message):
                held = message
            elif held is None:
                await send(message)
            elif message["type"] == "http.response.body":
                body += message.get("body", b"")
                if not message.get("more_body"):
                    body = dressed(body, scope["path"])
                    length = (b"content-length", str(len(body)).encode())
                    given = [(k, v) for k, v in held["headers"] if k not in STALE]
                    if not known:
                        given.append((b"set-cookie", _new_visit(scope.get("scheme", "http"))))
                    await send({**held, "headers": [*given, length]})
                    await send({"type": "http.response.body", "body": body})

        await self.app({**scope, "headers": kept}, receive, dress)


def dressed(page: bytes, path: str) -> bytes:
    """Streamlit's page with what stands before everything else.

    Parameters
    ----------
    page : bytes
        As Streamlit serves it.
    path : str
        Of the page, as this server was asked for it.
    """
    from streamlit import config

    below = (config.get_option("server.baseUrlPath") or "").strip("/")
    steps = len([part for part in path.strip("/").removeprefix(below).split("/") if part])
    return page.replace(BODY, _before(steps) + BODY, 1)


def _new_visit(scheme: str) -> bytes:
    """A cookie for this visit, until the browser is closed; pages themselves cannot read it."""
    secure = "; Secure" if scheme == "https" else ""
    text = f"{VISIT}={secrets.token_urlsafe(24)}; Path=/; HttpOnly; SameSite=Lax{secure}"
    return text.encode()


def _is_page(start: Message) -> bool:
    kinds = [value for key, value in start["headers"] if key == b"content-type"]
    return start["status"] == 200 and any(kind.startswith(b"text/html") for kind in kinds)


@cache
def _before(steps: int) -> bytes:
    """Style and script; the app is so many steps above the page's own address."""
    style, script = (
        Path(__file__).with_name(f"page.{kind}").read_text(encoding="utf-8")
        for kind in ("css", "js")
    )
    script = script.replace("STEPS", str(max(steps, 1)))
    return f"<style>\n{style}</style>\n<script>\n{script}</script>\n".encode()
