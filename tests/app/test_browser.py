"""The app from end to end, in headless Chromium.

An error on the console, an uncaught exception or a failed request fails the test.
"""

from __future__ import annotations

import re

import pytest

from tests.app.browser import SMALL, Tab

pytestmark = pytest.mark.browser


def test_first_open_then_click_a_position(tab):
    tab.open()
    assert tab.viewer("explore_map").locator("canvas.view").count() == 3
    tab.open(f"/?{SMALL}")
    viewer = tab.viewer("explore_map")
    canvas = viewer.locator("canvas.view").nth(1)
    canvas.wait_for()

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
    tab.page.wait_for_url(re.compile("explore_row=24"))
    tab.settle()
    assert "explore_column=8" in tab.page.url
    assert tab.page.get_by_label("Row").first.input_value() == "24"


CONTRAST = """(found) => {
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true })
  const read = (colour) => {
    pen.clearRect(0, 0, 1, 1)
    pen.fillStyle = colour
    pen.fillRect(0, 0, 1, 1)
    const [red, green, blue, alpha] = pen.getImageData(0, 0, 1, 1).data
    return [red, green, blue, alpha / 255]
  }
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]))
  const light = (colour) => {
    const [red, green, blue] = colour
      .map((value) => value / 255)
      .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
  }
  return [...document.querySelectorAll(found)].map((element) => {
    const parents = []
    for (let at = element; at; at = at.parentElement) parents.unshift(getComputedStyle(at))
    const grounds = parents.map((style) => read(style.backgroundColor))
    const ground = grounds.reduce((under, top) => over(top, under), [255, 255, 255])
    const colour = read(getComputedStyle(element).color)
    colour[3] *= parents.reduce((product, style) => product * style.opacity, 1)
    const [dark, bright] = [light(ground), light(over(colour, ground))].sort((a, b) => a - b)
    return [(bright + 0.05) / (dark + 0.05), element.innerText]
  })
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_captions_have_contrast(browser, server, scheme):
    context = browser.new_context(color_scheme=scheme)
    tab = Tab(context.new_page(), server)
    found = []
    for path in ("/", "/halting_lab"):
        tab.open(path)
        found += tab.page.evaluate(CONTRAST, "[data-testid=stCaptionContainer] p")
    context.close()

    assert len(found) > 4
    assert [each for each in found if each[0] < 4.5] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_run_button_has_contrast(browser, server, scheme):
    """As Streamlit draws it; a page that has one wants a data set, so another is made it."""
    context = browser.new_context(color_scheme=scheme)
    tab = Tab(context.new_page(), server)
    tab.open("/check")
    button = tab.page.get_by_role("button", name="Check this image")
    button.evaluate("button => { button.dataset.testid = 'stBaseButton-primary' }")
    still = tab.page.evaluate(CONTRAST, "[data-testid=stBaseButton-primary] p")
    button.hover()
    tab.page.wait_for_timeout(500)  # colours fade
    pointed = tab.page.evaluate(CONTRAST, "[data-testid=stBaseButton-primary] p")
    context.close()

    assert len(still) == len(pointed) == 1
    assert still[0][0] >= 4.5
    assert pointed[0][0] >= 4.5


def test_cards_wrap_at_twice_the_text(tab):
    tab.open(f"/?{SMALL}")
    tab.page.evaluate("() => { document.documentElement.style.fontSize = '200%' }")
    tab.page.wait_for_timeout(300)
    cut = tab.page.evaluate(
        """() => [...document.querySelectorAll("[data-testid=stMetric] *")]
            .filter((part) => part.clientWidth && part.scrollWidth > part.clientWidth + 1)
            .filter((part) => getComputedStyle(part).overflowX !== "visible")
            .map((part) => part.textContent)"""
    )
    assert tab.page.get_by_test_id("stMetric").count() >= 4
    assert cut == []


def test_what_nobody_sees_pushes_no_page_down(tab):
    tab.open("/halting_lab")
    assert tab.page.evaluate(
        """() => {
          const title = document.querySelector("h1")
          const shell = document.querySelector(".st-key-shell")
          return Boolean(title.compareDocumentPosition(shell) & Node.DOCUMENT_POSITION_FOLLOWING)
        }"""
    )


def test_film_plays_and_pauses(tab):
    tab.open()
    film = tab.viewer("explore_film_map")
    film.scroll_into_view_if_needed()
    button = film.locator("button.play")
    button.click()
    tab.page.wait_for_timeout(1200)
    assert "Pause" in button.inner_text()
    button.click()
    tab.page.wait_for_url(re.compile("explore_unit="))
    tab.settle()
    unit = int(re.search(r"explore_unit=(\d+)", tab.page.url).group(1))
    assert 1 < unit <= 9
    assert f"unit {(unit - 1) % 3 + 1} of 3" in film.locator(".readout").inner_text()


def test_download_gives_the_file(tab):
    tab.open()
    button = tab.page.get_by_role("button", name="Map (.png)")
    button.scroll_into_view_if_needed()
    with tab.page.expect_download() as caught:
        button.click()
    download = caught.value

    assert download.suggested_filename == "Cat_tiny_sact_tau0.01_128x84_map.png"
    with open(download.path(), "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("page", ["", "sweep", "compare"])
def test_the_page_to_hand_on_opens_by_itself(browser, tab, tmp_path, page):
    tab.open(f"/{page}")
    button = tab.page.get_by_role("button", name="Interactive page (.html)")
    button.scroll_into_view_if_needed()
    with tab.page.expect_download() as caught:
        button.click()
    path = tmp_path / caught.value.suggested_filename
    caught.value.save_as(path)

    context = browser.new_context(offline=True)
    opened = Tab(context.new_page(), path.as_uri())
    opened.page.goto(path.as_uri())
    opened.page.get_by_role("heading", level=1, name="Cat").wait_for()
    canvas = opened.page.locator("canvas.view").nth(1)
    canvas.click()
    said = opened.page.locator(".readout").inner_text()
    errors = list(opened.errors)
    context.close()
    assert path.suffix == ".html"
    assert "units" in said
    assert errors == []


def test_sweep_moves_the_big_map(tab):
    tab.open("/sweep")
    viewer = tab.viewer("sweep_map")
    assert "τ = 0.005" in viewer.locator(".title").nth(1).inner_text()
    slider = tab.page.locator(".st-key-sweep_tau input[type=range]")
    slider.focus()
    tab.page.keyboard.press("ArrowRight")
    tab.page.wait_for_url(re.compile("sweep_tau=0.01"))
    tab.settle()

    assert "τ = 0.01" in viewer.locator(".title").nth(1).inner_text()
    assert tab.viewer("sweep_row").locator("canvas.view").count() == 3


def test_compare_keeps_the_zoom_when_a_checkpoint_changes(tab):
    tab.open("/compare")
    viewer = tab.viewer("compare_maps")
    canvas = viewer.locator("canvas.view").first
    canvas.wait_for()
    for _ in range(3):
        viewer.locator("button.in").click()
    assert canvas.evaluate("canvas => canvas.classList.contains('zoomed')")
    box = canvas.bounding_box()
    corner = {"x": 4, "y": 4}
    canvas.hover(position=corner)
    before = re.search(r"row \d+, column \d+", viewer.locator(".readout").inner_text()).group()
    assert before != "row 0, column 0"

    tab.choose("compare_checkpoint_2", "ResNet-20 SACT, 1/4 width, τ = 0.005, on CIFAR-10")
    assert "τ = 0.005" in viewer.locator(".title").nth(1).inner_text()
    canvas.hover(position=corner)
    after = re.search(r"row \d+, column \d+", viewer.locator(".readout").inner_text()).group()
    assert after == before
    assert canvas.bounding_box()["width"] == box["width"]

    tab.page.get_by_text("Swipe", exact=True).click()
    tab.settle()
    assert viewer.locator("canvas.view").count() == 1
    divider = viewer.locator(".swipe input")
    shown = canvas.evaluate("canvas => canvas.toDataURL()")
    divider.fill("100")
    assert canvas.evaluate("canvas => canvas.toDataURL()") != shown


@pytest.mark.parametrize("page", ["flops", "halting_lab", "check", "data_set", "runs"])
def test_other_pages_open_on_a_phone_in_the_dark(browser, server, page):
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True
    )
    tab = Tab(context.new_page(), server)
    tab.open(f"/{page}")
    overflow = tab.page.evaluate(
        "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    errors = list(tab.errors)
    context.close()

    assert errors == []
    assert overflow <= 0
