"""What documents for developers name is there."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest

import sact_core
from app import links
from tests.app.screenshots import SHOTS
from tests.conftest import ROOT

#: Parts of the repository; a name that begins with one is a path.
PARTS = ("sact_core/", "app/", "tests/", "benchmarks/", "pretrained/", "docs/", ".ci/")


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "tests/golden/README.md"])
def test_every_path_that_a_document_names_exists(document):
    named = re.findall(r"`([^`\s]+)`", (ROOT / document).read_text())
    paths = [
        name
        for name in named
        if (name.startswith(PARTS) or name.endswith((".md", ".toml", ".txt", ".py")))
        and "NAME" not in name
    ]
    assert document != "CONTRIBUTING.md" or len(paths) > 30
    for path in paths:
        assert (ROOT / path).exists() or "*" in path, f"{document} names {path}"


def test_files_of_golden_numbers_are_those_that_their_readme_lists():
    text = (ROOT / "tests" / "golden" / "README.md").read_text()
    patterns = [name for row in re.findall(r"^\| (`.*?) \|", text, re.M) for name in row.split("`")]
    patterns = [name for name in patterns if "." in name or "*" in name]
    listed = {path for name in patterns for path in (ROOT / "tests" / "golden").glob(name)}
    assert listed == {p for p in (ROOT / "tests/golden").iterdir() if p.name != "README.md"}


def test_the_changelog_has_a_section_for_this_version():
    sections = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    dated = [each for each in sections if each != "Unreleased"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ – \d{4}-\d{2}-\d{2}", each) for each in dated)
    assert dated[0].startswith(f"{sact_core.__version__} – ")


def test_the_citation_names_this_version_and_the_paper():
    lines = (ROOT / "CITATION.cff").read_text().splitlines()
    assert f"version: {sact_core.__version__}" in lines
    assert "license: Apache-2.0" in lines
    assert any("1612.02297" in line for line in lines)


def test_every_picture_of_the_app_can_be_taken_anew():
    named = re.findall(r"docs/(\w+)\.webp", (ROOT / "README.md").read_text())
    assert sorted(named) == sorted(SHOTS)
    for name in SHOTS:
        assert (ROOT / "docs" / f"{name}.webp").exists()


@pytest.mark.parametrize("name", SHOTS)
def test_a_picture_opens_as_its_link_has_it(name):
    address = urlsplit(SHOTS[name].link)
    page = address.path.strip("/") or "explore"
    query = parse_qs(address.query)
    kept, said = links.check(page, query)
    assert said == []
    assert set(kept) == set(query)
    for key in (key for key in query if "checkpoint" in key):
        assert (ROOT / "pretrained" / f"{query[key][0]}.h5").exists()
