"""What is put into the page that Streamlit serves."""

from __future__ import annotations

import asyncio
import re

import pytest
import streamlit as st
from streamlit.web.server.app_discovery import discover_asgi_app

from app.serving import Dressed, dressed
from tests.conftest import ROOT

PAGE = b'<html><body><div id="root"></div></body></html>'


def ask(
    path="/", accept="text/html", kind="text/html; charset=utf-8", status=200, body=PAGE, **sent
):
    """Ask a server that gives ``body`` in two parts; give its answer and what it was asked."""
    asked = {}

    async def server(scope, receive, send):
        asked.update(scope)
        headers = [(b"content-type", kind.encode()), (b"etag", b'"1"')]
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body[:9], "more_body": True})
        await send({"type": "http.response.body", "body": body[9:]})

    said = []

    async def send(message):
        said.append(message)

    headers = {"accept": accept, "if-none-match": '"1"', "accept-encoding": "gzip"} | sent
    pairs = [(key.encode(), value.encode()) for key, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": path, "headers": pairs}
    asyncio.run(Dressed(server)(scope, None, send))
    whole = b"".join(message.get("body", b"") for message in said[1:])
    return whole, dict(said[0]["headers"]), dict(asked["headers"])


def test_a_page_gets_style_and_address():
    body, headers, asked = ask()

    assert body.index(b"<style>") < body.index(b"<script>") < body.index(b'<div id="root">')
    assert b"--side-bar" in body
    assert int(headers[b"content-length"]) == len(body)
    # What a browser has kept is of another version, perhaps; and nothing comes compressed.
    assert b"etag" not in headers
    assert set(asked) == {b"accept"}


def test_a_visit_gets_a_cookie_once():
    _, headers, _ = ask()
    cookie = headers[b"set-cookie"].decode()
    assert re.fullmatch(r"sact_visit=[\w-]{32}; Path=/; HttpOnly; SameSite=Lax", cookie)
    assert ask()[1][b"set-cookie"].decode() != cookie
    own = cookie.split(";")[0]
    assert b"set-cookie" not in ask(cookie=f"other=1; {own}")[1]
    assert b"set-cookie" in ask(cookie="sact_visit=short")[1]


@pytest.mark.parametrize(
    "other",
    [{"accept": "*/*"}, {"kind": "application/json"}, {"status": 404}, {"body": b"<html></html>"}],
)
def test_anything_else_is_left_alone(other):
    body, headers, _ = ask(**other)

    assert body == other.get("body", PAGE)
    assert int(headers[b"content-length"]) == len(body)


@pytest.mark.parametrize(
    ("path", "base", "steps"),
    [
        ("/", "", 1),
        ("/sweep", "", 1),
        ("/a/b", "", 2),
        ("/sact/", "sact", 1),
        ("/sact/b", "sact", 1),
    ],
)
def test_the_address_of_the_app_is_above_that_of_a_page(monkeypatch, path, base, steps):
    monkeypatch.setattr(st.config, "get_option", lambda name: base)
    assert f"parts.length - {steps})".encode() in dressed(PAGE, path)


def test_streamlit_run_finds_how_it_is_served():
    assert discover_asgi_app(ROOT / "streamlit_app.py").import_string == "streamlit_app:served"
