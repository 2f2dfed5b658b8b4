"""Every setting that a link can carry, on every page: nonsense is left out, and said."""

from __future__ import annotations

import pytest

from app import links
from tests.app.conftest import ROOT
from tests.app.pages import ANY, run_page

NONSENSE = ["", "1e400", "nan", "-1e400", "elephant", "9" * 400, "[m](http://evil.example)"]


def test_every_bound_widget_has_a_rule():
    import re

    for page, rules in links.RULES.items():
        files = [ROOT / "app" / "pages" / f"{page}.py", *(ROOT / "app" / page).glob("*.py")]
        source = "\n".join(file.read_text() for file in files if file.exists())
        for key in re.findall(rf'key="{page}_(\w+)",\s+bind="query-params"', source):
            assert key in rules, f"{page}_{key}"


@pytest.mark.parametrize("text", NONSENSE)
def test_nonsense_is_left_out_and_said(text):
    for page, rules in links.RULES.items():
        for key, rule in rules.items():
            kept, said = links.check(page, {f"{page}_{key}": [text], "utm": [text]})
            assert kept["utm"] == [text]  # none of ours
            if rule is links.name and text:
                assert not said  # its page says so
                continue
            assert f"{page}_{key}" not in kept, (page, key)
            assert len(said) == 1
            assert "](http:" not in said[0].replace("\\]", "")


def test_what_widgets_write_is_kept():
    for key, text in {
        "explore_metric": "Units run", "explore_row": "0", "explore_tau": "0.0005503",
        "explore_opacity": "65", "compare_count": "4", "data_set_family": "true",
        "data_set_count": "1,000", "data_set_which": "Change with τ", "sweep_price": "1e-05",
        "halting_lab_eps": "0.01", "check_side_imagenet": "224", "explore_fit_cifar": "Whole image",
    }.items():  # fmt: skip
        page = next(page for page in links.RULES if key.startswith(f"{page}_"))
        assert links.check(page, {key: [text]}) == ({key: [text]}, [])
    both = {"runs_chosen": ["one", "two"], "explore_row": ["x"]}
    assert links.check("runs", both) == (both, [])
    assert links.check("explore", {"explore_row": ["1", "2", "x"]})[0] == {"explore_row": ["2"]}


@pytest.mark.parametrize("text", ["", "1e400", "elephant"])
@pytest.mark.parametrize("page", list(links.RULES))
def test_every_page_opens_with_nonsense_everywhere(any_tau_env, page, text):
    asked = {f"{page}_{key}": text for key in links.RULES[page]}
    asked |= {key: ANY for key in asked if "checkpoint" in key and text}
    at = run_page("" if page == "explore" else page, **asked)

    assert not at.exception
    said = [warning.value for warning in at.warning if "which cannot be" in warning.value]
    rules = [key for key, rule in links.RULES[page].items() if rule is not links.name or not text]
    assert len(said) == len(rules)
    at.run()
    assert not at.exception
    assert not [w for w in at.warning if "which cannot be" in w.value]  # it is said once
