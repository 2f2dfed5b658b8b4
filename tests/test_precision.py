"""The number format that is asked for, from the library's door to what commands write."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

import sact_core
from sact_core import export_maps, ponder
from sact_core.backends import PRECISIONS, Net
from sact_core.calibrate.scales import find_scales
from sact_core.checkpoint import read, write
from sact_core.data.splits import open_split
from sact_core.evaluate import __main__ as evaluate
from sact_core.maps.file import MapFile
from tests.conftest import ROOT
from tests.networks import any_tau_checkpoint
from tests.test_ponder import write_network


@pytest.fixture(autouse=True)
def forced(monkeypatch):
    """Wherever the tests run."""
    monkeypatch.setenv("SACT_FORCE_PRECISION", "1")


def calibrated(checkpoint, rng):
    """The same with scales for int8."""
    batches = [rng.standard_normal((2, 16, 16, 3), np.float32) for _ in range(2)]
    return replace(checkpoint, quantisation=find_scales(checkpoint, batches))


@pytest.fixture
def network(tmp_path, rng):
    path = write_network(tmp_path / "net.h5")
    write(path, calibrated(read(path), rng))
    return path


@pytest.fixture
def photos(tmp_path, rng):
    """A folder of class folders, as the network's classes are."""
    for name in ("cat", "dog", "owl"):
        (tmp_path / "photos" / "test" / name).mkdir(parents=True)
        pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / "test" / name / f"{name}.png")
    return tmp_path / "photos"


def test_a_network_and_its_results_say_their_precision(network, rng):
    x = rng.standard_normal((2, 16, 16, 3), np.float32)
    found = {}
    for asked in (None, *PRECISIONS):
        net = sact_core.load(network, precision=asked)
        assert net.precision == (asked or "float32")
        found[asked] = net.forward(x)
        assert found[asked].precision == net.precision
    np.testing.assert_array_equal(found[None].logits, found["float32"].logits)
    for one, other in combinations(PRECISIONS, 2):
        assert (found[one].logits != found[other].logits).any()
    net = sact_core.load(network, precision="bfloat16")
    assert net.computed_by == "masked backend in bfloat16"
    for asked in PRECISIONS:
        other = Net.from_checkpoint(calibrated(any_tau_checkpoint(), rng), precision=asked)
        assert other.at_tau(0.02).forward(x).precision == other.precision == asked


@pytest.mark.parametrize("backend", ["reference", "dense"])
def test_other_backends_have_float32_only(tmp_path, network, backend, monkeypatch, rng):
    with pytest.raises(ValueError, match=f"masked backend; the {backend} backend computes in flo"):
        sact_core.load(tmp_path / "none.h5", backend, precision="bfloat16")  # before it is read
    monkeypatch.setenv("SACT_PRECISION", "bfloat16")  # for the masked backend
    net = sact_core.load(network, backend)
    result = net.forward(rng.standard_normal((1, 16, 16, 3), np.float32))
    assert (net.precision, result.precision) == ("float32", "float32")
    assert sact_core.load(network).precision == "bfloat16"


def test_what_cannot_be_had_is_one_sentence(network, photos, tmp_path, capsys):
    photo = str(photos / "test" / "cat" / "cat.png")
    out = ["--out", str(tmp_path / "out")]
    flags = ["--checkpoint", network, "--precision", "bfloat16", "--backend", "dense"]
    assert ponder.main([photo, *flags, *out]) == 2
    assert capsys.readouterr().err == (
        "error: precision bfloat16 is for the masked backend; "
        "the dense backend computes in float32\n"
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_files_and_json_say_their_precision(network, photos, tmp_path, capsys, precision):
    flags = ["--checkpoint", network, "--precision", precision]
    data = ["--dataset", str(photos), "--split", "test"]
    photo = str(photos / "test" / "cat" / "cat.png")
    assert ponder.main([photo, *flags, "--out", str(tmp_path / "out")]) == 0
    assert export_maps.main([*flags, *data, "--out", str(tmp_path / "maps.h5")]) == 0
    for file in (tmp_path / "out" / "cat_maps.h5", tmp_path / "maps.h5"):
        with MapFile(file) as maps:
            assert maps.provenance["precision"] == precision
    capsys.readouterr()
    for more in ([], ["--sizes", "16"]):
        assert evaluate.main([*flags, *data, *more, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["networks"][0] if more else told)["precision"] == precision
        assert evaluate.main([*flags, *data, *more]) == 0
        in_words = "masked backend" + ("" if precision == "float32" else f" in {precision}")
        assert f", {in_words}{';' if more else ','} " in capsys.readouterr().out


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_what_a_format_changes_is_counted(network, photos, capsys, precision):
    data = ["--dataset", str(photos), "--split", "test"]
    flags = ["--checkpoint", network, *data, "--precision", precision, "--against", "float32"]
    assert evaluate.main([*flags, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    net, other = (sact_core.load(network, precision=each) for each in (precision, "float32"))
    source = open_split(str(photos), "test").spread()
    images = [image for image, *_ in source.each(range(3))]
    labels = [label for _, label, _ in source.each(range(3))]
    one, two = ([each.forward(each.see(image).x) for image in images] for each in (net, other))
    assert (told["precision"], told["against"], told["num_examples"]) == (precision, "float32", 3)
    assert told["content_hash"] == sact_core.load(network).content_hash
    assert told["command"].endswith(f"--precision {precision} --against float32 --json")
    for side, results in enumerate((one, two)):
        answers = [result.logits.argmax() for result in results]
        assert told["accuracy"][side] == pytest.approx(np.mean(np.equal(answers, labels)))
        assert told["flops"][side] == pytest.approx(np.mean([r.flops[0] for r in results]))
    pairs = list(zip(one, two, strict=True))
    logit = max(np.abs(a.logits - b.logits).max() for a, b in pairs)
    assert told["largest_logit_change"] == pytest.approx(logit) != 0
    blocks = [pair for a, b in pairs for pair in zip(a.blocks, b.blocks, strict=True)]
    differ = [(a.num_units != b.num_units).ravel() for a, b in blocks]
    assert told["unit_counts_that_differ"] == pytest.approx(np.concatenate(differ).mean())
    assert 0 < told["mean_halting_score_change"] < 0.1
    assert evaluate.main(flags) == 0
    out = capsys.readouterr().out
    assert f"masked backend in {precision} against float32" in out
    assert "same answers" in out
    assert "unit counts that differ" in out
    for more, message in (
        (["--against", precision], "is the format that is measured itself"),
        (["--sizes", "16"], "--against goes with one checkpoint"),
    ):
        assert evaluate.main([*flags, *more]) == 2
        assert message in capsys.readouterr().err


def test_an_export_goes_on_in_its_own_precision_only(network, photos, tmp_path, monkeypatch):
    """The parts of an unfinished file say in what they were computed."""
    jobs = []

    def start(out, job, part_size):
        jobs.append(job)
        raise OSError("stopped here")

    monkeypatch.setattr(export_maps, "start", start)
    source = open_split(str(photos), "test")
    for precision in PRECISIONS:
        net = sact_core.load(network, precision=precision)
        with pytest.raises(OSError, match="stopped"):
            export_maps.export(net, source, tmp_path / "maps.h5")
    assert [job.get("precision") for job in jobs] == [None, "bfloat16", "int8"]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("resnet32", 0.0),
        ("resnet32_act_tau0.02", 5e-3),
        ("resnet32_sact_tau0.05", 6e-3),  # 0.51 % over the whole test split
        ("resnet32_sact_anytau", 5e-3),  # 0.23 %
    ],
)
def test_trained_networks_halt_and_answer_as_in_float32(data_dir, name, share):
    """But for some 0.5 % of the positions, and no answer in 100."""
    checkpoint = read(ROOT / "pretrained" / f"cifar10_{name}.h5")
    source = open_split("cifar10", "test[:200]", data_dir)
    images = np.stack([image for image, *_ in source.each(range(200))])
    wide, narrow = (
        Net.from_checkpoint(checkpoint, precision=each).run(images)
        for each in ("float32", "bfloat16")
    )
    assert (wide.logits.argmax(1) != narrow.logits.argmax(1)).sum() <= 2
    assert np.abs(wide.logits - narrow.logits).max() < 0.05 * np.abs(wide.logits).max()
    assert narrow.flops.mean() == pytest.approx(wide.flops.mean(), rel=1e-3)
    differ = [
        (one.num_units != other.num_units).ravel()
        for one, other in zip(wide.blocks, narrow.blocks, strict=True)
        if one.num_units is not None
    ]
    assert np.mean(np.concatenate(differ) if differ else 0) <= share
