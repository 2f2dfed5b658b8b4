"""The guided path, presenting and printing, in headless Chromium."""

from __future__ import annotations

import re

import pytest

from tests.app.browser import Tab

pytestmark = pytest.mark.browser


def in_view(tab, key):
    """Wait until that part of the page is what is looked at."""
    tab.page.wait_for_function(
        """(key) => {
          const box = document.querySelector(`.st-key-${key}`).getBoundingClientRect()
          return box.top > 0 && box.bottom < window.innerHeight
        }""",
        arg=key,
        polling=100,
    )
    tab.settle()


def at_step(tab, number):
    """Wait until that step is drawn."""
    tab.page.wait_for_url(re.compile(f"lecture={number}"))
    tab.page.get_by_text(re.compile(f"^{number} of 8 ")).wait_for()
    tab.settle()


@pytest.fixture
def tab(browser, server):
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    tab = Tab(context.new_page(), server)
    yield tab
    errors = list(tab.errors)
    context.close()
    assert errors == []


def test_next_by_keyboard_and_back_a_step_at_a_time(tab):
    page = tab.page
    tab.open("/start")
    page.get_by_role("link", name="Begin").press("Enter")
    at_step(tab, 1)
    assert page.get_by_role("img", name="A residual unit").bounding_box()["width"] > 300
    page.get_by_role("link", name="Next").press("Enter")
    at_step(tab, 2)
    page.wait_for_function(  # the page is drawn once more when the position is there
        "() => document.querySelector('input[aria-label=Row]')?.value === '60'", polling=100
    )
    tab.choose("explore_image", "Rocket")
    page.get_by_role("link", name="Next").press("Enter")
    at_step(tab, 3)
    assert "halting_lab_scores=" in page.url
    page.go_back()
    at_step(tab, 2)
    assert page.locator(".st-key-explore_image input").input_value() == "Rocket"
    page.go_back()
    at_step(tab, 1)
    page.go_back()
    page.wait_for_url(re.compile("/start$"))


def test_a_step_of_the_same_page_begins_as_its_link_has_it(tab):
    page = tab.page
    tab.open("/flops?lecture=6&flops_image=Coffee")
    in_view(tab, "flops_tree")
    page.get_by_text("Multiply-adds", exact=True).first.click()
    page.wait_for_url(re.compile("flops_count=Multiply"))
    tab.settle()
    page.get_by_role("link", name="Next").click()
    at_step(tab, 7)
    assert "flops_count" not in page.url
    assert "multiply-adds" not in tab.text()
    in_view(tab, "flops_units")
    page.go_back()
    at_step(tab, 6)
    assert "flops_count=Multiply" in page.url
    assert "multiply-adds" in tab.text()


def test_the_link_to_the_first_page_is_its_own(tab):
    """Streamlit's has nothing but settings, which a browser takes for this page's."""
    tab.open("/halting_lab?lecture=3")
    link = tab.page.get_by_role("link", name="Next")
    link.hover()
    assert link.evaluate("link => new URL(link.href).pathname") == "/"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_presenting_is_kept_and_paper_is_white(browser, server, scheme):
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme=scheme)
    tab = Tab(context.new_page(), server)
    page = tab.page
    tab.open("/start")
    usual = page.evaluate("parseFloat(getComputedStyle(document.documentElement).fontSize)")
    page.get_by_role("button", name="Present").click()
    side_bar = page.get_by_test_id("stSidebar")
    side_bar.wait_for(state="hidden")
    page.get_by_role("button", name="Pages").click()
    page.get_by_role("dialog").get_by_role("link", name="Halting lab").click()
    page.wait_for_url(re.compile("/halting_lab.*present=true"))
    tab.settle()
    page.reload()
    page.get_by_text("Stop presenting").wait_for()
    tab.settle()
    large = page.evaluate("parseFloat(getComputedStyle(document.documentElement).fontSize)")
    seen = side_bar.is_visible()

    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    left = [page.get_by_test_id(part).first.is_visible() for part in ("stBottom", "stButton")]
    ink = page.evaluate(
        """() => [...document.querySelectorAll("[data-testid=stMarkdownContainer] p")]
            .filter((part) => part.checkVisibility())
            .map((part) => getComputedStyle(part).color.match(/[\\d.]+/g).slice(0, 3))"""
    )
    ground = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    page.emulate_media(media="screen")
    page.get_by_role("button", name="Stop presenting").click()
    side_bar.wait_for(state="visible")
    tab.settle()
    url, errors = page.url, list(tab.errors)
    context.close()

    assert errors == []
    assert large >= 1.2 * usual
    assert not seen
    assert left == [False, False]
    assert len(ink) > 5
    assert all(max(map(float, colour)) < 160 for colour in ink), ink  # text of the dark: 228
    assert ground in ("rgb(255, 255, 255)", "rgba(0, 0, 0, 0)")
    assert "present" not in url


#: What a step tells to look at, where it is not the top of its page.
MEANT = {
    2: ".st-key-explore_map canvas.view >> nth=1",
    3: "[class*=st-key-halting_lab_h2]",
    4: ".st-key-explore_film_map canvas.view >> nth=0",
}


@pytest.mark.parametrize("size", [(1280, 720), (390, 844)])
def test_the_bar_leaves_what_is_meant_free(browser, server, size):
    context = browser.new_context(viewport={"width": size[0], "height": size[1]})
    tab = Tab(context.new_page(), server)
    page = tab.page
    tab.open("/start?lecture=1&present=true")
    covered = {}
    for number in (1, 2, 3, 4, 8):
        if number == 8:
            tab.open("/compare?lecture=8&present=true")
        at_step(tab, number)
        bar = page.locator("[class*=st-key-lecture_bar]").bounding_box()
        ways = [link.bounding_box() for link in page.locator(".st-key-lecture_ways a").all()]
        assert max(way["y"] for way in ways) - min(way["y"] for way in ways) < 2, number
        assert all(way["x"] + way["width"] <= size[0] for way in ways), number
        if number in MEANT:
            meant = page.locator(MEANT[number])
            meant.wait_for()
            page.wait_for_timeout(1000)  # looked for every 200 ms
            box = meant.bounding_box()
            if box["y"] < 40 or box["y"] + box["height"] > bar["y"]:
                covered[number] = (box, bar)
        if number < 4:
            page.get_by_role("link", name="Next").click()
    context.close()
    assert covered == {}
