"""The guided path, large type for a wall, and what words mean; without a browser."""

from __future__ import annotations

import ast
from urllib.parse import parse_qs

import pytest

from app import links, loaders
from app.lecture import glossary, steps
from tests.app.conftest import ROOT
from tests.app.pages import ANY, PAGES, run_page, texts

NUMBERS = range(1, len(steps.STEPS) + 1)


def open_step(number, **more):
    """Open a step as its link does."""
    model = loaders.model(loaders.first_checkpoint(("sact",)))
    return run_page(steps.STEPS[number - 1].page, **steps.query(number, model), **more)


def links_of(at):
    """Links to pages: what is written on each, and what stands in its address."""
    found = [each.proto for each in at.get("page_link")]
    return {one.label: parse_qs(one.query_string) for one in found}


def asks(at, name):
    """What the address of the page holds of a setting; empty without."""
    found = at.query_params.get(name, "")
    return found if isinstance(found, str) else found[-1]


def terms_of(page):
    """The terms that a page explains, for each of its headings."""
    calls = [node for node in ast.walk(ast.parse(page.read_text())) if isinstance(node, ast.Call)]
    headings = [call for call in calls if ast.unparse(call.func) == "controls.heading"]
    return [
        ast.literal_eval(word.value)
        for call in headings
        for word in call.keywords
        if word.arg == "terms"
    ]


@pytest.mark.parametrize("page", [p for p in PAGES if p.stem != "glossary"], ids=lambda p: p.stem)
def test_every_page_explains_its_words(page):
    found = terms_of(page)

    assert found
    for terms in found:
        assert terms
        assert set(terms) <= set(glossary.TERMS)


def test_the_glossary_has_every_term_once(app_env):
    at = run_page("glossary")
    written = texts(at)

    assert not at.exception
    for term in glossary.TERMS.values():
        assert written.count(term.meaning) == 1
        assert term.topic in glossary.TOPICS
        assert term.meaning.endswith(".")


def test_a_widget_says_what_its_word_means(any_tau_env):
    at = run_page(explore_checkpoint=ANY)

    assert glossary.TERMS["τ"].meaning in at.number_input(key="explore_tau").help
    assert glossary.TERMS["ponder cost"].meaning in at.button_group(key="explore_metric").help
    assert glossary.TERMS["FLOPs"].meaning in texts(at)  # “Words”


def test_the_path_takes_about_ten_minutes():
    assert 8 <= steps.MINUTES <= 12
    assert {step.page for step in steps.STEPS} <= {page.stem for page in PAGES}


def test_start_here_links_to_every_step(any_tau_env):
    at = run_page("start")
    found = links_of(at)

    assert not at.exception
    for number, step in enumerate(steps.STEPS, 1):
        assert found[f"{number} · {step.title}"]["lecture"] == [str(number)]
    assert found["Begin"]["lecture"] == ["1"]


@pytest.mark.parametrize("number", NUMBERS)
def test_every_setting_of_a_step_can_stand_in_a_link(any_tau_env, number):
    model = loaders.model(ANY)
    query = steps.query(number, model)
    page = steps.STEPS[number - 1].page
    known = {f"{page}_{name}" for name in links.RULES.get(page, {})} | set(links.ANYWHERE)
    kept, said = links.check(page, {key: [value] for key, value in query.items()})

    assert said == []
    assert set(kept) == set(query)
    assert set(query) <= known


@pytest.mark.parametrize("number", NUMBERS)
def test_a_step_opens_as_its_link_has_it(any_tau_env, number):
    at = open_step(number)
    step = steps.STEPS[number - 1]

    assert not at.exception
    assert not at.warning
    assert f"{number} of {len(NUMBERS)} · {step.title}" in texts(at)
    ways = links_of(at)
    if number > 1:
        assert ways["Back"]["lecture"] == [str(number - 1)]
    if number < len(NUMBERS):
        assert ways["Next"]["lecture"] == [str(number + 1)]
    for name in ("image", "row", "column"):
        if name in step.settings:
            shown = {each.key: each.value for each in (*at.selectbox, *at.number_input)}
            assert str(shown[f"{step.page}_{name}"]) == step.settings[name]


def test_a_step_begins_anew_whatever_the_page_was_left_at(any_tau_env):
    at = open_step(2)
    at.selectbox(key="explore_image").set_value("Rocket").run()
    at.selectbox(key="explore_checkpoint").set_value("zoo_photos_tau0.02").run()
    at.number_input(key="explore_row").set_value(3).run()
    assert asks(at, "lecture") == "2"
    model = loaders.model(loaders.first_checkpoint(("sact",)))
    for key, value in steps.query(4, model).items():
        at.query_params[key] = value
    at.run()

    assert not at.exception
    assert at.number_input(key="explore_row").value > 3  # the middle
    assert at.selectbox(key="explore_checkpoint").value == model.name


@pytest.mark.parametrize("asked", ["3", "0", "99", "x", "", "٣"])
def test_a_link_to_a_step_of_no_such_page_is_the_page(app_env, asked):
    at = run_page("flops", lecture=asked)

    assert not at.exception
    assert "lecture" not in at.query_params
    assert "Next" not in links_of(at)


def test_presenting_is_kept_over_pages(app_env):
    at = run_page("start")
    at.button(key="start_present").click().run()
    assert asks(at, "present") == "true"
    at.switch_page("app/pages/halting_lab.py").run()

    assert not at.exception
    assert asks(at, "present") == "true"
    assert {"Sweep tau", "Start here"} <= set(links_of(at))
    at.button(key="lecture_stop").click().run()
    assert "present" not in at.query_params
    at.switch_page("app/pages/start.py").run()
    assert "present" not in at.query_params


def test_links_of_the_path_go_on_presenting(app_env):
    at = open_step(3, present="true")

    assert not at.exception
    assert links_of(at)["Next"]["present"] == ["true"]


def test_the_path_stands_without_a_network(app_env, tmp_path):
    app_env.setenv("SACT_PRETRAINED_DIR", str(tmp_path / "empty"))
    at = run_page("start")

    assert not at.exception
    assert len([label for label in links_of(at) if " · " in label]) == len(NUMBERS)


def test_drawings_tell_what_they_show():
    for path in (ROOT / "app" / "lecture").glob("*.svg"):
        head = path.read_text().split("\n")[0]
        assert 'role="img"' in head
        assert len(head.partition('aria-label="')[2].partition('"')[0]) > 60
