"""Where halting pays: what is measured of it, what is said, and the section on the page FLOPs."""

from __future__ import annotations

import sys

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

SACT = NetworkConfig(units_per_block=(2, 1, 1), base_channels=4, halting="sact")


def cells():
    """Two batch sizes at two densities: at batch 1 it pays below 75 %."""
    found = []
    for batch, speedups in ((1, (0.75, 1.25)), (4, (1.5, 2.0))):
        for ratio, speedup in zip((1.0, 0.5), speedups, strict=True):
            found.append(
                Cell(batch, ratio, ratio, speedup, "masked", "OpenVINO", 2.0, 2 * speedup, None,
                     None)
            )  # fmt: skip
    return tuple(found)


WHERE = Where(cells(), ("PyTorch eager", "OpenVINO"), ("ONNX Runtime: not installed",), 2, 32)


def test_what_is_said_of_a_cell():
    lost, won, *_ = cells()
    assert paying.told(won) == (
        "batch 1, 50% of the dense FLOPs<br>masked 2.00 ms, OpenVINO 2.50 ms<br>"
        "<b>1.25 times as fast</b>"
    )
    assert paying.told(lost).endswith("<b>0.75 times as fast</b>: it loses")


@pytest.mark.parametrize(("share", "said"), [(0.74, "it pays."), (0.76, "it does not pay.")])
def test_the_image_is_held_against_batch_1(share, said):
    assert paying.about_image(WHERE, share).endswith(said)


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

    def measure_map(config, side, batches, threads, sides, ratios, rounds, seconds, say, step):
        asked.append((config, side, tuple(batches), tuple(ratios)))
        step("one")
        return [made(1, 0.5, absent={"onnxruntime": "it runs with 1 threads"}), made(4, 0.5)]

    monkeypatch.setattr(loader.break_even, "measure_map", measure_map)
    said = []
    found = loader.measure_where(SACT, 32, lambda what, done: said.append((what, done)))
    assert [cell.speedup for cell in found.cells] == [1.5, 1.5]
    assert found.rivals == ("PyTorch eager", "OpenVINO, bfloat16", "PyTorch eager, with halting")
    assert "ONNX Runtime: it runs with 1 threads" in found.absent
    assert said == [("one", 0.0)]
    assert asked[0][:2] == (SACT, 32)


def test_a_process_that_fails_is_one_sentence(compiled, monkeypatch):
    def fail(*args, **kwargs):
        raise SideError("the masked side ended early and said: killed")

    monkeypatch.setattr(loader.break_even, "measure_map", fail)
    with pytest.raises(InputError, match=r"[Tt]he masked side ended early and said: killed"):
        loader.measure_where(SACT, 32, lambda what, done: None)


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
