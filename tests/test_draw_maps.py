"""Drawn maps: names that sort by cost, one scale, a contact sheet of everything."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
from PIL import Image

from sact_core.backends import Net
from sact_core.checkpoint import Checkpoint
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.draw_maps import main
from sact_core.maps import drawing
from sact_core.maps import parts as map_parts
from sact_core.maps.file import MapFile
from sact_core.maps.limits import unit_limits
from sact_core.maps.writing import map_attributes, map_rows, write_maps
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests.exits import one_sentence

CONFIG = NetworkConfig("cifar", (1, 2, 2), 2, 3, "sact", halting_bias=0.3)
NAMES = ("a.jpg", '<b>&"x".jpg', "c.jpg", "d.jpg")


def write(path, means, **more):
    """A file of maps whose means are as given, with names that HTML must escape."""
    n = len(means)
    record = Checkpoint(CONFIG, init_params(build_plan(CONFIG)), Preprocessing("cifar", 8))
    net = Net.from_checkpoint(record, "reference")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 8, 12, 3)).astype(np.float32)
    rows = map_rows(net.config, x, net.forward(x), NAMES[:n], range(n))
    spread = np.linspace(-1, 1, 8 * 12, dtype=np.float32).reshape(8, 12, 1)
    rows["ponder_cost_map"] = np.asarray(means, np.float32)[:, None, None, None] + spread
    about = map_attributes(net.config, ("cat", "dog", "owl", "<fox>"), {})
    write_maps(path, rows, about | more)
    return path


def run(*argv):
    return main([str(arg) for arg in argv])


def test_names_sort_by_mean_cost(tmp_path, capsys):
    path = write(tmp_path / "maps.h5", [12.5, 9.25, 100.0, 9.25])
    assert run(path, "--out", tmp_path / "out") == 0
    drawn = sorted(p.name for p in (tmp_path / "out").iterdir())
    endings = ("im.jpg", "overlay.jpg", "ponder.png")
    stems = ["009.25_1", "009.25_3", "012.50_0", "100.00_2"]
    assert drawn == [f"{s}_{e}" for s in stems for e in endings] + [
        "colorbar.png",
        "contact_sheet.png",
        "index.html",
    ]
    assert "index.html: 4 images, ponder cost between " in capsys.readouterr().out


@pytest.mark.parametrize("scale", ["percentile", "units"])
def test_one_scale_for_all_maps(tmp_path, scale):
    path = write(tmp_path / "maps.h5", [7.0, 8.0])
    assert run(path, "--out", tmp_path, "--scale", scale, "--colour-map", "plasma") == 0
    with MapFile(path) as file:
        values = file.root["ponder_cost_map"][..., 0]
    percentiles = tuple(np.percentile(values.astype(np.float64), (0.1, 99.9)))
    limits = unit_limits((1, 2, 2)) if scale == "units" else percentiles
    for i, stem in enumerate(("7.00_0", "8.00_1")):
        with Image.open(tmp_path / f"{stem}_ponder.png") as image:
            shown = np.asarray(image)
        factor = shown.shape[0] // 8
        ref = drawing.colour(values[i], limits, "plasma")
        np.testing.assert_array_equal(shown[::factor, ::factor], ref)


def test_num_units_are_drawn_too(tmp_path):
    path = write(tmp_path / "maps.h5", [7.0])
    assert run(path, "--out", tmp_path / "out", "--metric", "num_units") == 0
    with MapFile(path) as file:
        mean = file.map(0, "num_units").mean()
    assert (tmp_path / "out" / f"{mean:.2f}_0_ponder.png").exists()


def test_the_page_names_every_file_and_escapes_names(tmp_path):
    path = write(tmp_path / "maps.h5", [7.0, 6.0, 8.0])
    assert run(path, "--out", tmp_path / "out") == 0
    text = (tmp_path / "out" / "index.html").read_text()
    assert "&lt;b&gt;&amp;&quot;x&quot;.jpg" in text
    assert "<b>" not in text
    sources = re.findall(r'src="([^"]+)"', text)
    assert sources[0] == "colorbar.png"
    assert sources[1::3] == ["6.00_1_im.jpg", "7.00_0_im.jpg", "8.00_2_im.jpg"]
    for source in sources:
        assert (tmp_path / "out" / source).exists()
    assert "6.00, " in text
    assert "is dog" in text


def test_the_authors_file_is_drawn(reference_dir, tmp_path):
    assert run(reference_dir / "export.h5", "--out", tmp_path) == 0
    assert len(list(tmp_path.glob("*_ponder.png"))) == 8
    with MapFile(reference_dir / "export.h5") as file:
        means = file.root["ponder_cost_map"][()].mean(axis=(1, 2, 3))
        digits = len(f"{means.max():.2f}")
        for i, mean in enumerate(means):
            assert (tmp_path / f"{mean:0{digits}.2f}_{i}_im.jpg").exists()


def test_many_images_fit_on_the_sheet(tmp_path, monkeypatch):
    monkeypatch.setattr("sact_core.draw_maps.MAX_SHEET_ROWS", 2)
    kept = []
    real = drawing.contact_sheet
    monkeypatch.setattr(
        drawing, "contact_sheet", lambda rows, side: kept.extend(rows) or real(rows, side)
    )
    path = write(tmp_path / "maps.h5", [7.0, 6.0, 8.0, 5.0])
    assert run(path, "--out", tmp_path / "out") == 0
    assert [caption.split(",")[0] for _, caption in kept] == ["5.00", "8.00"]  # both ends
    assert "4 images" in (tmp_path / "out" / "index.html").read_text()


fails = partial(one_sentence, main)


def test_what_was_drawn_is_kept_or_replaced_as_a_whole(tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.png").write_text("mine")
    path = write(tmp_path / "maps.h5", [7.0, 6.0])
    assert run(path, "--out", out) == 0
    write(path, [9.0])
    assert "exists; give --force" in fails(capsys, path, "--out", out)
    assert (out / "7.00_0_im.jpg").exists()
    assert run(path, "--out", out, "--force") == 0
    assert sorted(p.name for p in out.glob("*_im.jpg")) == ["9.00_0_im.jpg"]
    assert (out / "mine.png").read_text() == "mine"


def test_partial_files_say_so(tmp_path, capsys):
    path = write(tmp_path / "00000000.h5", [7.0], part=[0, 1, 9])
    assert "is only a part of an export (images 0 to 1 of 9)" in fails(
        capsys, path, "--out", tmp_path / "out"
    )
    map_parts.start(tmp_path / "maps.h5", {"num_examples": 9}, 3)
    assert "is not finished: 0 of 9 images are in" in fails(
        capsys, tmp_path / "maps.h5", "--out", tmp_path / "out"
    )
    assert not (tmp_path / "out").exists()


def test_mistakes_are_one_sentence(tmp_path, capsys):
    out = tmp_path / "out"
    assert "there is no file" in fails(capsys, tmp_path / "no.h5", "--out", out)
    (tmp_path / "a.h5").write_text("hello")
    assert "is no HDF5 file" in fails(capsys, tmp_path / "a.h5", "--out", out)
    (tmp_path / "plain").write_text("")
    path = write(tmp_path / "maps.h5", [7.0])
    assert "plain" in fails(capsys, path, "--out", tmp_path / "plain")
