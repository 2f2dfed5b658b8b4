"""Where halting pays: what is measured of it, what is said, and the section on the page FLOPs."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from app import figures, paying
from app.folders import InputError
from app.loaders import paying as loader
from app.paying import Where
from sact_core.benchmark.break_even import Cell
from sact_core.benchmark.process import SideError
from sact_core.config import NetworkConfig
from tests.app.pages import run_page, texts
from tests.test_benchmark_map import made
from tests.test_benchmark_sides import facts

SACT = NetworkConfig(units_per_block=(2, 1, 1), base_channels=4, halting="sact")


def cell(ratio, speedup):
    return Cell(1, ratio, ratio, speedup, "masked", "OpenVINO", 2.0, 2 * speedup, None, None)


def measured(batch, ratio, speedup):
    """A row: the rival is twice as fast in int8 as in float32, and ours has no int8."""
    times = {"masked": 2.0, "masked-bf16": 1.0, "openvino": 2 * speedup, "openvino-int8": speedup}
    return made(
        batch, ratio, ms=times, turns={name: [ms] for name, ms in times.items()},
        sides={name: facts() for name in times},
    )  # fmt: skip


#: Two batch sizes at two densities: at batch 1 it pays below 75 %.
WHERE = Where(
    (measured(1, 1.0, 0.75), measured(1, 0.5, 1.25), measured(4, 1.0, 1.5), measured(4, 0.5, 2.0)),
    ("OpenVINO", "OpenVINO, int8 by NNCF"),
    {"onnxruntime": "not installed", "masked-int8": "this processor does not multiply int8"},
    2,
    32,
)


def test_what_is_said_of_a_cell():
    lost, won = cell(1.0, 0.75), cell(0.5, 1.25)
    assert paying.told(won) == (
        "batch 1, 50% of the dense FLOPs<br>masked 2.00 ms, OpenVINO 2.50 ms<br>"
        "<b>1.25 times as fast</b>"
    )
    assert paying.told(lost).endswith("<b>0.75 times as fast</b>: it loses")


@pytest.mark.parametrize(("share", "said"), [(0.74, "it pays."), (0.76, "it does not pay.")])
def test_the_image_is_held_against_batch_1(share, said):
    assert paying.about_image(WHERE.cells(), share).endswith(said)


def test_cells_that_lose_say_so_in_the_figure():
    speedups = np.array([[0.5, 1.5], [1.0, 4.0]])
    (map_,) = figures.paying(
        ["batch 1", "batch 4"], ["100%", "50%"], speedups, [["a", "b"]] * 2
    ).data
    assert [list(line) for line in map_.text] == [["0.50<br>loses", "1.50"], ["1.00", "4.00"]]
    np.testing.assert_allclose(map_.z, [[-1, np.log2(1.5)], [0, 2]])
    assert (map_.zmin, map_.zmax) == (-2, 2)  # even is in the middle


# --- what is measured ---


def test_installed_rivals_are_chosen_and_others_named(monkeypatch):
    monkeypatch.setattr(loader.shutil, "which", lambda name: None)
    monkeypatch.setattr("sact_core.backends.precision.precisions", lambda: ("float32",))
    names, absent = loader.choose_sides(SACT)
    assert names == ["masked", "vanilla", "openvino", "openvino-bf16", "onnxruntime"]
    assert absent == ["masked, bfloat16: this processor does not multiply bfloat16"]
    act = NetworkConfig(units_per_block=(2, 1, 1), halting="act")
    assert "early-exit" in loader.choose_sides(act)[0]
    for name in ("openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    names, absent = loader.choose_sides(SACT)
    assert names == ["masked", "vanilla"]
    assert absent[1] == "OpenVINO: openvino not installed"
    assert absent[-1] == "torch.compile, frozen weights: no C++ compiler"
    monkeypatch.setattr(loader.shutil, "which", lambda name: "/usr/bin/c++")
    assert loader.choose_sides(SACT)[0] == ["masked", "vanilla", "frozen"]


def test_batches_take_neither_too_long_nor_too_much_memory(monkeypatch):
    monkeypatch.setattr(loader, "available_memory", lambda: None)
    assert loader.choose_batches(SACT, 32, 5) == [1, 4, 16, 64]
    large = NetworkConfig("imagenet", (3, 4, 23, 3), 64, 1001, "sact")
    assert loader.choose_batches(large, 448, 5) == [1]  # 60 GFLOPs; always one image
    monkeypatch.setattr(loader, "available_memory", lambda: 6 * (530 << 20))
    fitting = loader.choose_batches(NetworkConfig(halting="sact"), 64, 5)
    assert 1 <= len(fitting) < 4
    monkeypatch.setattr(loader, "available_memory", lambda: 100 << 20)
    with pytest.raises(InputError, match=r"Measuring 5 sides takes about .+ but .+ are free"):
        loader.choose_batches(SACT, 32, 5)


def test_rows_become_cells(compiled, monkeypatch):
    asked = []
    monkeypatch.setattr("sact_core.backends.precision.precisions", lambda: ("float32",))

    def measure_map(config, side, batches, threads, sides, ratios, rounds, seconds, say, step):
        asked.append((config, side, tuple(batches), tuple(ratios)))
        assert {"openvino-int8", "onnxruntime-int8"} < {*sides}
        assert "masked-int8" not in sides
        step("one")
        return [made(1, 0.5, absent={"onnxruntime": "it runs with 1 threads"}), made(4, 0.5)]

    monkeypatch.setattr(loader.break_even, "measure_map", measure_map)
    said = []
    found = loader.measure_where(SACT, 32, lambda what, done: said.append((what, done)))
    assert [cell.speedup for cell in found.cells()] == [1.5, 1.5]
    assert found.rivals == ("PyTorch eager", "OpenVINO, bfloat16", "PyTorch eager, with halting")
    assert found.absent["onnxruntime"] == "it runs with 1 threads"
    assert "ONNX Runtime: it runs with 1 threads" in found.left_out()
    assert found.absent["masked-int8"] == "this processor does not multiply int8"
    assert said == [("one", 0.0)]
    assert asked[0][:2] == (SACT, 32)


def test_a_process_that_fails_is_one_sentence(compiled, monkeypatch):
    def fail(*args, **kwargs):
        raise SideError("the masked side ended early and said: killed")

    monkeypatch.setattr(loader.break_even, "measure_map", fail)
    with pytest.raises(InputError, match=r"[Tt]he masked side ended early and said: killed"):
        loader.measure_where(SACT, 32, lambda what, done: None)


def test_damaged_accuracies_are_none(tmp_path, monkeypatch):
    monkeypatch.setenv("SACT_PRETRAINED_DIR", str(tmp_path))
    assert loader.accuracies() == []
    (tmp_path / "accuracies.json").write_text("{")
    assert loader.accuracies() == []


# --- on the page ---


class TestSection:
    @pytest.fixture
    def measured(self, app_env, monkeypatch):
        """What was asked for."""
        from app.flops import pays

        asked = []

        def measure_where(config, side, say):
            asked.append((config, side))
            say("Batch 1: OpenVINO gets ready …", 0.1)
            return WHERE

        monkeypatch.setattr(pays, "measure_where", measure_where)
        return asked

    def test_nothing_is_measured_before_it_is_asked_for(self, measured):
        at = run_page("flops")
        assert measured == []
        assert "at several densities and batch sizes" in texts(at)
        assert at.button(key="flops_pays").label == "Measure it on this machine"

    def test_what_was_measured_stays_with_its_network(self, measured):
        at = run_page("flops", flops_checkpoint="tiny_sact_tau0.01")
        at.button(key="flops_pays").click().run()
        assert not at.exception
        said = texts(at)
        assert "it pays at every batch size that was measured: below 75% at batch 1" in said
        assert "This image needs **" in said
        assert "Left out: ONNX Runtime: not installed" in said
        assert at.button(key="flops_pays").label == "Measure again"
        assert [side for _, side in measured] == [104]  # as many pixels as 128 x 84
        at.segmented_control(key="flops_count").set_value("multiply_adds").run()
        assert "below 75% at batch 1" in texts(at)
        assert len(measured) == 1
        at.selectbox(key="flops_checkpoint").set_value("tiny_act").run()
        assert "below 75% at batch 1" not in texts(at)

    def test_number_formats_are_a_choice(self, measured):
        at = run_page("flops", flops_checkpoint="tiny_sact_tau0.01")
        at.button(key="flops_pays").click().run()
        at.segmented_control(key="flops_pays_rival").set_value("float32").run()
        # Ours is fastest in bfloat16: 1.5 and more of what the slower rival takes.
        said = texts(at)
        assert "The fastest of ours, rivals in float32: it pays at every density" in said
        assert "as far as they compute in the chosen number format" in said
        at.segmented_control(key="flops_pays_own").set_value("float32").run()
        at.segmented_control(key="flops_pays_rival").set_value("int8").run()
        assert "Ours in float32, rivals in int8: it pays not even at 50% at batch 1" in texts(at)
        at.segmented_control(key="flops_pays_own").set_value("int8").run()
        assert not at.exception
        assert "Ours is not measured in int8 (masked, int8: this processor does" in at.info[0].value
        assert "SACT_FORCE_PRECISION=1" in at.info[0].value
        assert len(measured) == 1

    def test_int8_of_a_file_without_scales_says_what_makes_them(self, measured, monkeypatch):
        from app.flops import pays

        row = {**WHERE.rows[0], "ms": {"masked-int8": 1.0, "openvino": 2.0}}
        row["turns"] = {name: [ms] for name, ms in row["ms"].items()}
        monkeypatch.setattr(pays, "measure_where", lambda *_: replace(WHERE, rows=(row,)))
        at = run_page("flops", flops_checkpoint="tiny_sact_tau0.01")
        at.button(key="flops_pays").click().run()
        assert "has none of its own" not in texts(at)
        at.segmented_control(key="flops_pays_own").set_value("int8").run()
        assert "`python -m sact_core.calibrate FILE.h5 --out INT8.h5` makes them" in texts(at)

    def test_accuracy_stands_against_milliseconds_where_it_is_known(self, measured, monkeypatch):
        from app.flops import pays
        from app.loaders import model

        tiny = model("tiny_sact_tau0.01")
        size = tiny.header.preprocessing.image_size
        same = {"content_hash": tiny.digest, "scales": "", "data": "d test", "count": 100}
        entries = [
            {**same, "side": side, "tau": 0.01, "network": "Tiny", "twin": "T", "halts": True,
             "accuracy": right, "mflops": 0.75, "dense_mflops": 1.0, "versions": {}}
            for side, right in (("masked", 0.9), ("masked-bf16", 0.899))
        ]  # fmt: skip
        monkeypatch.setattr(pays, "accuracies", lambda: entries)
        monkeypatch.setattr(pays, "measure_where", lambda *_: replace(WHERE, side=size + 1))
        at = run_page("flops", flops_checkpoint="tiny_sact_tau0.01")
        at.button(key="flops_pays").click().run()
        assert f"is shown for images of {size} × {size} pixels" in texts(at)
        monkeypatch.setattr(pays, "measure_where", lambda *_: replace(WHERE, side=size))
        at.button(key="flops_pays").click().run()
        assert not at.exception
        said = "Within 0.5 points of the best accuracy (90.0%) the cheapest is Tiny, tau 0.01 in "
        assert f"{said}bfloat16 by the masked engine (89.9%, 0.25 ms an image)" in texts(at)
        at.segmented_control(key="flops_pays_batch").set_value(1).run()
        assert "(89.9%, 1 ms an image)" in texts(at)
        at.segmented_control(key="flops_pays_own").set_value("float32").run()
        assert f"{said}float32 by the masked engine (90.0%, 2 ms an image)" in texts(at)

    def test_a_network_without_halting_has_no_image_to_judge(self, measured):
        at = run_page("flops", flops_checkpoint="tiny_vanilla")
        at.button(key="flops_pays").click().run()
        assert "below 75% at batch 1" in texts(at)
        assert "This image needs **" not in texts(at)

    def test_what_goes_wrong_is_a_sentence(self, app_env, monkeypatch):
        from app.flops import pays

        def fail(*args):
            raise InputError("Measuring 5 sides takes about 3 GB of memory, but 1 GB are free.")

        monkeypatch.setattr(pays, "measure_where", fail)
        at = run_page("flops")
        at.button(key="flops_pays").click().run()
        assert not at.exception
        assert "but 1 GB are free" in at.error[0].value
