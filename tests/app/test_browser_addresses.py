"""The app's addresses, and the way back, in headless Chromium.

An error on the console, an uncaught exception or a failed request fails the test.
"""

from __future__ import annotations

import re

import pytest

from tests.app.browser import SMALL

pytestmark = pytest.mark.browser


def test_an_address_without_a_page_is_said(tab):
    tab.open("/nosuchpage")
    tab.page.get_by_text("There is no page nosuchpage: this is Explore.").wait_for()
    tab.settle()
    tab.errors[:] = [
        error
        for error in tab.errors
        if "nosuchpage" not in error and "does not seem to exist" not in error
    ]  # Chromium's line and Streamlit's


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
