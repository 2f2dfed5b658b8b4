"""Figures and tables for a paper: sharp maps, the width asked for, and where they come from."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import zlib
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from sact_core import __version__
from sact_core.backends import load
from sact_core.checkpoint import Checkpoint, content_hash, read_header, write
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.figure import maps, saving
from sact_core.figure.__main__ import main
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.viewer import colour_table
from tests.networks import random_params

CONFIG = NetworkConfig(
    units_per_block=(3, 2, 2),
    base_channels=4,
    halting="sact",
    tau_conditioned=True,
    tau_low=0.001,
    tau_high=0.5,
)
TINY = {"dataset": "tiny", "split": "test"}
METRICS = {"eval/Accuracy": 0.875, "Total Flops/mean": 2.5e6, "Total Flops/std": 5e4, "count": 400}
RECORD = {"metrics": METRICS | {"split": "test"}, "data_set": {"name": "tiny"}}


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "any_tau.h5"
    params = random_params(np.random.default_rng(3), CONFIG)
    write(path, Checkpoint(CONFIG, params, Preprocessing(), (), RECORD))
    return path


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def curve_file(path, rows, **more):
    """As ``evaluate --taus --json`` prints it."""
    path.write_text(json.dumps({"content_hash": "ab", "network": "A & B $", "rows": rows} | more))
    return path


def run_maps(net, photo, *more):
    words = ["maps", photo, "--checkpoint", net, "--backend", "reference", *more]
    return main([str(word) for word in words])


def test_a_map_is_the_networks_values_one_sharp_square_each(net, photo, tmp_path):
    out = tmp_path / "f.svg"
    assert run_maps(net, photo, "--taus", "0.002", "0.3", "--limits", 3, 9, "--out", out) == 0
    sharp = [each for each in images_of(out) if each.shape[:2] == (32, 32)]
    assert len(sharp) == 3  # the image and two maps, none resampled
    pixels = np.asarray(Image.open(photo))
    colours = matplotlib.colormaps["viridis"]
    found = load(net, "reference")
    for tau, each in zip((0.002, 0.3), sharp[1:], strict=True):
        values = found.run(pixels[None], tau=tau).map()[0]
        np.testing.assert_array_equal(each, colours((values - 3) / 6, bytes=True))
    assert (sharp[1] != sharp[2]).any()
    assert out.read_text().count("image-rendering:pixelated") >= 3


@pytest.mark.parametrize(("width", "font"), [(3.4, 7), (6.9, 10)])
def test_every_format_has_the_width_asked_for_and_its_origin(net, photo, tmp_path, width, font):
    out = [tmp_path / f"f.{kind}" for kind in ("svg", "pdf", "png")]
    more = ["--taus", 0.01, "--image-size", 16, "--fit", "square", "--width", width]
    assert run_maps(net, photo, *more, "--font-size", font, "--out", *out) == 0
    root = ElementTree.parse(out[0]).getroot()
    assert float(root.get("width").removesuffix("pt")) == pytest.approx(72 * width)
    about = [root.find(".//{http://purl.org/dc/elements/1.1/}description").text]
    pdf = out[1].read_bytes()
    (box,) = re.findall(rb"/MediaBox \[ 0 0 (\S+) ", pdf)
    assert float(box) == pytest.approx(72 * width)
    (subject,) = re.findall(rb"/Subject \((.*?)(?<!\\)\)", pdf, re.S)
    about.append(re.sub(rb"\\(.)", rb"\1", subject).decode())
    png = Image.open(out[2])
    assert png.width == round(saving.DPI * width)
    about.append(png.text["Description"])
    told = [json.loads(text) for text in about]
    assert told[0] == told[1] == told[2]
    (network,) = told[0]["networks"]
    checkpoint = Checkpoint(
        CONFIG,
        random_params(np.random.default_rng(3), CONFIG),
        Preprocessing(),
        (),
        RECORD,
    )
    assert network["content_hash"] == content_hash(checkpoint)
    assert (network["tau"], told[0]["image_size"], told[0]["fit"]) == (0.01, 16, "square")
    assert told[0]["version"] == __version__
    assert told[0]["command"].startswith("python -m sact_core.figure maps ")


def test_parts_without_room_are_refused_and_not_drawn_over_each_other(tmp_path):
    from matplotlib.figure import Figure

    from sact_core.figure.saving import write_figure

    about = {"title": "it", "version": "1"}
    for width in (6, 0.5):
        figure = Figure((width, 1), layout="constrained")
        for axes in figure.subplots(1, 3):
            axes.set_ylabel("a name")
        if width == 6:
            write_figure(tmp_path / "wide.png", figure, about)
            continue
        with pytest.raises(ValueError, match=r"a figure 0\.5 inches wide has no room for what it"):
            write_figure(tmp_path / "narrow.png", figure, about)
    assert [path.name for path in tmp_path.iterdir()] == ["wide.png"]


@pytest.mark.filterwarnings("error")
def test_the_least_width_is_named_and_drawn(net, photo, tmp_path, capsys):
    out = tmp_path / "f.png"
    more = ["--taus", 0.01, 0.1, "--out", out, "--width"]
    assert run_maps(net, photo, *more, 1) == 2
    told = capsys.readouterr().err
    assert "a width of 1 inches has no room for 2 maps in a row" in told
    assert told.count("\n") == 1
    assert not out.exists()
    assert run_maps(net, photo, *more, re.search(r"at least (\S+),", told)[1]) == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("side", ["width", "height"])
@pytest.mark.parametrize("font", [6, 12])
def test_the_least_size_of_a_curve_is_named_and_drawn(net, tmp_path, capsys, side, font):
    out = tmp_path / "f.png"
    more = ["curve", str(net), "--out", str(out), "--font-size", str(font), f"--{side}"]
    assert main([*more, "0.6"]) == 2
    told = capsys.readouterr().err
    assert f"a {side} of 0.6 inches has no room for the names in the figure" in told
    assert told.count("\n") == 1
    assert not out.exists()
    least = re.search(r"at least (\S+),", told)[1]
    beside = [] if side == "height" else ["--height", "3"]
    assert main([*more, least, *beside]) == 0


def images_of(path):
    """Pixels of the images in an SVG."""
    texts = re.findall(
        r"<image [^>]*?xlink:href=\"data:image/png;base64,\s*([^\"]+)\"", path.read_text()
    )
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in texts]


def test_maps_over_the_image_and_their_difference(net, photo, tmp_path):
    plain, laid, beside = (tmp_path / f"{name}.svg" for name in ("plain", "laid", "beside"))
    at = [f"{net}@0.002", f"{net}@0.3"]
    words = [
        "maps",
        photo,
        "--backend",
        "reference",
        "--limits",
        3,
        9,
        "--checkpoint",
        *at,
        "--out",
    ]
    assert main([*map(str, words), str(plain), "--difference"]) == 0
    assert main([*map(str, words), str(laid), "--opacity", "0.4"]) == 0
    assert main([*map(str, words), str(beside), "--overlay", "0.4"]) == 0
    found = load(net, "reference")
    pixels = np.asarray(Image.open(photo))
    first, second = (found.run(pixels[None], tau=tau).map()[0] for tau in (0.002, 0.3))
    drawn = [each for each in images_of(plain) if each.shape[:2] == (32, 32)]
    assert len(drawn) == 4
    most = max(1.0, np.abs(second - first).max())
    table = colour_table("difference")
    share = (second - first + most) / (2 * most)
    step = drawn[3][..., :3].astype(int) - table[np.clip((share * 256).astype(int), 0, 255)]
    assert np.abs(step).max() <= 4  # a step of the table
    over = [each for each in images_of(laid) if each.shape[:2] == (32, 32)]
    assert len(over) == 5  # the image, and two maps each over the grey one
    grey = np.rint(pixels @ np.array([0.299, 0.587, 0.114]))
    np.testing.assert_array_equal(over[1][..., 0], grey)
    np.testing.assert_array_equal(over[2][..., :3], drawn[1][..., :3])
    assert laid.read_text().count('opacity="0.4"') == 2
    assert len([each for each in images_of(beside) if each.shape[:2] == (32, 32)]) == 7
    told = json.loads(
        ElementTree.parse(laid)
        .getroot()
        .find(".//{http://purl.org/dc/elements/1.1/}description")
        .text
    )
    assert (told["opacity"], [n["tau"] for n in told["networks"]]) == (0.4, [0.002, 0.3])


def test_the_same_command_gives_the_same_bytes(net, photo, tmp_path):
    made = []
    for _ in range(2):
        out = [tmp_path / f"f.{kind}" for kind in ("svg", "pdf", "png")]
        assert run_maps(net, photo, "--out", *out, "--force") == 0
        made.append([zlib.crc32(path.read_bytes()) for path in out])
    assert made[0] == made[1]


@pytest.mark.parametrize(("side", "shape"), [(64, (16, 16)), (72, (72, 72))])
def test_one_value_for_each_position_where_the_input_divides(side, shape):
    """At 72 px the last blocks' positions, 5 in a row, end within those of the first."""
    config = NetworkConfig("imagenet", (2, 1, 3, 1), base_channels=4, num_classes=5, halting="sact")
    made = Checkpoint(
        config, random_params(np.random.default_rng(1), config), Preprocessing("imagenet", 64)
    )
    from sact_core.backends import Net

    x = np.random.default_rng(0).normal(size=(1, side, side, 3)).astype(np.float32)
    result = Net.from_checkpoint(made, "reference").forward(x)
    values = maps.positions(result, "num_units")
    assert values.shape == shape
    whole = result.map("num_units")[0]
    k = side // shape[0]
    np.testing.assert_array_equal(np.kron(values, np.ones((k, k))), whole)


def test_tables_hold_what_was_measured(net, tmp_path):
    rows = [METRICS | {"tau": 0.2}, METRICS | {"tau": 0.01, "Total Flops/mean": 2e6}]
    curve = curve_file(tmp_path / "a.curve.json", rows, image_size=32, fit="crop", **TINY)
    out = [tmp_path / f"t.{kind}" for kind in ("csv", "tex", "md", "png")]
    assert main(["curve", str(curve), str(net), "--out", *map(str, out)]) == 0
    lines = out[0].read_text().splitlines()
    table = list(csv.reader(line for line in lines if not line.startswith("# ")))
    assert table[0] == [
        *("network", "tau", "accuracy, %", "MFLOPs, mean", "MFLOPs, std"),
        *("data set", "split", "images", "image size"),
    ]
    assert table[1:3] == [
        ["A & B $", "0.01", "87.50", "2.0", "0.1", "tiny", "test", "400", "32"],
        ["A & B $", "0.2", "87.50", "2.5", "0.1", "tiny", "test", "400", "32"],
    ]
    assert table[3][0] == "ResNet-16 SACT any tau, 1/4 width"
    assert table[3][5:] == ["tiny", "test", "400", "32"]
    about = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
    for each in json.loads(about["networks"]):
        assert [each[k] for k in ("data_set", "split", "image_size")] == ["tiny", "test", 32]
        assert set(each["images"]) == {400}
    fits = [each["fit"] for each in json.loads(about["networks"])]
    assert fits == ["crop", read_header(net).preprocessing.fit]
    hashes = [each["content_hash"] for each in json.loads(about["networks"])]
    assert hashes[0] == "ab"
    assert len(hashes[1]) == 64
    assert about["version"] == __version__
    latex = out[1].read_text()
    assert r"A \& B \$ & 0.01 & 87.50 & 2.0 & 0.1 & tiny & test & 400 & 32 \\" in latex
    assert r"accuracy, \%" in latex
    assert latex.index(r"\toprule") < latex.index(r"\midrule") < latex.index(r"\bottomrule")
    for text in (out[1].read_text(), out[2].read_text()):  # to be pasted back
        assert f"command: {about['command']}\n" in text
    assert " --out " in about["command"]
    fenced = out[2].read_text().split("```")
    assert len(fenced) == 3
    assert "content_hash" in fenced[1]
    assert "<!--" not in out[2].read_text()
    assert "| A & B $ | 0.01 | 87.50 | 2.0 | 0.1 | tiny | test | 400 | 32 |" in out[2].read_text()


def test_a_curve_beside_a_checkpoint_is_taken_and_must_be_its_own(net, tmp_path, capsys):
    curve = net.with_suffix(".curve.json")
    curve_file(curve, [METRICS])
    words = ["curve", str(net), "--out", str(tmp_path / "t.md")]
    assert main(words) == 2
    assert "any_tau.curve.json belongs to another network" in capsys.readouterr().err
    curve.unlink()
    assert main([*words[:-1], str(tmp_path / "c.svg")]) == 0


def fixed(path, tau, channels=16, **data):
    """A network that was trained for one tau."""
    config = NetworkConfig(units_per_block=(1, 1, 1), base_channels=channels, halting="act")
    data_set = {"name": "tiny"} | data
    record = RECORD | {"tau": tau, "data_set": data_set}
    write(path, Checkpoint(config, init_params(build_plan(config)), Preprocessing(), (), record))
    return path


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"name": "other"}, "b.h5 of other test"),
        ({"note": "JPEG copies"}, "b.h5 of tiny (JPEG copies) test"),
        ({"name": None}, "b.h5 of unknown data set test"),
    ],
)
def test_networks_of_other_images_share_no_axis(tmp_path, capsys, data, said):
    files = [fixed(tmp_path / "a.h5", 0.02), fixed(tmp_path / "b.h5", 0.05, **data)]
    out = tmp_path / "t.md"
    assert main(["curve", *map(str, files), "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert "do not compare: a.h5 is of tiny test, " in told
    assert said in told
    assert told.count("\n") == 1
    assert not out.exists()


def test_other_splits_share_no_axis_and_versions_of_a_data_set_do(tmp_path, capsys):
    rows = [METRICS | {"tau": 0.2}]
    one = curve_file(tmp_path / "a.json", rows, **TINY)
    other = curve_file(tmp_path / "b.json", rows, **TINY | {"split": "train"})
    again = curve_file(tmp_path / "c.json", rows, **TINY | {"dataset": "Tiny:1.0.0"})
    words = ["--out", str(tmp_path / "t.csv")]
    assert main(["curve", str(one), str(other), *words]) == 2
    assert "b.json of tiny train" in capsys.readouterr().err
    assert main(["curve", str(one), str(again), *words]) == 0


def test_legends_and_titles_tell_networks_apart(photo, tmp_path, monkeypatch):
    files = [
        fixed(tmp_path / "a.h5", 0.02),
        fixed(tmp_path / "b.h5", 0.05),
        fixed(tmp_path / "c.h5", 0.05, channels=8),
        fixed(tmp_path / "d.h5", 0.02),
    ]
    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")  # text as text
    curve, out = tmp_path / "f.svg", tmp_path / "m.svg"
    assert main(["curve", *map(str, files), "--out", str(curve)]) == 0
    for name in (
        *("ResNet-8 ACT, τ = 0.02 (a.h5)", "ResNet-8 ACT, τ = 0.02 (d.h5)"),
        *("ResNet-8 ACT, τ = 0.05", "ResNet-8 ACT, 1/2 width, τ = 0.05"),
    ):
        assert f">{name}<" in curve.read_text()
    words = ["maps", photo, "--checkpoint", *files, "--backend", "reference", "--out", out]
    assert main([*map(str, words)]) == 0
    for name in ("τ = 0.02", "τ = 0.05", "a.h5", "d.h5", "ResNet-8 ACT, 1/2", "width"):  # wrapped
        assert f">{name}<" in out.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["maps", "{photo}", "--checkpoint", "{net}", "--out", "f.gif"], "must end in one of .svg"),
        (["maps", "{photo}", "--checkpoint", "{net}", "--out", "f.csv"], "must end in one of .svg"),
        (["maps", "{photo}", "--checkpoint", "{net}", "--taus", "7", "--out", "f.svg"], "tau 7"),
        (["maps", "{photo}", "--checkpoint", "{plain}", "--out", "f.svg"], "name one that halts ("),
        (["maps", *["{photo}"] * 25, "--checkpoint", "{net}", "--out", "f.svg"], "room for 24"),
        (["maps", "no.jpg", "--checkpoint", "{net}", "--out", "f.svg"], "there is no file"),
        (["maps", "{photo}", "--checkpoint", "{net}", "--out", "no/f.svg"], "no does not exist"),
        (
            ["maps", "{photo}", "--checkpoint", "{net}", "--limits", "2", "1", "--out", "f.svg"],
            "rise",
        ),
        (
            ["maps", "{photo}", "--checkpoint", "{net}", "--difference", "--out", "f.svg"],
            "two maps",
        ),
        (["curve", "{net}", "--width", "0", "--out", "f.svg"], "--width must be from 0.5 to 50"),
        (["curve", "{empty}", "--out", "f.svg"], "empty.json holds no points"),
        (["curve", "{odd}", "--out", "f.svg"], "odd.json says an accuracy or FLOPs that cannot be"),
        (["curve", "{photo}.json", "--out", "f.svg"], "is no curve"),
        (["curve", "{plain}", "--out", "f.svg"], "carries no metrics"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(
    net, photo, tmp_path, monkeypatch, capsys, words, said
):
    plain = tmp_path / "plain.h5"
    config = NetworkConfig(units_per_block=(1, 1, 1), base_channels=2)
    write(plain, Checkpoint(config, init_params(build_plan(config)), Preprocessing()))
    (tmp_path / "photo.png.json").write_text("[1]")
    files = {
        "net": net,
        "photo": photo,
        "plain": plain,
        "empty": curve_file(tmp_path / "empty.json", []),
        "odd": curve_file(tmp_path / "odd.json", [METRICS | {"eval/Accuracy": 1.5}]),
    }
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    words = [word.format(**files) for word in words]
    if words[0] == "maps":
        words += ["--backend", "reference"]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert not list(work.iterdir())


def test_a_file_that_is_there_is_kept(net, tmp_path, capsys):
    out = tmp_path / "t.csv"
    out.write_text("mine")
    assert main(["curve", str(net), "--out", str(out)]) == 2
    assert "give --force to replace it" in capsys.readouterr().err
    assert out.read_text() == "mine"


def test_figures_need_their_extra_and_tables_do_not(net, tmp_path, monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["curve", str(net), "--out", str(tmp_path / "t.csv")]) == 0
    assert main(["curve", str(net), "--out", str(tmp_path / "t.svg")]) == 2
    assert "pip install 'sact-explorer[plots]'" in capsys.readouterr().err
