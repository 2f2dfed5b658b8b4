"""A tab of headless Chromium in which tests drive the app.

An error on the console, an uncaught exception or a failed request is remembered.
"""

from __future__ import annotations

import re
from typing import Any

#: Milliseconds; a busy machine needs a while.
PATIENCE = 90_000

#: Settings under which an example is computed at 32 x 32.
SMALL = "explore_fit_cifar=Square+crop&explore_side_cifar=32"

#: Streamlit's grey boxes stand still. Chromium has no graphics card here: it paints their pulse
#: by the cores that the app works on, sixty times a second for as long as the app is at work.
#: (A style sheet made so is refused by no policy of a page.)
STILL = """{
  const sheet = new CSSStyleSheet()
  sheet.replaceSync(
    "[data-testid=stSkeleton], [data-testid=stAppSkeleton] * { animation: none !important }"
  )
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet]
}"""


class Tab:
    """A browser tab that remembers every error."""

    def __init__(self, page: Any, server: str, patience: int = PATIENCE) -> None:
        self.page = page
        self.patience = patience
        self.server = server
        self.errors: list[str] = []
        page.set_default_timeout(patience)
        page.add_init_script(STILL)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(f"exception: {error}"))
        page.on("requestfailed", self._failed)

    def _console(self, message: Any) -> None:
        url = (message.location or {}).get("url", "")
        if message.type == "error":
            self.errors.append(f"console: {message.text} {url}")

    def _failed(self, request: Any) -> None:
        if "net::ERR_ABORTED" not in (request.failure or ""):
            self.errors.append(f"request: {request.url} {request.failure}")

    def open(self, path: str = "/") -> None:
        """Open an address of the app and wait until it is drawn."""
        self.page.goto(self.server + path)
        self.page.get_by_role("heading", level=1).wait_for()
        self.settle()

    def settle(self) -> None:
        """Wait until the app has nothing left to do.

        Looked for ten times a second: in every frame, as Playwright does where nothing is said,
        frames are made for that alone.
        """
        self.page.wait_for_timeout(300)
        self.page.wait_for_function(
            """() => !document.querySelector('[data-testid="stStatusWidget"]')
                  && !document.querySelector('[data-stale="true"]')
                  && !document.querySelector('[data-testid="stSkeleton"]')""",
            timeout=self.patience,
            polling=100,
        )

    def choose(self, key: str, option: str) -> None:
        """Choose in the select box of that key."""
        self.page.locator(f".st-key-{key} input").focus()
        self.page.keyboard.press("ArrowDown")
        self.page.get_by_role("option", name=option, exact=True).click()
        self.settle()

    def add(self, label: str, name: str, data: bytes) -> None:
        """Upload a file through the popover."""
        self.page.get_by_role("button", name="Add").click()
        uploader = self.page.locator("[data-testid=stFileUploader]", has_text=label)
        file = {"name": name, "mimeType": "application/octet-stream", "buffer": data}
        # Closed before it has come, it would be lost.
        with self.page.expect_response(re.compile("/_stcore/upload_file/"), timeout=PATIENCE):
            uploader.locator("input[type=file]").set_input_files(file)
        self.settle()
        self.page.keyboard.press("Escape")

    def viewer(self, key: str) -> Any:
        """The component of that key; locators pierce its shadow root."""
        return self.page.locator(f".st-key-{key}")

    def text(self) -> str:
        """What is written on the page."""
        return self.page.inner_text("[data-testid=stMain]")
