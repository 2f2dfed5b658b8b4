"""Several people at once: python -m tests.app.sessions [--sessions 8]

Starts the app, lets that many browser sessions upload images, change
checkpoints and sweep tau together, checks every number they see against the
core, and prints how long they waited and how much memory the server took.
Needs Chromium. Not a test: it takes a minute and measures this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from app.families import title
from app.figures import si
from app.records import Model
from sact_core.backends import load
from sact_core.checkpoint import read_header
from tests.app.conftest import CHROMIUM, FLAGS, ROOT, write_family
from tests.app.pages import png

MEMORY_LIMIT = 2 << 30


def main(argv: list[str] | None = None) -> int:
    """Run the measurement; 1 where a session saw a wrong number or memory ran over."""
    parser = argparse.ArgumentParser(prog="python -m tests.app.sessions", description=__doc__)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument(
        "--pretrained", type=Path, help="folder of checkpoints; tiny ones if absent"
    )
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        pretrained = args.pretrained or write_family(Path(folder) / "pretrained")
        names = sorted(path.stem for path in pretrained.glob("*sact_tau*.h5"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = ["--server.headless", "true", "--server.address", "127.0.0.1"]
        options += ["--server.port", str(port), "--server.fileWatcherType", "none"]
        with subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", *options],
            cwd=ROOT,
            env=os.environ | {"SACT_PRETRAINED_DIR": str(pretrained), "SACT_RUNS_DIR": folder},
            stdout=subprocess.DEVNULL,
        ) as server:
            try:
                address = f"http://127.0.0.1:{port}"
                _wait_for(address)
                waits, wrong, peak = asyncio.run(
                    _crowd(address, server.pid, pretrained, names, args.sessions)
                )
            finally:
                server.kill()
    for action, seconds in waits.items():
        print(
            f"{action:28} median {np.median(seconds):5.2f} s, slowest {max(seconds):5.2f} s, "
            f"{len(seconds)} times"
        )
    print(f"server memory at most {peak / 2**20:.0f} MB; {wrong} wrong numbers")
    return int(wrong > 0 or peak > MEMORY_LIMIT)


async def _crowd(
    address: str, pid: int, pretrained: Path, names: list[str], sessions: int
) -> tuple[dict[str, list[float]], int, int]:
    from playwright.async_api import async_playwright

    program = next(path for path in CHROMIUM if Path(path).exists())
    waits: dict[str, list[float]] = {}
    peak = 0
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=program, args=FLAGS)
        people = [
            asyncio.create_task(_person(browser, address, i, pretrained, names, waits))
            for i in range(sessions)
        ]
        while not all(person.done() for person in people):
            peak = max(peak, _memory(pid))
            await asyncio.sleep(0.3)
        wrong = sum([await person for person in people])
        await browser.close()
    return waits, wrong, peak


async def _person(
    browser: Any,
    address: str,
    number: int,
    pretrained: Path,
    names: list[str],
    waits: dict[str, list[float]],
) -> int:
    """One session; gives how many wrong numbers it saw."""
    wrong = 0
    context = await browser.new_context(viewport={"width": 1200, "height": 900})
    page = await context.new_page()
    page.set_default_timeout(120_000)

    async def timed(action: str, work: Any) -> None:
        began = time.perf_counter()
        await work
        waits.setdefault(action, []).append(time.perf_counter() - began)

    def flops(name: str, pixels: np.ndarray) -> str:
        result = load(pretrained / f"{name}.h5").run([pixels])[0]
        return si(int(result.flops[0]))

    async def see(value: str) -> None:
        metric = page.locator("[data-testid=stMetricValue]", has_text=value)
        await metric.first.wait_for()

    await page.goto(f"{address}/")
    canvas = page.locator(".st-key-explore_map canvas.view").first
    await timed("first map", canvas.wait_for())

    from sact_core.data.images import read_image

    data = png(20 + number % 12, 30, seed=number)  # small: shown as the network was trained
    pixels = read_image(data)
    await page.get_by_role("button", name="Add").click()
    upload = page.locator("[data-testid=stFileUploader]", has_text="Images")
    file = {"name": f"mine{number}.png", "mimeType": "image/png", "buffer": data}
    await upload.locator("input[type=file]").set_input_files(file)
    titles = {_title(path): path.stem for path in pretrained.glob("*.h5")}
    chosen = titles[await page.locator(".st-key-explore_checkpoint input").input_value()]
    await timed("upload of an image", see(flops(chosen, pixels)))
    await page.keyboard.press("Escape")
    shown = {name: title for title, name in titles.items()}
    for k in range(2 * len(names)):
        name = names[(k + number) % len(names)]
        box = page.locator(".st-key-explore_checkpoint input")
        await box.focus()
        await page.keyboard.press("ArrowDown")
        await page.get_by_role("option", name=shown[name], exact=True).click()
        try:
            await timed("another checkpoint", see(flops(name, pixels)))
        except Exception:  # the number never came
            wrong += 1
    await page.get_by_role("link", name="Sweep tau").click()
    await page.locator(".st-key-sweep_row canvas.view").first.wait_for()
    slider = page.locator(".st-key-sweep_tau input[type=range]")
    await slider.focus()
    await page.keyboard.press("Home")
    for name in names:
        try:
            await timed("another tau", see(flops(name, pixels)))
        except Exception:
            wrong += 1
        await page.keyboard.press("ArrowRight")
    await context.close()
    return wrong


def _title(path: Path) -> str:
    """What the app calls a network."""
    header = read_header(path)
    return title(Model(path.stem, header, header.content_hash, path))


def _memory(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    return 0


def _wait_for(address: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the app did not start")


if __name__ == "__main__":
    raise SystemExit(main())
