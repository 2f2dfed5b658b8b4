"""The file to hand on, opened from a disk in Chromium without a network, and driven.

A request, an error on the console or an uncaught exception fails the test. Numbers are held
to those of the network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sact_core import handout
from sact_core.backends import Net, load
from sact_core.data.images import read_image
from sact_core.maps.limits import unit_limits
from sact_core.ponder import main
from sact_core.viewer import colour_table, sources
from tests.app.browser import PATIENCE
from tests.app.conftest import ROOT

pytestmark = pytest.mark.browser

NAMES = ("cat.jpg", "<img src=x onerror=document.title=1>.jpg")


@pytest.fixture(scope="module")
def net(any_tau: Path) -> Net:
    return load(any_tau / "tiny_sact_anytau.h5", "reference")


@pytest.fixture(scope="module")
def file(any_tau: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs under a network that takes any tau; the second has a hostile name."""
    folder = tmp_path_factory.mktemp("handed on")
    photos = [folder / name for name in NAMES]
    for photo, example in zip(photos, ("cat", "coffee"), strict=True):
        photo.write_bytes((ROOT / "app" / "examples" / f"{example}.jpg").read_bytes())
    path = folder / "maps & more.html"
    argv = [*photos, "--checkpoint", any_tau / "tiny_sact_anytau.h5", "--backend", "reference"]
    assert main([*map(str, argv), "--html", str(path), "--scale", "units", "--tau", "0.01"]) == 0
    return path


class Page:
    """A tab without a network that remembers every error and request."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(offline=True, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.errors: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._request)
        self.page.goto(path.as_uri())
        self.page.locator("canvas.view").first.wait_for()
        self.until("document.querySelector('canvas.view').width > 0")

    def _console(self, message: Any) -> None:
        if message.type == "error":  # the page's own policy is kept to: what it refuses is one
            self.errors.append(message.text)

    def until(self, script: str) -> None:
        """Wait until an expression is true; Playwright's own waiting the policy refuses."""
        for _ in range(PATIENCE // 100):
            if self.page.evaluate(script):
                return
            self.page.wait_for_timeout(100)
        pytest.fail(f"never true: {script}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.errors.append(f"request: {request.url}")

    def readout(self) -> str:
        return str(self.page.locator(".readout").inner_text())

    def pixels(self, panel: int) -> np.ndarray:
        """Colours of the middle of every cell of 32 x 32 of a panel."""
        found = (
            self.page.locator("canvas.view")
            .nth(panel)
            .evaluate(
                """(canvas) => {
              const pen = canvas.getContext("2d")
              const at = (i, length) => Math.floor(((i + 0.5) * length) / 32)
              const cell = (i) => [at(i % 32, canvas.width), at(i >> 5, canvas.height), 1, 1]
              return Array.from({ length: 1024 }, (_, i) => [...pen.getImageData(...cell(i)).data])
            }"""
            )
        )
        return np.array(found).reshape(32, 32, 4)[..., :3]

    def place(self, panel: int, row: int, column: int) -> dict[str, float]:
        box = self.page.locator("canvas.view").nth(panel).bounding_box()
        return {"x": box["width"] * (column + 0.5) / 32, "y": box["height"] * (row + 0.5) / 32}


@pytest.fixture
def opened(browser: Any, file: Path) -> Iterator[Page]:
    page = Page(browser, file, viewport={"width": 1440, "height": 900})
    yield page
    page.context.close()
    assert page.errors == []


def run(net: Net, tau: float, example: str = "cat") -> Any:
    image = read_image(ROOT / "app" / "examples" / f"{example}.jpg")
    return net.forward(net.see(image).x, tau=tau)


def test_the_dial_moves_maps_and_numbers(opened: Page, net: Net) -> None:
    page, slider = opened.page, opened.page.locator("input.tau")
    table, (low, high) = colour_table("viridis"), unit_limits(net.config.units_per_block)
    spent = []
    for key, tau in (("", 0.01), ("Home", 0.0005), ("End", 0.05)):
        slider.focus()
        if key:
            page.keyboard.press(key)
        result = run(net, tau)
        assert page.locator("output.is b").inner_text() == f"τ = {tau:g}"
        cells = page.locator("section", has_text="What it cost").last.locator("tbody tr")
        assert f"{result.flops[0]:,}" in cells.last.inner_text()
        for i, block in enumerate(result.blocks):
            units = block.num_units
            said = f"{units.mean():.2f} ({units.min()} to {units.max()}) of 3"
            assert said in cells.nth(i + 1).inner_text()
        probabilities = result.probabilities[0]
        best = net.class_names[probabilities.argmax()]
        first = page.locator("section", has_text="What it says").last.locator("tbody tr").first
        assert first.inner_text().split() == [best, f"{100 * probabilities.max():.2f}", "%"]
        colours = table[np.rint(255 * (result.map()[0] - low) / (high - low)).astype(int)]
        assert np.abs(opened.pixels(1) - colours.astype(int)).max() <= 4  # a step of 16 bits
        spent.append(opened.pixels(1))
    assert (spent[1] != spent[2]).any()

    # Dragged with the pointer, as far as it goes.
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] - 5, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 1, middle, steps=5)
    page.mouse.up()
    assert page.locator("output.is b").inner_text() == "τ = 0.0005"
    np.testing.assert_array_equal(opened.pixels(1), spent[1])


def test_a_click_tells_why_a_position_stopped(opened: Page, net: Net) -> None:
    result = run(net, 0.01)
    stopped = np.argwhere(result.blocks[0].num_units[0] < 3)
    for row, column in ([24, 8], stopped[len(stopped) // 2]):
        canvas = opened.page.locator("canvas.view").nth(1)
        canvas.click(position=opened.place(1, row, column))
        said = opened.readout()
        assert f"row {row}, column {column}" in said
        total = float(re.search(r"([\d.]+) units", said)[1])
        assert total == pytest.approx(result.map()[0, row, column], abs=0.0051)
        assert opened.page.get_by_label("Row").input_value() == str(row)
        parts = opened.page.locator(".block")
        for i, block in enumerate(result.blocks):
            h, w = block.size
            at = (0, row * h // 32, column * w // 32)
            units, text = int(block.num_units[at]), parts.nth(i).inner_text()
            how = "ran all 3 units" if units == 3 else f"stopped after {units} of 3 units"
            assert f"{how}, ponder cost {block.ponder_cost[at]:.2f}" in text
            parts.nth(i).locator("summary").click()
            rows = parts.nth(i).locator("tbody tr").all_inner_texts()
            scores = [float(text.split()[1]) for text in rows]
            read = block.halting_proba[at][: min(units, 2)]
            assert scores == pytest.approx(read.tolist(), abs=0.00006)
            assert parts.nth(i).locator("rect.score").count() == len(read)

    # With the keyboard, and typed.
    canvas.focus()
    opened.page.keyboard.press("ArrowDown")
    assert opened.page.get_by_label("Row").input_value() == str(row + 1)
    opened.page.get_by_label("Row").fill("2")
    opened.page.get_by_label("Row").press("Enter")
    assert "row 2, " in opened.readout()


def test_the_film_plays(opened: Page, net: Net) -> None:
    page, play = opened.page, opened.page.locator("button.play")
    first = opened.pixels(3)
    play.click()
    opened.until("Number(document.querySelectorAll('.slider input')[1].value) > 3")
    play.click()
    assert "Play" in play.inner_text()
    unit = page.get_by_label("Unit of the film")
    now = int(unit.input_value()) - 1
    assert f"Block {now // 3 + 1}, unit {now % 3 + 1} of 3" in opened.readout()
    for stage in (0, 1, 5):
        unit.fill(str(stage + 1))
        block = run(net, 0.01).blocks[stage // 3]
        active = block.num_units[0] > stage % 3
        said = f"Block {stage // 3 + 1}, unit {stage % 3 + 1} of 3: "
        assert f"{said}{100 * active.mean():.0f} % of positions active" in opened.readout()
        whole = active[np.arange(32) * len(active) // 32][:, np.arange(32) * len(active) // 32]
        np.testing.assert_array_equal((opened.pixels(3) == first).all(axis=2), whole)


def test_units_run_zoom_theme_and_the_next_image(opened: Page, net: Net) -> None:
    page = opened.page
    page.get_by_role("button", name="Units run").click()
    result = run(net, 0.01)
    page.locator("canvas.view").nth(1).hover(position=opened.place(1, 10, 20))
    assert f"{result.map('num_units')[0, 10, 20]:.2f} units" in opened.readout()
    shown = opened.pixels(0)
    page.get_by_role("button", name="Zoom in").click()
    assert (opened.pixels(0) != shown).any()

    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate(ground) != light

    page.get_by_role("button", name="Next").click()
    assert page.locator("h1").inner_text() == NAMES[1]
    assert page.locator("main img").count() == 0
    assert f"{run(net, 0.01, 'coffee').flops[0]:,}" in page.inner_text("main")
    assert page.get_by_role("button", name="Next").is_disabled()
    page.get_by_role("button", name="Previous").click()
    assert page.locator("h1").inner_text() == NAMES[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(browser: Any, file: Path, scheme: Any) -> None:
    opened = Page(
        browser, file, viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True
    )
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    # The map comes first, whole on the first screen.
    box = page.locator("canvas.view").nth(1).bounding_box()
    assert box["y"] + box["height"] <= 844
    page.locator("canvas.view").nth(1).tap(position=opened.place(1, 4, 9))
    assert page.get_by_label("Row").input_value() == "4"
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 21, 24)"
    opened.context.close()
    assert dark is (scheme == "dark")
    assert opened.errors == []


def test_several_networks_side_by_side(
    browser: Any, net: Net, pretrained: Path, tmp_path: Path
) -> None:
    image = read_image(ROOT / "app" / "examples" / "cat.jpg")
    nets = [net, *(load(pretrained / f"{n}.h5", "reference") for n in ("tiny_act", "tiny_vanilla"))]
    seen = [each.see(image) for each in nets]
    results = [each.forward(s.x) for each, s in zip(nets, seen, strict=True)]
    thoughts = [
        handout.think(each, s.x, result, name=name, tau=each.tau)
        for each, s, result, name in zip(nets, seen, results, ("any", "act", "none"), strict=True)
    ]
    path = tmp_path / "compare.html"
    handout.write_page(path, [handout.scene("cat", seen[0].pixels, thoughts)])
    opened = Page(browser, path, viewport={"width": 1440, "height": 900})
    page = opened.page
    rows = page.locator("section", has_text="All networks").last.locator("tbody tr")
    for i, result in enumerate(results):
        assert f"{result.flops[0]:,}" in rows.nth(i).inner_text()
    page.get_by_role("button", name="2 act").click()
    assert "ACT decides once" in page.inner_text("main")
    units = int(results[1].blocks[0].num_units[0])
    assert re.search(
        rf"(stopped after|ran all) {units} ", page.locator(".block").first.inner_text()
    )
    page.get_by_role("button", name="3 none").click()
    assert "every position runs every unit" in page.inner_text("main")
    page.locator("canvas.view").nth(3).hover(position=opened.place(3, 3, 3))
    assert re.search(r"3 9\.00 units", opened.readout().replace("\xa0", " "))
    page.get_by_role("button", name="1 any").click()
    page.locator("input.tau").focus()
    page.keyboard.press("End")
    assert f"{run(net, 0.05).flops[0]:,}" in rows.first.inner_text()
    opened.context.close()
    assert opened.errors == []


MODEL = """async ([code, text, traits]) => {
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }))
  const { default: widget } = await import(url)
  const values = { _data: new DataView(new TextEncoder().encode(text).buffer), ...traits }
  const heard = {}
  window.saved = []
  window.model = {
    get: (name) => values[name],
    set: (name, value) => { values[name] = value },
    save_changes: () => saved.push(JSON.stringify([values.position, values.tau, values.unit])),
    on: (event, take) => (heard[event] ??= []).push(take),
    off: (event, take) => { heard[event] = heard[event].filter((each) => each !== take) },
    put: (name, value) => { values[name] = value; heard[`change:${name}`].forEach((f) => f()) },
    numHeard: () => Object.values(heard).flat().length,
  }
  document.body.append(Object.assign(document.createElement("button"), { id: "others" }))
  const before = getComputedStyle(others).backgroundColor
  const views = [0, 1].map(() => document.body.appendChild(document.createElement("div")))
  window.ends = views.map((el) => widget.render({ model, el }))
  return before === getComputedStyle(others).backgroundColor
}"""


def test_in_a_notebook_traits_go_both_ways(browser: Any, net: Net) -> None:
    """By the protocol of anywidget, as Jupyter, VS Code and marimo speak it; in two views."""
    seen = net.see(read_image(ROOT / "app" / "examples" / "cat.jpg"))
    thought = handout.think(net, seen.x, net.forward(seen.x, tau=0.01), tau=0.01)
    text = json.dumps(handout.document([handout.scene("Image", seen.pixels, [thought])]))
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 900})
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    traits = {"position": [3, 4], "tau": 0.01, "unit": 2}
    assert page.evaluate(MODEL, [sources.script("widget"), text, traits])  # style stays inside
    canvas = page.locator("canvas.view").nth(1)
    canvas.wait_for()
    assert page.get_by_label("Row").first.input_value() == "3"
    assert "Block 1, unit 2 of 3" in page.locator(".readout").first.inner_text()

    # From the page to Python.
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * 9.5 / 32, "y": box["height"] * 20.5 / 32})
    page.wait_for_function("saved.includes('[[20,9],0.01,2]')")
    page.locator("input.tau").first.focus()
    page.keyboard.press("End")
    page.wait_for_function("saved.includes('[[20,9],0.05,2]')")
    page.get_by_label("Unit of the film").first.fill("5")
    page.wait_for_function("saved.includes('[[20,9],0.05,5]')")
    num_saved = page.evaluate("saved.length")

    # From Python to the page, in both views.
    page.evaluate("model.put('position', [7, 11]); model.put('tau', 0.0005); model.put('unit', 9)")
    flops = f"{run(net, 0.0005).flops[0]:,}"
    for view in (0, 1):
        assert page.get_by_label("Row").nth(view).input_value() == "7"
        assert page.locator("output.is b").nth(view).inner_text() == "τ = 0.0005"
        assert "block 3, unit 3" in page.locator(".readout").nth(view).inner_text().lower()
        assert page.get_by_role("cell", name=flops, exact=True).nth(view).is_visible()
    page.wait_for_timeout(400)
    assert page.evaluate("saved.length") == num_saved  # what was set is not sent back

    page.evaluate("ends.forEach((end) => end())")
    assert page.evaluate("model.numHeard()") == 0
    context.close()
    assert errors == []
