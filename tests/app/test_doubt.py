"""The Data set page's view of where people doubt: without answers, with them, with wrong ones."""

from __future__ import annotations

import io
import json
import os

import numpy as np
import pytest
import streamlit as st

from app import loaders
from tests.app.conftest import CLASSES
from tests.app.pages import run_page, texts, told_by_bars

COUNT = 60


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def answers(count=COUNT):
    """People who mostly choose the label of image i, which is i % 10."""
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 4, (count, 10))
    counts[np.arange(count), np.arange(count) % 10] = 30
    return counts


@pytest.fixture
def with_data(app_env, tmp_path, monkeypatch):
    """A small fake test split, whose images are counted from 1."""
    from app.loaders import dataset
    from sact_core.data.source import Source
    from sact_core.data.tfds import TfdsRecords

    class Records:
        def __init__(self) -> None:
            self.images = np.random.default_rng(0).integers(0, 255, (COUNT, 32, 32, 3), np.uint8)

        def __len__(self) -> int:
            return COUNT

        def __getitems__(self, indices):
            return [
                {"image": self.images[i], "label": i % 10, "id": f"test_{i + 1:05d}"}
                for i in indices
            ]

    (tmp_path / "data" / "cifar10").mkdir(parents=True)
    split = Source("cifar10", "test", CLASSES, TfdsRecords(Records()))
    monkeypatch.setattr(dataset, "open_split", lambda *_: split)
    monkeypatch.delenv("SACT_HUMAN", raising=False)
    return app_env


def opened(**query):
    at = run_page("data_set", data_set_view="Where people doubt", **query)
    at.button(key="data_set_run").click().run()
    assert not at.exception
    return at


def test_without_answers_it_says_how_to_give_them(with_data):
    at = opened()

    assert "Upload their counts, or start the app with SACT_HUMAN" in at.info[0].value
    assert not at.metric


def test_answers_of_the_server(with_data, tmp_path):
    path = tmp_path / "counts.npy"
    path.write_bytes(npy(answers()))
    with_data.setenv("SACT_HUMAN", str(path))
    at = opened()

    assert f"{COUNT} images that people answered on" in texts(at)
    assert "label on 100.0%" in texts(at)
    labels = [metric.label for metric in at.metric]
    assert labels[0] == "Cost and people's doubt"
    assert "With shuffled answers" in labels
    _, *shares = at.get("plotly_chart")
    assert len(shares) == 2
    for chart in shares:  # Plotly leaves out a label that would reach out of the figure
        axis = json.loads(chart.proto.spec)["layout"]["xaxis"]
        assert (axis["range"][0], axis["dtick"]) == (0, 0.25)
        assert axis["range"][1] >= 1.08
    said = [each.value for each in at.caption if "bits" in each.value]
    assert len(said) == 12
    assert len(at.get("page_link")) >= 12
    at.button_group(key="data_set_differ").set_value("dear_to_people").run()

    assert not at.exception
    assert [each.value for each in at.caption if "bits" in each.value] != said


def test_a_network_that_never_halts_has_entropy_alone(with_data, tmp_path):
    path = tmp_path / "counts.npy"
    path.write_bytes(npy(answers()))
    with_data.setenv("SACT_HUMAN", str(path))
    from app import loaders
    from app.loaders import dataset

    with_data.setattr(dataset, "name_of", lambda _: "cifar10")
    (vanilla,) = (m.name for m in loaders.shipped_models() if not m.config.halts)
    at = opened(data_set_checkpoint=vanilla)

    assert at.metric[0].label == "Its entropy and people's doubt"
    assert "never halts spends the same on every image" in texts(at)
    assert not [each for each in at.caption if "bits" in each.value]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (npy(np.roll(answers(), 3, axis=0)), "agrees with the labels on"),
        (npy(answers(20)), "answers on 20 images, but the whole split has 60"),
        (npy(answers(70)), "answers on 70 images, but the whole split has 60"),
        (npy(answers()[:, :7]), "answers of 7 classes, the images have 10"),
        (b"no such thing", "is no .npy file of numbers"),
    ],
)
def test_answers_that_do_not_fit_are_one_sentence(with_data, tmp_path, data, said):
    path = tmp_path / "counts.npy"
    path.write_bytes(data)
    with_data.setenv("SACT_HUMAN", str(path))
    at = opened()

    assert len(at.error) == 1
    assert said in at.error[0].value.replace("\\", "")
    assert "Counts.npy" not in at.error[0].value  # a file's name is as it is
    assert not at.metric
    assert not at.get("progress")


def test_a_file_that_is_gone_is_one_sentence(with_data, tmp_path):
    with_data.setenv("SACT_HUMAN", str(tmp_path / "gone.npy"))
    at = opened()

    said = at.error[0].value
    assert said == "What SACT_HUMAN names cannot be read: There is no file gone.npy."


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("pipe", "it.npy is no ordinary file."),
        ("folder", "it.npy is a folder, not a file."),
        ("device", "zero is no ordinary file."),
        ("nobody's home", "Could not determine home directory."),
    ],
)
def test_what_is_no_file_is_one_sentence_and_is_not_waited_for(with_data, tmp_path, kind, said):
    path = tmp_path / "it.npy"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    names = {"device": "/dev/zero", "nobody's home": "~nobody-of-that-name/it.npy"}
    with_data.setenv("SACT_HUMAN", names.get(kind, str(path)))
    at = opened()

    assert [each.value.replace("\\", "") for each in at.error] == [
        f"What SACT_HUMAN names cannot be read: {said}"
    ]


def test_what_is_uploaded_counts_for_the_visit(with_data):
    at = opened()
    at.file_uploader(key="data_set_people").upload("mine.npy", npy(answers())).run()

    assert not at.exception
    assert f"{COUNT} images that people answered on" in texts(at)
    at = opened()
    at.file_uploader(key="data_set_people").upload("mine.npy", b"nothing").run()

    assert "is no .npy file of numbers" in at.error[0].value.replace("\\", "")
    assert "Upload their counts" in at.info[0].value


@pytest.fixture
def people_asked(with_data, tmp_path):
    path = tmp_path / "counts.npy"
    path.write_bytes(npy(answers()))
    with_data.setenv("SACT_HUMAN", str(path))
    from app.loaders import dataset

    with_data.setattr(dataset, "name_of", lambda _: "cifar10")
    return with_data


def rows_of(at):
    (table,) = at.dataframe
    return table.value.to_dict("records")


def test_every_tau_and_other_networks_stand_beside_it(people_asked):
    at = opened(data_set_checkpoint="tiny_sact_tau0.005", data_set_family="true")

    assert "By network and τ" in [header.value for header in at.header]
    assert [row["tau"] for row in rows_of(at)] == ["0.005", "0.001", "0.01"]  # its own but once
    assert len(at.get("plotly_chart")) == 3 + 3
    assert "Dashed: those it is surest of." in texts(at)
    assert "Dotted" not in texts(at)
    before = loaders.num_runs()
    beside = at.multiselect(key="data_set_beside")
    assert not [option for option in beside.options if "τ = 0.005" in option and "SACT" in option]
    others = [option for option in beside.options if "SACT" not in option]
    assert len(others) == 2  # ACT, and one that never halts
    beside.set_value(others).run()
    assert f"{2 * COUNT} images to run, of 2 passes" in texts(at)
    assert loaders.num_runs() == before
    at.button(key="data_set_beside_run").click().run()
    assert not any("images to run" in each.value for each in at.caption)

    assert not at.exception
    rows = rows_of(at)
    assert len(rows) == 5
    assert rows[-1]["cost, people's entropy"] == rows[-1]["p"] == "–" != rows[0]["p"]
    assert len(at.get("plotly_chart")) == 3 + 3 * 3
    assert "Dashed: those it is surest of. Dotted: by both." in texts(at)
    of = at.selectbox(key="data_set_differ_of")
    assert len(of.options) == 4  # those that halt
    said = [each.value for each in at.caption if "bits" in each.value]
    of.set_value(of.options[-1]).run()
    assert not at.exception
    assert [each.value for each in at.caption if "bits" in each.value] != said


def test_it_says_what_the_command_says_and_keeps_it_on_disk(people_asked, tmp_path):
    from app.loaders import dataset, people
    from sact_core.doubt import words
    from sact_core.doubt.findings import find
    from sact_core.measures.passes import run_pass
    from sact_core.measures.people import join, read_answers

    at = opened(data_set_checkpoint="tiny_sact_tau0.005", data_set_family="true")
    shown, runs = rows_of(at), loaders.num_runs()
    model = loaders.model("tiny_sact_tau0.01")
    one = run_pass(loaders.net(model), dataset.source(model))
    joined = join(read_answers(tmp_path / "counts.npy"), one.names, one.labels, 10, COUNT)
    about = {"network": model.config.name, "file": model.name, "tau": 0.01}
    (row,) = words.rows([about | find(one, joined, people.RESAMPLES)])
    assert list(shown[-1].values()) == row
    st.cache_data.clear()  # as a restart does
    people_asked.setattr(people, "find", lambda *_: pytest.fail("found anew"))
    again = run_page(
        "data_set",
        data_set_view="Where people doubt",
        data_set_checkpoint="tiny_sact_tau0.005",
        data_set_family="true",
    )
    assert not again.exception
    assert rows_of(again) == shown
    assert loaders.num_runs() == runs


def test_setting_it_against_people_has_a_bar_with_the_time_left(people_asked, monkeypatch):
    from app.data_set import beside

    said = told_by_bars(monkeypatch, beside)
    opened(data_set_checkpoint="tiny_sact_tau0.005", data_set_family="true")
    told = [text for _, text in said if text.startswith("Setting")]
    assert told[-1] == "Setting it against people's answers: 3 of 3, 30 s left"
