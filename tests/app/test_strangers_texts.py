"""Texts of strangers on every page: shown as they are, and nothing is made of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from app import exports, figures, loaders
from app.runs import run_dir
from app.texts import code_span, figure_text, file_stem, plain, plain_lines, short
from sact_core.checkpoint import CheckpointError, read, read_header, write
from sact_core.config import NetworkConfig
from tests.app.conftest import make_checkpoint
from tests.app.pages import PAGES, make_run, png, run_page

#: Harmless, if they are read as anything: nobody is at this address.
MARKS = [
    "![m](http://evil.example/m.png)",
    "[m](https://evil.example)",
    '<img src="http://evil.example/m.png">',
    "<a href='http://evil.example'>m</a>",
    "http://evil.example/m",
    "www.evil.example",
    "m@evil.example",
    ":red[m]",
    ":smile:",
    ":material/delete:",
    "$m$",
    "`m`",
    "**m**",
    "# m",
    "\ud800\x00\x1b[31mm\u202em",
]
HOSTILE = " ".join(MARKS)
#: What would be left of them for somebody who reads Markdown; none is in our own texts.
READ = re.compile(
    r"(https?://|www\.|\w@)evil|(?<!\\)\[(m\]|31m)|(?<!\\)<(img|a )|:red|:smile:|:material/delete"
    r"|(?<!\\)\$m|(?<!\\)`m|(?<!\\)\*\*m\*|^# m|[\x00-\x09\x0b-\x1f\x7f\u202e\ud800-\udfff]",
    re.IGNORECASE | re.MULTILINE,
)
#: Elements, and fields of any, that Streamlit takes as they are.
RAW_ELEMENTS = {"code", "plotly_chart", "arrow_data_frame", "bidi_component", "imgs", "latex"}
RAW_FIELDS = {"options", "raw_value", "raw_values", "default", "id", "alt", "url", "query_string"}


def hostile(folder: Path, mark: str, name: str = "hostile") -> Path:
    """A checkpoint whose every text is one that nobody means well with."""
    config = NetworkConfig(
        halting="sact", base_channels=4, units_per_block=(2, 2, 2), num_classes=len(MARKS)
    )
    made = make_checkpoint(config, 1, -1.0, 0.005)
    metrics = made.provenance["metrics"] | {"split": mark, mark: mark}
    about = {
        "data_set": {"name": mark, "split": mark, "eval_split": mark, mark: mark},
        "command": mark,
        "metrics": metrics,
        mark: [mark],
    }
    made = replace(made, provenance=made.provenance | about)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.h5"
    write(path, made)
    forge(path, "class_names", [f"{i} {text}" for i, text in enumerate(MARKS)])
    return path


def forge(path: Path, name: str, value: Any) -> None:
    """Put JSON into a checkpoint that our own writer would not, with the hash that fits."""
    from sact_core.checkpoint.checks import digest
    from sact_core.checkpoint.records import MAX_JSON_BYTES

    with h5py.File(path, "r+") as file:
        text = value if isinstance(value, str) else json.dumps(value)
        file.attrs[name] = np.bytes_(text.encode())
        texts = {each: bytes(file.attrs[each]) for each in MAX_JSON_BYTES}
        params: dict[str, np.ndarray] = {}
        file["params"].visititems(
            lambda key, item: (
                params.update({key: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
        file.attrs["content_hash"] = np.bytes_(digest(texts, params).encode())


def written(at: AppTest) -> Iterator[tuple[str, str]]:
    """Every text of a page that Streamlit reads as Markdown, with where it stands."""

    def walk(message: Any, where: str) -> Iterator[tuple[str, str]]:
        for field, value in message.ListFields():
            if field.name in RAW_FIELDS:
                continue
            one = isinstance(value, str) or hasattr(value, "ListFields")
            for each in [value] if one else list(value) if hasattr(value, "__iter__") else []:
                if isinstance(each, str):
                    yield f"{where}.{field.name}", each
                elif hasattr(each, "ListFields"):
                    yield from walk(each, f"{where}.{field.name}")

    for block in at._tree.children.values():
        for element in block:
            if element.type not in RAW_ELEMENTS and hasattr(element, "proto"):
                proto = element.proto
                if hasattr(proto, "ListFields"):
                    yield from walk(proto, element.type)


def assert_harmless(at: AppTest) -> None:
    assert not at.exception
    found = list(written(at))
    assert found
    for where, text in found:
        assert not READ.search(text), (where, text)
    for chart in at.get("plotly_chart"):
        assert not re.search(r"<(img|a) ", chart.proto.spec)


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_is_nothing_but_text(mark):
    assert READ.search(mark)  # it would be found
    assert not READ.search(plain(mark))
    assert not READ.search(plain(f"x {mark} x"))
    assert not READ.search(plain_lines(f"one:\n- {mark}\n- {mark}"))


def test_plain_texts_stay_as_they_are():
    for text in ("tiny_sact_tau0.01", "runs/night/best", "τ = 0.005", "cat, 12:30 (3)", "日本 é"):
        assert plain(text) == text
    assert plain("1. a") == "1\\. a"
    assert plain("- a") == "\\- a"
    assert plain("a -- b").replace("\u2060", "") == "a -- b"
    assert plain_lines("a.h5: 2 things\n- one\n- two") == "a.h5: 2 things\n- one\n- two"
    assert plain_lines("\n".join("x" * 2000 for _ in range(5000))).count("\n") == 12
    assert len(plain("x" * 100_000)) < 500
    assert len(short("x" * 100_000)) < 150
    assert code_span("a ` b") == "`` a ` b ``"
    assert figure_text("<b>a</b> & b") == "&lt;b&gt;a&lt;/b&gt; &amp; b"
    assert file_stem("a/../b: c", "\ud800 d\n") == "a_.._b_c_ud800_d_n"
    assert file_stem("..", "") == "file"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_hostile_checkpoint_on_every_page(app_env, tmp_path, page):
    hostile(tmp_path / "zoo", HOSTILE, "a [m](http:⁄⁄evil.example) <img src=x> _m_")
    hostile(tmp_path / "zoo", HOSTILE, os_name(b"caf\xe9 \x1b[31m"))
    app_env.setenv("SACT_PRETRAINED_DIR", str(tmp_path / "zoo"))
    name = "runs " + "".join(c for c in MARKS[1] if c not in "/\0")
    make_run(tmp_path / "runs", name)
    (tmp_path / "runs" / name / "command.txt").write_text(HOSTILE, "utf-8", "backslashreplace")
    hostile(tmp_path / "runs" / name, HOSTILE, "best")
    at = run_page(page.stem)
    assert_harmless(at)
    keys = {button.key for button in at.button}
    for key in keys & {"check_run", "flops_reconcile", "flops_measure", "sweep_measure_again"}:
        at.button(key=key).click().run()
        assert_harmless(at)


def os_name(name: bytes) -> str:
    import os

    return os.fsdecode(name)


@pytest.mark.parametrize("page", ["explore", "sweep", "compare", "flops", "check"])
def test_hostile_names_of_uploads(app_env, tmp_path, page):
    at = run_page(page)
    at.file_uploader(key=f"{page}_upload").upload(
        " ".join(MARKS[:-1]).replace("/", "⁄"), b"no image"
    ).run()
    assert_harmless(at)
    assert at.error
    name = "![m](http:⁄⁄evil.example) \x00\x1b[31m.png"
    at.file_uploader(key=f"{page}_upload").upload(name, png(20, 20)).run()
    assert_harmless(at)
    data = hostile(tmp_path, HOSTILE).read_bytes()
    at.file_uploader(key=f"{page}_upload_checkpoint").upload("<img src=x> $m$.h5", data).run()
    assert_harmless(at)
    at.file_uploader(key=f"{page}_upload_checkpoint").upload("<img src=x> $m$.h5", data[:99]).run()
    assert_harmless(at)
    assert at.error


@pytest.mark.parametrize("mark", [*MARKS[:-1], "\0\x1b[31mm\u202em"])  # a browser sends UTF-8
def test_values_of_links(app_env, mark):
    values = dict.fromkeys(("explore_checkpoint", "explore_image", "explore_colours"), mark)
    at = run_page(**values)
    assert_harmless(at)
    assert "which cannot be" in at.warning[0].value


@pytest.mark.parametrize("digits", ["1" * 400, "1" * 5000, "-" + "9" * 400, "1e999"])
@pytest.mark.parametrize("where", ["provenance", "preprocessing", "config"])
def test_numbers_that_nobody_can_show_are_refused(tmp_path, where, digits):
    path = hostile(tmp_path, "m")
    with h5py.File(path) as file:
        text = bytes(file.attrs[where]).decode()
    forge(path, where, text.rstrip()[:-1] + f', "tau": {digits}}}')
    for reader in (read, read_header):
        with pytest.raises(CheckpointError) as caught:
            reader(path)
        assert len(str(caught.value)) < 300


def test_names_of_classes_are_read_as_text(tmp_path):
    names = read_header(hostile(tmp_path, "m")).class_names

    assert names[-1] == "14 \\ud800\0\x1b[31mm\u202em"
    assert read(tmp_path / "hostile.h5").class_names == names


def test_accuracy_beyond_sense_is_not_said(app_env, tmp_path):
    path = hostile(tmp_path / "zoo", "m")
    with h5py.File(path) as file:
        about = json.loads(bytes(file.attrs["provenance"]))
    about["metrics"] |= {"eval/Accuracy": 1e300, "eval/Recall@5": True}
    forge(path, "provenance", about)
    app_env.setenv("SACT_PRETRAINED_DIR", str(tmp_path / "zoo"))
    at = run_page()

    assert not at.exception
    assert not any("right" in caption.value for caption in at.caption)


def test_downloads_have_names_that_can_be_sent(app_env, tmp_path):
    hostile(tmp_path / "zoo", HOSTILE, os_name(b"\xe9 [m](x)\n"))
    app_env.setenv("SACT_PRETRAINED_DIR", str(tmp_path / "zoo"))
    at = run_page()

    assert not at.exception
    model = loaders.model(loaders.checkpoint_names()[0])
    assert model.name == "\\xe9 [m](x)\\n"
    assert len(at.get("download_button")) == 7


@pytest.mark.parametrize(
    "line",
    [
        '{"epoch": ' + "1" * 400 + ', "eval/Accuracy": 1e300}',
        '{"epoch": ' + "1" * 5000 + "}",
        '{"epoch": "![m](x)", "eval/Accuracy": "m", "flops_share": true}',
        '{"step": [1], "epoch": {}}',
        "[" * 100_000,
        '{"epoch": NaN, "train/Total Loss": Infinity, "train/Accuracy": null}',
    ],
)
def test_metrics_of_anybody(app_env, tmp_path, line):
    make_run(tmp_path / "runs", "one")
    with (tmp_path / "runs" / "one" / "metrics.jsonl").open("a") as file:
        file.write(line + "\n")
    assert_harmless(run_page("runs"))


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"epochs": ' + "1" * 400 + "}", '{"a": "\\ud800\\u0000"}', "[]"]
)
def test_recipes_of_anybody(app_env, tmp_path, text):
    make_run(tmp_path / "runs", "one")
    (tmp_path / "runs" / "one" / "config.json").write_text(text)
    assert_harmless(run_page("runs"))
    assert run_dir.read("one") is not None


def test_figures_read_no_tags(app_env):
    name = '<a href="http://evil.example">m</a>'
    point = figures.Point(name, name, 1e6, 0.5, short=name)
    for figure in (
        figures.predictions([name, name], np.array([0.6, 0.4])),
        figures.accuracy_against_flops([point]),
        figures.cost_by_class([name], np.ones(1), np.ones(1), np.ones(1)),
        figures.training({name: ([1.0], [2.0])}, "loss"),
    ):
        assert "<a " not in figure.to_json()
    assert len(set(figures.predictions([name, name], np.array([0.6, 0.4])).data[0].y)) == 2


def test_exports_hold_texts(app_env, tmp_path):
    import io

    hostile(tmp_path / "zoo", HOSTILE)
    app_env.setenv("SACT_PRETRAINED_DIR", str(tmp_path / "zoo"))
    from app.records import Look

    look = Look(loaders.model("hostile"), loaders.example("Cat"))
    run = loaders.run(look, "reference")
    with h5py.File(io.BytesIO(exports.hdf5(look, run))) as file:
        assert "provenance" in file.attrs
    assert exports.table(look, run).encode()
