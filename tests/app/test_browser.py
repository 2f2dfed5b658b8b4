"""The app from end to end, in headless Chromium.

An error on the console, an uncaught exception or a failed request fails the test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.app.conftest import browser_program

pytestmark = pytest.mark.browser

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: Opened at a page's own address, the client first looks for its server beneath it.
PROBES = re.compile(r"/[a-z_]+/_stcore/(health|host-config)$")


class Tab:
    """A browser tab that remembers every error."""

    def __init__(self, page: Any, server: str) -> None:
        self.page = page
        self.server = server
        self.errors: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(f"exception: {error}"))
        page.on("requestfailed", self._failed)

    def _console(self, message: Any) -> None:
        url = (message.location or {}).get("url", "")
        if message.type == "error" and not PROBES.search(url):
            self.errors.append(f"console: {message.text} {url}")

    def _failed(self, request: Any) -> None:
        if "net::ERR_ABORTED" not in (request.failure or ""):
            self.errors.append(f"request: {request.url} {request.failure}")

    def open(self, path: str = "/") -> None:
        """Open an address of the app and wait until it is drawn."""
        self.page.goto(self.server + path)
        self.page.wait_for_selector("[data-testid=stHeading]", timeout=60_000)
        self.settle()

    def settle(self) -> None:
        """Wait until the app has nothing left to do."""
        self.page.wait_for_timeout(300)
        self.page.wait_for_function(
            """() => !document.querySelector('[data-testid="stStatusWidget"]')
                  && !document.querySelector('[data-stale="true"]')
                  && !document.querySelector('[data-testid="stSkeleton"]')""",
            timeout=60_000,
        )

    def viewer(self, key: str) -> Any:
        """The component of that key; locators pierce its shadow root."""
        return self.page.locator(f".st-key-{key}")

    def text(self) -> str:
        """What is written on the page."""
        return self.page.inner_text("[data-testid=stMain]")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = browser_program()
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def tab(browser: Any, server: str) -> Iterator[Tab]:
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, accept_downloads=True)
    tab = Tab(context.new_page(), server)
    yield tab
    errors = list(tab.errors)
    context.close()
    assert errors == []


def test_first_open_then_click_a_position(tab):
    tab.open()
    viewer = tab.viewer("explore_map")
    canvas = viewer.locator("canvas.view").nth(1)
    canvas.wait_for(timeout=30_000)

    assert "Where does the network think?" in tab.text()
    assert viewer.locator("canvas.view").count() == 3
    # Drawn: the map shows more than one colour.
    colours = canvas.evaluate(
        """canvas => new Set(new Uint32Array(canvas.getContext("2d")
            .getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size"""
    )
    assert colours > 5

    box = canvas.bounding_box()
    place = {"x": box["width"] * 8.5 / 32, "y": box["height"] * 24.5 / 32}
    canvas.hover(position=place)
    assert "row 24, column 8" in viewer.locator(".readout").inner_text()

    canvas.click(position=place)
    tab.page.wait_for_url(re.compile("explore_row=24"), timeout=20_000)
    tab.settle()
    assert "explore_column=8" in tab.page.url
    assert tab.page.get_by_label("Row").first.input_value() == "24"
