"""The Data set page's view of where people doubt: without answers, with them, with wrong ones."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest

from tests.app.conftest import CLASSES
from tests.app.pages import run_page, texts

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
    assert len(at.get("plotly_chart")) == 1
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
    assert not at.metric


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
