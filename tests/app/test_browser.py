"""The app from end to end, in headless Chromium.

An error on the console, an uncaught exception or a failed request fails the test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.app.pages import png

pytestmark = pytest.mark.browser

#: Milliseconds; a busy machine needs a while.
PATIENCE = 90_000


class Tab:
    """A browser tab that remembers every error."""

    def __init__(self, page: Any, server: str, patience: int = PATIENCE) -> None:
        self.page = page
        self.patience = patience
        self.server = server
        self.errors: list[str] = []
        page.set_default_timeout(patience)
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
        """Wait until the app has nothing left to do."""
        self.page.wait_for_timeout(300)
        self.page.wait_for_function(
            """() => !document.querySelector('[data-testid="stStatusWidget"]')
                  && !document.querySelector('[data-stale="true"]')
                  && !document.querySelector('[data-testid="stSkeleton"]')""",
            timeout=self.patience,
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


@pytest.fixture
def tab(browser: Any, server: str) -> Iterator[Tab]:
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, accept_downloads=True)
    tab = Tab(context.new_page(), server)
    yield tab
    errors = list(tab.errors)
    context.close()
    assert errors == []


SMALL = "explore_fit_cifar=Square+crop&explore_side_cifar=32"


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


def test_upload_of_an_odd_image_then_of_none(tab):
    tab.open()
    tab.add("Images", "sliver.png", png(5, 300))
    tab.page.get_by_text("the whole 300 × 5 image").wait_for()
    assert tab.viewer("explore_map").locator("canvas.view").count() == 3

    tab.add("Images", "fake.png", b"no image")
    on_page = tab.page.locator("[data-testid=stMain]").get_by_text("fake.png is no image")
    on_page.wait_for()
    assert tab.viewer("explore_map").locator("canvas.view").count() == 3


def test_what_became_of_an_upload_is_said_over_the_open_popover(tab):
    tab.open()
    page, held = tab.page, []
    page.get_by_role("button", name="Add").click()
    uploader = page.locator("[data-testid=stFileUploader]", has_text="Images")
    file = {"name": "fake.png", "mimeType": "image/png", "buffer": b"no image"}
    uploader.locator("input[type=file]").set_input_files(file)
    toast = page.get_by_test_id("stToast").filter(has_text="fake.png is no image")
    toast.wait_for()
    assert toast.evaluate(
        """toast => {
          const box = toast.getBoundingClientRect()
          const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2)
          return toast.contains(top)
        }"""
    )

    # As in a frame of another site, where the browser keeps the cookie back.
    page.route("**/_stcore/upload_file/**", lambda route: route.fulfill(status=403))
    uploader.locator("input[type=file]").set_input_files({**file, "name": "refused.png"})
    page.get_by_text("open the app in a tab of its own").wait_for()
    assert any("403" in error for error in tab.errors)  # Chromium's own line
    tab.errors.clear()

    # Closed while the file is on its way.
    page.unroute("**/_stcore/upload_file/**")
    page.route("**/_stcore/upload_file/**", lambda route: held.append(route))
    uploader.locator("input[type=file]").set_input_files({**file, "name": "late.png"})
    page.wait_for_timeout(500)
    page.keyboard.press("Escape")
    uploader.wait_for(state="detached")
    for route in held:
        route.continue_()
    page.get_by_text("The upload was given up").wait_for()
    tab.settle()


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


def test_an_address_without_a_page_is_said(tab):
    tab.open("/nosuchpage")
    tab.page.get_by_text("There is no page nosuchpage: this is Explore.").wait_for()
    tab.settle()
    tab.errors[:] = [
        error
        for error in tab.errors
        if "nosuchpage" not in error and "does not seem to exist" not in error
    ]  # Chromium's line and Streamlit's


def test_upload_of_a_bad_checkpoint_then_of_a_good_one(tab, pretrained):
    tab.open()
    whole = (pretrained / "tiny_act.h5").read_bytes()
    tab.add("Checkpoint", "cut.h5", whole[: len(whole) // 2])
    tab.page.locator("[data-testid=stAlert]").first.wait_for()
    assert "Traceback" not in tab.text()
    assert tab.viewer("explore_map").locator("canvas.view").count() == 3

    tab.add("Checkpoint", "whole.h5", whole)
    tab.page.get_by_text("ACT decides once for the whole image").wait_for()


def test_deep_link_opens_the_same_screen(tab):
    path = (
        "/?explore_checkpoint=tiny_sact_tau0.005&explore_image=Coffee&explore_row=3"
        "&explore_column=30&explore_metric=Units+run&explore_unit=5&explore_colours=magma"
    )
    tab.open(path)

    page = tab.page
    assert page.get_by_label("Row").first.input_value() == "3"
    assert page.get_by_label("Column").first.input_value() == "30"
    assert "τ = 0.005" in tab.text()
    assert (
        "block 2, unit 2 of 3"
        in page.locator(".st-key-explore_film_map .readout").inner_text().lower()
    )
    assert page.url.endswith(path)


def test_back_goes_one_page_at_a_time(tab):
    page = tab.page
    page.goto("about:blank")
    tab.open(f"/?{SMALL}")
    for option in ("Coffee", "Rocket", "Cat"):
        tab.choose("explore_image", option)
    page.get_by_role("button", name="View").click()
    for text in ("Stretched", "Units run", "Fixed"):
        page.get_by_text(text, exact=True).first.click()
        tab.settle()
    tab.choose("explore_colours", "magma")
    page.wait_for_url(re.compile("explore_colours=magma"))
    page.keyboard.press("Escape")
    left = page.url
    page.get_by_role("link", name="Sweep tau").click()
    page.wait_for_url(re.compile("/sweep"))
    tab.settle()
    page.locator(".st-key-sweep_tau input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_url(re.compile("sweep_tau=0.01"))
    tab.settle()
    page.go_back()
    page.wait_for_url(left)
    tab.settle()
    assert "Where does the network think?" in tab.text()
    page.get_by_role("button", name="View").click()
    assert page.locator(".st-key-explore_colours input").input_value() == "magma"
    page.keyboard.press("Escape")
    page.go_back()
    page.wait_for_url("about:blank")


@pytest.mark.parametrize("meanwhile", ["/", "/?sweep_fit_cifar=Square+crop"])
def test_back_finds_settings_that_were_lost_on_the_way(tab, meanwhile):
    """As on a busy machine: the address changes before the page does."""
    page = tab.page
    left = f"/?explore_colours=magma&{SMALL}"
    tab.open(left)
    page.get_by_role("link", name="Sweep tau").evaluate(
        """(link, meanwhile) => {
          const own = (event) => { event.preventDefault(); event.stopPropagation() }
          link.addEventListener("click", own, { once: true })
          link.click()
          window.history.pushState({}, "", meanwhile)
          window.history.pushState({}, "", "/sweep")
        }""",
        meanwhile,
    )
    assert page.url.endswith("/sweep")
    page.go_back()
    page.wait_for_url(tab.server + left)
    tab.settle()
    page.get_by_role("button", name="View").click()
    assert page.locator(".st-key-explore_colours input").input_value() == "magma"


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


def test_map_follows_the_drag_of_tau(tab, any_tau):
    tab.open(f"/?{SMALL}&explore_image=Astronaut")
    tab.add("Checkpoint", "anytau.h5", (any_tau / "tiny_sact_anytau.h5").read_bytes())
    viewer = tab.viewer("explore_map")
    slider = viewer.locator("input.tau")
    slider.wait_for()
    assert viewer.locator(".marks button").all_inner_texts() == ["0.001", "0.005", "0.01"]
    # Every step of a drag, until the next frame is on the screen.
    steps = slider.evaluate(
        """async (slider) => {
          const canvas = slider.getRootNode().querySelectorAll("canvas.view")[1]
          const frame = () => new Promise((done) => requestAnimationFrame(done))
          const steps = []
          for (let place = 0; place <= 1000; place += 50) {
            const began = performance.now()
            slider.value = place
            slider.dispatchEvent(new Event("input", { bubbles: true }))
            await frame()
            const seconds = (performance.now() - began) / 1000
            steps.push([seconds, canvas.toDataURL()])
          }
          return steps
        }"""
    )
    seconds = sorted(time for time, _ in steps)
    print(f"a step of the drag takes {1000 * seconds[len(seconds) // 2]:.0f} ms in the middle")
    assert len({drawn for _, drawn in steps}) > 10
    assert seconds[len(seconds) // 2] < 1.0  # 0.02 on an idle machine; the bar is 0.2

    slider.focus()
    tab.page.keyboard.press("Home")
    tab.page.keyboard.press("ArrowRight")
    tab.page.wait_for_url(re.compile("explore_tau=0.00055"))
    tab.settle()
    assert "τ = 0.00055" in viewer.locator("output.is").inner_text()
    tab.page.get_by_role("button", name="Settings").click()
    assert tab.page.locator(".st-key-explore_tau input").input_value() == "0.0005503"
    tab.page.keyboard.press("Escape")

    viewer.locator("input.budget").fill("85")
    tab.page.wait_for_url(re.compile(r"explore_tau=0\.0[1-4]"))
    tab.settle()
    share = float(viewer.locator("output.spends b").inner_text().removesuffix(" %"))
    assert abs(share - 85) < 1


@pytest.mark.parametrize("size", [(1440, 900), (1280, 720), (390, 844)])
def test_the_first_screen_has_slider_and_whole_map(browser, server, any_tau, size):
    context = browser.new_context(viewport={"width": size[0], "height": size[1]})
    tab = Tab(context.new_page(), server)
    tab.open()
    tab.add("Checkpoint", "anytau.h5", (any_tau / "tiny_sact_anytau.h5").read_bytes())
    viewer = tab.viewer("explore_map")
    slider, canvases = viewer.locator("input.tau"), viewer.locator("canvas.view")
    slider.wait_for()
    tab.settle()
    of_map = canvases.nth(1)  # on a phone it is the first, and the image below it
    shown = [slider, of_map] if size[0] < 640 else [slider, *canvases.all()]
    boxes = [part.bounding_box() for part in shown]
    prices = tab.page.get_by_text("τ, the price of a unit").all()
    errors = list(tab.errors)
    visible = [price for price in prices if price.is_visible()]
    context.close()

    assert errors == []
    assert len(boxes) == (2 if size[0] < 640 else 4)
    assert all(box["y"] >= 0 and box["y"] + box["height"] <= size[1] for box in boxes), boxes
    assert len(visible) == 1  # tau stands once


def test_photograph_goes_to_a_photograph_network(tab, photographs):
    tab.open()
    data = (photographs / "zoo_photos_tau0.01.h5").read_bytes()
    tab.add("Checkpoint", "photos.h5", data)
    tab.page.get_by_text("the mean of its test images at 128 pixels, was expected").wait_for()
    tab.page.get_by_text("Small images", exact=True).click()
    tab.page.get_by_text("τ = 0.01 · knows 10 CIFAR-10 classes · 89.0% right").wait_for()
    tab.settle()
    tab.add("Images", "mine.png", png(200, 300))
    tab.page.get_by_text("the whole 300 × 200 image at 192 pixels").wait_for()
    tab.page.get_by_role("button", name="Settings").click()
    tab.page.locator(".st-key-explore_side_imagenet input[type=range]").focus()
    tab.page.keyboard.press("ArrowRight")
    tab.page.wait_for_url(re.compile("explore_side_imagenet=224"))
    tab.page.get_by_text("224 × 149 pixels").first.wait_for()
    tab.settle()


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


def test_photographs_stay_when_the_page_is_loaded_anew(tab):
    tab.open("/photographs")
    tab.add("Images", "first.png", png(60, 90, 1))
    tab.add("Images", "second.png", png(60, 90, 2))
    tab.page.get_by_text("second.png, 2 of 2").or_(tab.page.get_by_text("1 of 2")).first.wait_for()
    tab.page.get_by_role("button", name="Next").click()
    tab.page.get_by_text("2 of 2").first.wait_for()
    tab.settle()
    tab.viewer("photographs_map").locator("canvas.view").nth(1).wait_for()

    tab.page.reload()
    tab.page.get_by_role("heading", level=1).wait_for()
    tab.settle()
    assert "1 of 2" in tab.text()
    with tab.page.expect_download() as download:
        tab.page.get_by_role("button", name="Table (.csv)").click()
    lines = download.value.path().read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["photograph", "first.png", "second.png"]
