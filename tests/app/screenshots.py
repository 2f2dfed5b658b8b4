"""All pictures of the app in README, anew: python -m tests.app.screenshots [NAME …]

Starts the app with the shipped networks and no data sets or runs, and writes ``docs/NAME.webp``
of each page as a link opens it. Needs Chromium. Not a test: it takes a minute or two, and
milliseconds that a picture shows are those of this machine, so nothing else should run on it.
"""

from __future__ import annotations

import argparse
import io
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from tests.app.browser import Tab
from tests.app.conftest import FLAGS, ROOT, _wait_for, browser_program

#: Milliseconds; the first map waits for the compiler.
PATIENCE = 600_000
#: The network for any tau that all pictures are of.
NETWORK = "imagenet_efficientnet_lite1_sact_anytau"


@dataclass(frozen=True)
class Shot:
    """One picture.

    Attributes
    ----------
    link : str
        What is opened.
    size : (int, int)
        Width and height of the window, in CSS pixels.
    scale : float
        Pixels of the picture for each.
    at : str
        Selector of what the picture begins with; the top of the page where empty.
    drawn : str
        Selector of what comes last, and is waited for.
    """

    link: str
    size: tuple[int, int] = (1280, 860)
    scale: float = 1.0
    at: str = ""
    drawn: str = "canvas.view >> nth=2"


EXPLORE = f"/?explore_checkpoint={NETWORK}&explore_image=Coffee&explore_tau=0.2"
SHOTS = {
    "explore": Shot(EXPLORE, (1280, 720)),
    "why": Shot(
        f"{EXPLORE}&explore_row=160&explore_column=150",
        (1280, 690),
        at="h2:has-text('Why did it stop there?')",
    ),
    "sweep": Shot("/sweep?sweep_image=Coffee&sweep_price=0.1", (1280, 1100)),
    "compare": Shot(
        f"/compare?compare_count=2&compare_image=Coffee&compare_checkpoint_1={NETWORK}"
        f"&compare_checkpoint_2={NETWORK}&compare_tau_1=0.05&compare_tau_2=0.3",
        (1280, 720),
        at=".st-key-compare_view",
        drawn="canvas.view >> nth=1",
    ),
    "flops": Shot(
        f"/flops?flops_checkpoint={NETWORK}&flops_image=Coffee&flops_tau=0.2",
        (1280, 860),
        at=".st-key-flops_count",
        drawn=".st-key-flops_tree .js-plotly-plot",
    ),
    "halting_lab": Shot("/halting_lab", drawn=".js-plotly-plot >> nth=0"),
    "explore_phone": Shot(EXPLORE, (390, 844), 1.5, drawn="canvas.view >> nth=0"),
}


def main(argv: list[str] | None = None) -> int:
    """Take the pictures; 1 where a page said something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.app.screenshots", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SHOTS)}")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder (default: docs)")
    args = parser.parse_args(argv)
    unknown = [name for name in args.names if name not in SHOTS]
    if unknown:
        parser.error(f"there is no picture {unknown[0]}: {', '.join(SHOTS)}")
    from playwright.sync_api import sync_playwright

    wrong = 0
    with served() as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_program(), args=FLAGS)
        for name in args.names or SHOTS:
            picture, errors = taken(browser, address, SHOTS[name])
            wrong += bool(errors)
            path = args.out / f"{name}.webp"
            Image.open(io.BytesIO(picture)).convert("RGB").save(path, quality=82, method=6)
            print(f"{path}: {path.stat().st_size:,} bytes", *errors, sep="\n  ", flush=True)
        browser.close()
    return int(wrong > 0)


@contextmanager
def served() -> Iterator[str]:
    """Address of the app as it is in a fresh clone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        names = ("SACT_RUNS_DIR", "SACT_CACHE_DIR", "TFDS_DATA_DIR")
        environment = os.environ | {name: str(Path(folder) / name) for name in names}
        for name in ("SACT_PRETRAINED_DIR", "SACT_CHECKPOINT_DIRS", "SACT_PHOTOS"):
            environment.pop(name, None)
        options = ["--server.headless", "true", "--server.address", "127.0.0.1"]
        options += ["--server.port", str(port), "--server.fileWatcherType", "none"]
        log = Path(folder) / "log"
        with (
            log.open("wb") as out,
            subprocess.Popen(
                [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", *options],
                cwd=ROOT,
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                address = f"http://127.0.0.1:{port}"
                _wait_for(address, process, log)
                yield address
            finally:
                process.kill()


def taken(browser: Any, address: str, shot: Shot) -> tuple[bytes, list[str]]:
    """A picture as PNG, and what the browser complained about."""
    width, height = shot.size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        device_scale_factor=shot.scale,
        color_scheme="light",
        reduced_motion="reduce",
    )
    tab = Tab(context.new_page(), address, PATIENCE)
    tab.open(shot.link)
    tab.page.locator(f"[data-testid=stMain] {shot.drawn}").wait_for()
    tab.settle()
    if shot.at:
        tab.page.locator(f"[data-testid=stMain] {shot.at}").evaluate(
            "part => { part.style.scrollMargin = '4.5rem'; part.scrollIntoView() }"
        )
    tab.page.wait_for_timeout(1500)  # what fades in or is drawn in the next frames
    picture = tab.page.screenshot()
    context.close()
    return picture, tab.errors


if __name__ == "__main__":
    raise SystemExit(main())
