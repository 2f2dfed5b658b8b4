"""The file to hand on: its numbers, its size, what it refuses, and that texts stay texts."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
from functools import partial

import numpy as np
import pytest
from PIL import Image

from sact_core import checkpoint as checkpoints
from sact_core import handout
from sact_core.backends import load
from sact_core.checkpoint import Checkpoint
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.data.images import read_image
from sact_core.flops import count_flops
from sact_core.handout.thought import MOST_TAUS, count_taus, spread
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.ponder import main
from sact_core.viewer import sources
from tests.conftest import ROOT
from tests.exits import exit_code
from tests.networks import any_tau_checkpoint

HOSTILE = "</script><img src=x onerror=alert(1)>&amp;\"'.png"


class Elements(html.parser.HTMLParser):
    """What a browser makes of a page: elements, and the text of scripts and styles."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.texts, self.inside = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside in ("script", "style", "title"):
            self.texts.append((self.tags[-1], data))


def document(path):
    """Give the data of a file."""
    page = Elements(path.read_text(encoding="utf-8"))
    (found,) = [text for (_, attributes), text in page.texts if attributes.get("id") == "data"]
    return json.loads(found)


def unpack(block, frame, num_frames):
    """Units run [h, w] and halting scores [h, w, units - 1] of a block, position by position."""
    h, w, units = block["h"], block["w"], block["units"]
    run = np.frombuffer(base64.b64decode(block["num_units"]), "u1").reshape(num_frames, h, w)[frame]
    read = np.frombuffer(base64.b64decode(block["scores"]), "<u2")
    scores = np.full((h, w, units - 1), np.nan)
    at = block["starts"][frame]
    for row in range(h):
        for column in range(w):
            for unit in range(min(run[row, column], units - 1)):
                scores[row, column, unit] = read[at] / 65535
                at += 1
    return run, scores


@pytest.fixture
def photo(tmp_path, rng):
    coarse = Image.fromarray(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    coarse.resize((60, 40)).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


@pytest.fixture
def any_tau(tmp_path):
    checkpoints.write(tmp_path / "any.h5", any_tau_checkpoint((3, 2, 1)))
    return str(tmp_path / "any.h5")


def write(tmp_path, *argv):
    """Write a file by the command; give its path."""
    path = tmp_path / "out.html"
    assert main([*map(str, argv), "--html", str(path), "--backend", "reference", "--force"]) == 0
    return path


def test_numbers_are_those_of_the_network_at_every_tau(tmp_path, photo, any_tau):
    path = write(tmp_path, photo, "--checkpoint", any_tau, "--tau", "0.0123")
    (scene,) = document(path)["scenes"]
    (side,) = scene["sides"]
    net = load(any_tau, "reference")
    seen = net.see(read_image(photo))
    assert scene["size"] == [16, 16]
    assert side["taus"] == sorted({*spread(net.config, MOST_TAUS, 0.0123)})
    assert side["taus"][side["at"]] == 0.0123
    assert side["taus"][0] == 0.001
    assert side["taus"][-1] == 0.1
    for frame in (0, side["at"], len(side["taus"]) - 1):
        result = net.forward(seen.x, tau=side["taus"][frame])
        count = count_flops(net.plan, result.positions)
        assert sum(side["flops"][frame]) == result.flops[0]
        assert side["flops"][frame][1:] == [int(count.blocks[b.name][0]) for b in result.blocks]
        for packed, block in zip(side["blocks"], result.blocks, strict=True):
            run, scores = unpack(packed, frame, len(side["taus"]))
            np.testing.assert_array_equal(run, block.num_units[0])
            np.testing.assert_array_equal(np.isnan(scores), np.isnan(block.halting_proba[0]))
            np.testing.assert_allclose(scores, block.halting_proba[0], rtol=0, atol=0.51 / 65535)
        best = int(result.logits.argmax())
        index, share = side["says"][frame][0]
        assert index == best
        assert share == pytest.approx(result.probabilities[0, best], abs=1e-6)


@pytest.mark.parametrize("halting", ["sact", "act"])
def test_a_network_of_one_tau_has_that_one(tmp_path, photo, halting):
    config = NetworkConfig("cifar", (2, 2, 2), 2, 3, halting, halting_bias=0.3)
    made = Checkpoint(config, init_params(build_plan(config), 4), Preprocessing("cifar", 16))
    checkpoints.write(tmp_path / "one.h5", made)
    path = write(tmp_path, photo, "--checkpoint", tmp_path / "one.h5")
    found = document(path)
    (side,) = found["scenes"][0]["sides"]
    net = load(tmp_path / "one.h5", "reference")
    result = net.forward(net.see(read_image(photo)).x)
    assert side["taus"] == [None]
    assert side["by_position"] is (halting == "sact")
    for packed, block in zip(side["blocks"], result.blocks, strict=True):
        run, scores = unpack(packed, 0, 1)
        assert np.array_equal(run.ravel(), block.num_units.ravel())
        np.testing.assert_allclose(scores.ravel(), block.halting_proba.ravel(), atol=0.51 / 65535)
    said = dict(side["about"])
    assert said["Checkpoint"] == "one.h5"
    assert len(said["Content hash"]) == 64
    assert found["command"].startswith("python -m sact_core.ponder ")
    assert found["provenance"]["checkpoint"]["content_hash"] == said["Content hash"]


@pytest.mark.parametrize("image", ["astronaut", "noise"])
def test_a_photograph_of_320_pixels_takes_less_than_3_mb(tmp_path, rng, image):
    path = ROOT / "app" / "examples" / f"{image}.jpg"
    if image == "noise":  # which no PNG makes smaller
        path = tmp_path / "noise.png"
        Image.fromarray(rng.integers(0, 256, (320, 320, 3), dtype=np.uint8)).save(path)
    checkpoint = ROOT / "pretrained" / "caltech101_resnet50w16_sact_anytau.h5"
    net = load(checkpoint)
    # At the lowest price most scores are read.
    seen = net.at_tau(net.config.tau_low).see(read_image(path), 320, "keep")
    result = net.forward(seen.x, tau=net.config.tau_low)
    count = count_taus(result)
    thought = handout.Thought(
        "all", net.config, net.plan, net.class_names, [result] * count, [*range(1, count + 1)]
    )
    assert count > 30
    assert len(handout.page([handout.scene(path.name, seen.pixels, [thought])])) < 3_000_000


def test_texts_of_strangers_stay_texts(tmp_path, photo):
    config = NetworkConfig("cifar", (2, 2, 2), 2, 3, "sact")
    made = Checkpoint(
        config, init_params(build_plan(config), 4), Preprocessing("cifar", 16),
        ("</script><script>alert(2)</script>", "<!--", "\u202eabc"),
    )  # fmt: skip
    checkpoints.write(tmp_path / "hostile.h5", made)
    net = load(tmp_path / "hostile.h5", "reference")
    seen = net.see(read_image(photo))
    thought = handout.think(
        net, seen.x, net.forward(seen.x), name=HOSTILE, about=[(HOSTILE, HOSTILE)]
    )
    scene = handout.scene(HOSTILE, seen.pixels, [thought], about=[(HOSTILE, HOSTILE)])
    page = handout.page([scene], command=HOSTILE, provenance={HOSTILE: HOSTILE}).decode()
    found = Elements(page)
    assert [tag for tag, _ in found.tags].count("script") == 2
    assert "img" not in [tag for tag, _ in found.tags]
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    (title,) = [text for (tag, _), text in found.texts if tag == "title"]
    assert title.startswith(HOSTILE)
    path = tmp_path / "page.html"
    path.write_text(page)
    (kept,) = document(path)["scenes"]
    assert kept["name"] == HOSTILE
    assert kept["sides"][0]["classes"]["0"] == "</script><script>alert(2)</script>"
    assert kept["sides"][0]["classes"]["2"] == "\\u202eabc"


def test_the_policy_lets_only_what_stands_in_the_file_run(tmp_path, photo, any_tau):
    page = Elements(write(tmp_path, photo, "--checkpoint", any_tau).read_text())
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv")]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy
    for (tag, attributes), text in page.texts:
        assert "src" not in attributes
        if tag == "style" or attributes.get("type") == "module":
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy
    for host in sources.SCRIPTS:
        assert not re.search(r"</script|<!--|\bfetch\(|\bimport\b", sources.script(host))


def fails(capsys, *argv):
    assert exit_code(main, [str(arg) for arg in argv]) == 2
    return capsys.readouterr().err


def test_mistakes_are_one_sentence(tmp_path, photo, any_tau, capsys):
    net = [photo, "--checkpoint", any_tau, "--backend", "reference"]
    out = tmp_path / "there.html"
    out.write_text("precious")
    assert "there.html exists; give --force" in fails(capsys, *net, "--html", out)
    assert out.read_text() == "precious"
    assert "give --out DIR, --html FILE or both" in fails(capsys, *net)
    said = fails(capsys, *net, "--html", tmp_path / "new.html", "--out", tmp_path, "--resume")
    assert "--resume goes on with --out" in said
    said = fails(capsys, *net, "--html", tmp_path / "cat.txt")
    assert said == f"error: --html {tmp_path / 'cat.txt'} must end in .html\n"
    said = fails(capsys, *net, "--html", tmp_path / "no" / "x.html")
    assert said.count("\n") == 1
    assert "does not exist" in said
    assert "it is a folder" in fails(capsys, *net, "--html", tmp_path, "--force")
    (tmp_path / "bad.jpg").write_text("hello")
    said = fails(capsys, tmp_path / "bad.jpg", *net, "--html", tmp_path / "new.html")
    assert "bad.jpg is no image" in said
    assert "1 of 2 images were left out" in said
    assert [scene["name"] for scene in document(tmp_path / "new.html")["scenes"]] == ["photo.png"]
    said = fails(capsys, tmp_path / "bad.jpg", *net[1:], "--html", tmp_path / "none.html")
    assert not (tmp_path / "none.html").exists()


def test_what_fits_is_kept_and_the_rest_is_said(tmp_path, photo, any_tau, capsys, monkeypatch):
    monkeypatch.setattr(handout, "Gathering", partial(handout.Gathering, max_bytes=30_000))
    argv = [*[photo] * 5, "--checkpoint", any_tau, "--backend", "reference"]
    said = fails(capsys, *argv, "--html", tmp_path / "full.html")
    kept = len(document(tmp_path / "full.html")["scenes"])
    assert 1 <= kept < 5
    assert f"is full with {kept} photographs; {5 - kept} more were left out" in said


def test_what_is_done_is_kept_after_ctrl_c(tmp_path, photo, any_tau, capsys, monkeypatch):
    from sact_core import ponder

    once = iter([ponder.ponder])

    def stop(*args, **options):
        for run in once:
            return run(*args, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(ponder, "ponder", stop)
    argv = [photo, photo, "--checkpoint", any_tau, "--backend", "reference"]
    assert exit_code(main, [*argv, "--html", str(tmp_path / "half.html")]) == 130
    assert capsys.readouterr().err == "stopped; what was written is kept\n"
    assert len(document(tmp_path / "half.html")["scenes"]) == 1


def test_files_and_the_page_may_be_written_together(tmp_path, photo, any_tau):
    path = write(tmp_path, photo, "--checkpoint", any_tau, "--out", tmp_path / "maps")
    assert (tmp_path / "maps" / "photo_overlay.png").exists()
    assert len(document(path)["scenes"]) == 1
