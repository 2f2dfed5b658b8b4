"""Every setting that a link can carry, on every page: nonsense is left out, and said."""

from __future__ import annotations

import pytest

from app import links
from tests.app.conftest import ROOT
from tests.app.pages import ANY, ANY_FAMILY, run_page

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


def named_in(at):
    """What stands in the boxes of a page that name a network, and what the page warns of."""
    return (
        {box.key: box.value for box in at.selectbox if "checkpoint" in box.key},
        [warning.value for warning in at.warning],
    )


@pytest.mark.parametrize(
    ("key", "asked"),
    [
        ("explore_checkpoint", f"{ANY}.h5"),
        ("flops_checkpoint", f"pretrained/{ANY}.h5"),
        ("check_checkpoint", ANY.replace("_", "-")),
        ("photographs_checkpoint", ANY_FAMILY),
        ("data_set_checkpoint", f"{ANY}.h5"),
        ("compare_checkpoint_2", f"{ANY}.h5"),
    ],
)
def test_a_link_may_name_a_network_in_any_way(any_tau_env, key, asked):
    page = next(page for page in links.RULES if key.startswith(f"{page}_"))
    at = run_page("" if page == "explore" else page, **{key: asked})

    assert not at.exception
    boxes, said = named_in(at)
    assert boxes[key] == ANY
    assert not said
    assert at.query_params.get(key, ANY) in (ANY, [ANY])


@pytest.mark.parametrize("asked", [f"{ANY}.h5", ANY, ANY_FAMILY])
def test_sweep_takes_a_file_too(any_tau_env, asked):
    at = run_page("sweep", sweep_family=asked)

    assert not at.exception
    assert at.selectbox(key="sweep_family").value == ANY_FAMILY
    at = run_page("sweep", sweep_family="tiny_sact_tau0.005.h5")
    assert "tau" not in at.selectbox(key="sweep_family").value
    assert "ResNet-20 SACT" in at.selectbox(key="sweep_family").value


def test_short_names_of_shipped_networks_are_links_too(app_env):
    app_env.setenv("SACT_PRETRAINED_DIR", str(ROOT / "pretrained"))
    at = run_page("flops", flops_checkpoint="cifar10-anytau", flops_image="coffee.jpg")

    assert not at.exception
    boxes, said = named_in(at)
    assert boxes["flops_checkpoint"] == "cifar10_resnet32_sact_anytau"
    assert at.selectbox(key="flops_image").value == "Coffee"
    assert not said


def test_a_file_that_is_not_here_is_said(app_env):
    at = run_page("explore", explore_checkpoint="runs/gone/last.h5", explore_image="dragon.jpg")

    assert [warning.value.split(", ")[0] for warning in at.warning] == [
        "The link asks for runs/gone/last.h5",
        "The link asks for dragon.jpg",
    ]
