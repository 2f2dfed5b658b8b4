"""Figures and tables that pages offer: what is on the screen, and what its command gives."""

from __future__ import annotations

import csv
import io
import json
import shlex
from xml.etree import ElementTree

import numpy as np
import pytest

from app import controls, drawn, loaders
from app.loaders import dataset
from app.records import Look
from sact_core import __version__
from sact_core.data.source import Source
from sact_core.data.tfds import TfdsRecords
from sact_core.evaluate import __main__ as evaluate
from sact_core.figure.__main__ import main
from sact_core.figure.saving import FIGURES
from sact_core.tables import TABLES
from tests.app.conftest import CLASSES, ROOT
from tests.app.pages import ANY, ANY_FAMILY, run_page
from tests.test_figure import images_of

DESCRIPTION = ".//{http://purl.org/dc/elements/1.1/}description"


@pytest.fixture
def offered(monkeypatch):
    """What pages offer, by the key of the button; the latest counts."""
    found = {}
    for name in ("figures", "tables"):
        monkeypatch.setattr(
            controls, name, lambda key, stem, made, name=name: found.update({(name, key): made})
        )
    return found


@pytest.fixture
def with_data(any_tau_env, tmp_path, monkeypatch):
    """A small test split of CIFAR-10."""
    images = np.random.default_rng(0).integers(0, 255, (60, 32, 32, 3), np.uint8)

    class Records(list):
        def __getitems__(self, indices):
            return [{"image": images[i], "label": i % 10, "id": str(i)} for i in indices]

    (tmp_path / "data" / "cifar10").mkdir(parents=True)
    split = Source("cifar10", "test", CLASSES, TfdsRecords(Records(images)))
    monkeypatch.setattr(dataset, "open_split", lambda *_: split)


def opened(page, **state):
    at = run_page(page, **state)
    assert not at.exception
    return at


def svg(tmp_path, drawing, width=9.0):
    path = tmp_path / "page.svg"
    path.write_bytes(drawn.figure_file(drawing, ".svg", width, 8, "page.svg"))
    return path


def told(path):
    return json.loads(ElementTree.parse(path).getroot().find(DESCRIPTION).text)


def by_command(path, folder, tmp_path):
    """The figure that the command in a figure draws."""
    words = shlex.split(told(path)["command"])
    assert words[:4] == ["python", "-m", "sact_core.figure", "maps"]
    at = words.index("--checkpoint") + 1
    while not words[at].startswith("--"):
        name, _, tau = words[at].partition("@")
        words[at] = f"{folder / name}.h5" + (f"@{tau}" if tau else "")
        at += 1
    words[4] = str(ROOT / words[4])
    out = tmp_path / "command.svg"
    words[-1] = str(out)
    assert main(words[3:]) == 0
    return out


def same(one, other):
    # All but the bars of colours, whose height goes by the titles.
    first, second = (
        [each for each in images_of(path) if each.shape[0] < 8 * each.shape[1]]
        for path in (one, other)
    )
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("metric", "scale"), [("Ponder cost", "Fixed"), ("Units run", "Stretched")]
)
def test_explore_draws_what_is_on_the_screen(
    any_tau_env, any_tau, tmp_path, offered, metric, scale
):
    opened(
        "explore", explore_checkpoint=ANY, explore_tau="0.0123", explore_image="Coffee",
        explore_colours="magma", explore_metric=metric, explore_opacity="40",
        explore_scale=scale, explore_fit_cifar="Square crop", explore_side_cifar="32",
    )  # fmt: skip
    (drawing,) = offered["figures", "explore"]
    path = svg(tmp_path, drawing)
    found = told(path)
    (network,) = found["networks"]
    model = loaders.model(ANY)
    assert (network["content_hash"], network["tau"]) == (model.digest, 0.0123)
    assert (network["image_size"], network["fit"]) == (32, "crop")
    assert (found["opacity"], found["colour_map"], found["version"]) == (0.4, "magma", __version__)
    assert len(images_of(path)) >= 4
    assert path.read_text().count('opacity="0.4"') == 1
    same(path, by_command(path, any_tau, tmp_path))


def test_sweep_draws_every_tau_of_a_network(any_tau_env, any_tau, tmp_path, offered):
    opened("sweep", sweep_family=ANY_FAMILY, sweep_image="Coffee", sweep_price="0.02")
    every, one = offered["figures", "sweep"]
    path = svg(tmp_path, every)
    taus = told(path)["networks"][0]["tau"]
    assert 0.02 in taus
    assert (taus[0], taus[-1]) == (0.0005, 0.05)
    same(path, by_command(path, any_tau, tmp_path))
    assert told(svg(tmp_path, one))["networks"][0]["tau"] == 0.02
    (table,) = offered["tables", "sweep"]
    assert {"0.0005", "0.05"} < {row[0] for row in table.rows}


def test_sweep_draws_a_family_and_its_accuracy(any_tau_env, any_tau, tmp_path, offered):
    at = opened("sweep", sweep_image="Astronaut", sweep_tau="0.01")
    every, one = offered["figures", "sweep"]
    path = svg(tmp_path, every)
    same(path, by_command(path, any_tau, tmp_path))
    hashes = {network["content_hash"] for network in told(path)["networks"]}
    assert len(hashes) == len(told(path)["networks"]) == 3
    assert [n["tau"] for n in told(svg(tmp_path, one))["networks"]] == [0.01]
    (table,) = offered["tables", "sweep"]
    (shown,) = (each.value for each in at.dataframe if "says" in each.value)
    assert [float(row[0]) for row in table.rows] == list(shown["tau"])
    assert [row[1] for row in table.rows] == list(shown["says"])
    assert [float(row[3]) for row in table.rows] == pytest.approx(shown["flops"] / 1e6, abs=0.005)
    (accuracy,) = offered["figures", "sweep_accuracy"]
    assert {n["content_hash"] for n in told(svg(tmp_path, accuracy))["networks"]} >= hashes


@pytest.mark.parametrize("view", ["Side by side", "Swipe", "Difference"])
def test_compare_draws_its_view(any_tau_env, any_tau, tmp_path, offered, view):
    chosen = [ANY, "tiny_act", "tiny_sact_tau0.005"]
    state = {f"compare_checkpoint_{i + 1}": name for i, name in enumerate(chosen)}
    opened(
        "compare", compare_count="3", compare_view=view, compare_opacity="60",
        compare_tau_1="0.01", compare_image="Coffee", compare_side_cifar="32", **state,
    )  # fmt: skip
    (drawing,) = offered["figures", "compare"]
    path = svg(tmp_path, drawing)
    found = told(path)
    count = 3 if view == "Side by side" else 2
    assert [network["tau"] for network in found["networks"]] == [0.01, 0.005, 0.005][:count]
    assert path.read_text().count('opacity="0.6"') == count
    same(path, by_command(path, any_tau, tmp_path))
    (table,) = offered["tables", "compare"]
    assert len(table.rows) == 3
    look = Look(loaders.model(ANY), loaders.example("Coffee"), 32, "keep", 0.01)
    run = loaders.run(look)
    at = table.header.index("MFLOPs")
    assert float(table.rows[0][at]) == pytest.approx(run.executed.total[0] / 1e6, abs=0.005)


def test_a_table_is_the_same_in_every_format(any_tau_env, offered):
    opened("compare", compare_image="Coffee")
    (table,) = offered["tables", "compare"]
    lines = table.text(".csv").splitlines()
    rows = list(csv.reader(line for line in lines if not line.startswith("# ")))
    assert rows == [list(table.header), *map(list, table.rows)]
    for ending in TABLES:
        text = table.text(ending)
        for word in ("content_hash", "tau", "image_size", "fit", __version__, "command: python"):
            assert word in text


def test_the_button_draws_when_it_is_open(app_env):
    at = opened("explore", explore_side_cifar="32")
    assert not [each for each in at.get("imgs") if "figure" in str(each.proto)]
    at.session_state["explore_figure"] = True
    at.run()
    assert not at.exception
    labels = [each.proto.label for each in at.get("download_button")]
    for ending in FIGURES:
        assert ending[1:].upper() in labels
    at.number_input(key="explore_figure_width").set_value(1.0)
    at.number_input(key="explore_figure_font").set_value(14.0).run()
    assert not at.exception
    (error,) = at.error
    assert "has no room for 2 maps in a row" in error.value
    assert "PNG" not in [each.proto.label for each in at.get("download_button")]


def test_files_are_figures(app_env, offered):
    from PIL import Image

    opened("explore", explore_side_cifar="32")
    (drawing,) = offered["figures", "explore"]
    data = {e: drawn.figure_file(drawing, e, 5.0, 8, f"f{e}") for e in FIGURES}
    assert data[".pdf"].startswith(b"%PDF")
    assert Image.open(io.BytesIO(data[".png"])).width == 1500
    assert ElementTree.fromstring(data[".svg"]).get("width") == "360pt"


@pytest.mark.parametrize("network", ["any", "family"])
def test_the_data_set_page_gives_its_charts_and_its_rows(with_data, tmp_path, offered, network):
    name = ANY if network == "any" else "tiny_sact_tau0.005"
    state = {"data_set_tau": "0.01"} if network == "any" else {}
    at = run_page("data_set", data_set_checkpoint=name, data_set_family="true", **state)
    at.button(key="data_set_run").click().run()
    assert not at.exception
    cost, every = offered["figures", "data_set"]
    classes, images, taus = offered["tables", "data_set"]
    ref, total = np.zeros(2), 0
    for _, part in dataset.run(loaders.model(name), 200, 0.01 if state else None):
        ref += part.right.sum(), part.flops.sum()
        total += len(part)
    assert len(images.rows) == total
    assert sum(row[4] == "1" for row in images.rows) == ref[0]
    assert sum(int(row[5]) for row in images.rows) == ref[1]
    assert float(classes.rows[0][2]) == pytest.approx(100 * ref[0] / total, abs=0.005)
    assert float(classes.rows[0][3]) == pytest.approx(ref[1] / total / 1e6, abs=0.005)
    assert sum(int(row[1]) for row in classes.rows[1:]) == total
    assert len(taus.rows) == (9 if network == "any" else 3)
    for drawing in (cost, every):
        about = told(svg(tmp_path, drawing, 7))
        assert about["images"] == total
        assert about["networks"][0]["content_hash"]
        assert about["command"].startswith("python -m sact_core.evaluate --checkpoint ")
    wanted = {loaders.model(name).digest} if network == "any" else None
    hashes = {each["content_hash"] for each in about["networks"]}
    assert hashes == wanted if wanted else len(hashes) == 3
    words = shlex.split(about["command"])
    assert evaluate.build_parser().parse_args(words[3:]).num_examples in (None, 200)
