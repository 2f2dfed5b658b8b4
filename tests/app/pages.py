"""What tests of the app's pages share: opening a page, reading it, made files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from tests.app.conftest import ROOT

ANY = "tiny_sact_anytau"


PAGES = sorted((ROOT / "app" / "pages").glob("*.py"))


def run_page(page: str = "", **query: str) -> AppTest:
    """Open the whole app at a page, as its link does: no other page is drawn before."""
    at = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=60)
    for key, value in query.items():
        at.query_params[key] = value
    if page:
        at.switch_page(f"app/pages/{page}.py")
    return at.run()


def texts(at: AppTest) -> str:
    """Everything that is written on the page."""
    parts = [at.title, at.header, at.subheader, at.markdown, at.caption]
    alerts = [at.info, at.warning, at.error, at.success]
    return "\n".join(str(element.value) for group in parts + alerts for element in group)


def viewers(at: AppTest) -> list[Any]:
    """The viewers of the page; what surrounds every page is a component too."""
    found = at.get("bidi_component")
    return [each for each in found if "sact_viewer" in each.proto.component_name]


def png(height: int, width: int, seed: int = 0) -> bytes:
    """A small image of an odd shape."""
    import io

    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


ANY_FAMILY = "ResNet-20 SACT any tau, 1/4 width, on CIFAR-10"


def told_by_bars(monkeypatch: pytest.MonkeyPatch, module: Any) -> list[tuple[float, str]]:
    """Collect what a module's bars say, by a clock on which 30 s pass at every look."""
    said: list[tuple[float, str]] = []

    class Bar:
        def progress(self, share: float, text: str) -> None:
            said.append((share, text))

        def empty(self) -> None:
            pass

    clock = iter(range(0, 10_000, 30))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(st, "progress", lambda *_: Bar())
    return said


def make_run(folder: Path, name: str, rows: int = 2, step: int = 100) -> None:
    """A run directory with a few epochs."""
    import json

    path = folder / name
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"network": {"halting": "sact"}, "epochs": 9}))
    (path / "command.txt").write_text("python -m sact_core.train\n")
    lines = [
        {
            "epoch": e + 1, "step": step * (e + 1), "train/Total Loss": 1.0,
            "eval/Accuracy": 0.5, "flops_share": 0.9,
        }
        for e in range(rows)
    ]  # fmt: skip
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
