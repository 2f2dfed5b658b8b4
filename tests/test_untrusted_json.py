"""JSON of anybody's: what is none, or too deep, is a ValueError."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sact_core import objects
from sact_core.untrusted_json import MAX_DEPTH, from_json


@pytest.mark.parametrize(
    "text", [100_000 * "[", 500 * "[" + 500 * "]", 101 * '{"a":' + "1" + 101 * "}"]
)
def test_json_that_is_too_deep_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="more than 100 objects or lists lie within one another"):
        from_json(text)


def test_json_as_deep_as_may_be() -> None:
    text = "[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH
    assert json.dumps(from_json(text)) == text
    assert from_json(b'{"a": [1, {"b": []}]}') == {"a": [1, {"b": []}]}
    with pytest.raises(ValueError, match="more than 100 objects or lists lie within one another"):
        from_json(f"[{text}]")


def test_a_file_of_deep_json_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "boxes.json").write_text("[" * 100_000)
    argv = ["photo.jpg", "--checkpoint", "absent.h5", "--boxes", str(tmp_path / "boxes.json")]
    assert objects.main(argv) == 2
    said = capsys.readouterr().err
    assert "boxes.json is no JSON: more than 100 objects or lists" in said
    assert said.count("\n") == 1
