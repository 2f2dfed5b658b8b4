"""Every file that a page gives says tau, size, fit, network, version and command."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st

from app import loaders
from sact_core import __version__
from tests.app.conftest import ROOT
from tests.app.pages import ANY, run_page
from tests.app.test_drawn import with_data

__all__ = ["with_data"]  # a fixture

#: Keys of popovers whose contents come when they are open.
POPOVERS = ("explore", "sweep", "sweep_accuracy", "compare", "data_set")


@pytest.fixture
def given(monkeypatch) -> dict[str, bytes]:
    """Names and contents of all files that pages offer."""
    found: dict[str, Any] = {}
    button = st.download_button

    def offer(label: str, data: Any, file: str, **more: Any) -> bool:
        found[more["key"]] = (file, data)
        return button(label, data, file, **more)

    monkeypatch.setattr(st, "download_button", offer)
    return found


def text_of(file: str, data: bytes | str) -> str:
    """All text in a file, but for what is packed."""
    if file.endswith(".npz"):
        with np.load(io.BytesIO(data)) as found:
            return str(found["about"])
    text = data if isinstance(data, str) else data.decode("latin-1")
    return text.replace("\\(", "(").replace("\\)", ")") if file.endswith(".pdf") else text


@pytest.mark.parametrize(
    ("page", "state"),
    [
        ("explore", {"explore_checkpoint": ANY, "explore_tau": "0.0123"}),
        ("sweep", {"sweep_image": "Coffee"}),
        ("compare", {"compare_checkpoint_1": ANY, "compare_checkpoint_2": "tiny_act"}),
        ("flops", {"flops_checkpoint": ANY}),
        ("data_set", {"data_set_checkpoint": ANY, "data_set_tau": "0.0123"}),
    ],
)
def test_every_file_says_where_it_comes_from(with_data, given, page, state):
    at = run_page(page, **state)
    if page == "data_set":
        at.button(key="data_set_run").click().run()
    for key in POPOVERS:
        if key.startswith(page):
            at.session_state[f"{key}_figure"] = True
    at.run()
    assert not at.exception
    files = {name: data() if callable(data) else data for name, data in given.values()}
    assert len(files) >= {"explore": 10, "flops": 1}.get(page, 6)
    hashes = {model.digest for model in loaders.shipped_models()}
    for file, data in files.items():
        text = text_of(file, data)
        assert any(digest in text for digest in hashes), file
        for word in ("tau", "fit", "image_size", __version__, "python -m sact_core."):
            assert word in text, (file, word)
        if "tau" in state or page == "explore":
            assert "0.0123" in text, file


def test_every_button_of_the_app_is_looked_at():
    """Where files are given: a new place needs its page above."""
    found = {
        path.relative_to(ROOT / "app").as_posix()
        for path in (ROOT / "app").rglob("*.py")
        if "download_button(" in path.read_text()
    }
    looked_at = {
        "controls/drawn.py", "controls/handing.py", "explore/take_home.py", "pages/flops.py",
    }  # fmt: skip
    # What comes of many photographs is looked at where that page is tested.
    assert found == looked_at | {"photographs/table.py"}


def test_pictures_of_commands_say_where_they_come_from(tmp_path: Path, any_tau: Path) -> None:
    from PIL import Image

    from sact_core import draw_maps, export_maps, ponder
    from sact_core.checkpoint import read_header

    net, photo = any_tau / f"{ANY}.h5", ROOT / "app" / "examples" / "cat.jpg"
    words = [str(photo), "--checkpoint", str(net), "--backend", "reference", "--tau", "0.0123"]
    assert ponder.main([*words, "--image-size", "48", "--out", str(tmp_path / "p")]) == 0
    maps = tmp_path / "m.h5"
    assert export_maps.main([*words, "--image-size", "32", "--out", str(maps)]) == 0
    assert draw_maps.main([str(maps), "--out", str(tmp_path / "d")]) == 0
    pictures = [*(tmp_path / "p").glob("*.png"), *(tmp_path / "d").glob("*.[pj]*g")]
    assert len(pictures) == 4 + 5
    for path in pictures:
        with Image.open(path) as image:
            comment = image.text["Comment"] if path.suffix == ".png" else image.info["comment"]
        said = json.loads(comment)
        assert said["checkpoint"]["content_hash"] == read_header(net).content_hash, path
        assert said["tau"] == 0.0123
        in_p = path.parent.name == "p"
        assert (said["image_size"], said["fit"]) == ((48, "keep") if in_p else (32, "crop"))
        assert said["version"] == __version__
        assert said["command"].startswith("python -m sact_core.")
        if not in_p:
            assert said["drawn_by"].startswith("python -m sact_core.draw_maps ")
