"""Times side by side, and their words."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from app import loaders, times
from app.folders import InputError
from app.loaders import checkpoints, timing
from app.records import Look
from sact_core.backends import Net, load


class TestTiming:
    """Times side by side; the processes are those of the benchmark's tests."""

    @pytest.fixture
    def sides(self, monkeypatch):
        """Sides that answer at once, and what they were given."""
        given: dict[str, tuple] = {}

        class Side:
            fails = False

            def __init__(self, side, case, threads):
                assert threads >= 1
                given[f"{side} {case.key}"] = load(case.checkpoint), np.load(case.images)
                self.side, self.case = side, case

            def wait(self):
                if self.side == "frozen" and self.fails:
                    raise timing.SideError("the frozen side ended early")

            def measure(self, seconds):
                factor = {"masked": 1, "vanilla": 5, "frozen": 2}[self.side]
                return {"seconds": [factor * {"own": 3.0, "twin": 4.0}[self.case.key]] * 3}

            def end(self):
                given.setdefault("ended", []).append(self.side)

        monkeypatch.setattr(timing, "Process", Side)
        monkeypatch.setattr(timing.shutil, "which", lambda name: "/usr/bin/c++")
        given["class"] = Side
        return given

    def test_same_weights_with_and_without_halting(self, any_tau_env, any_tau, sides):
        picture = loaders.example("Cat")
        look = Look(loaders.model("tiny_sact_anytau"), picture, 64, tau=0.02)
        first, last = timing.measure(look, lambda *_: None)
        (own, x), (twin, same) = sides["masked own"], sides["masked twin"]
        whole = load(any_tau / "tiny_sact_anytau.h5")

        assert [each.side for each in first.sides] == ["halting", "vanilla", "eager"]
        assert [each.side for each in last.sides] == ["halting", "vanilla", "eager", "frozen"]
        assert [each.median for each in last.sides] == [3, 4, 20, 8]
        assert last.rival.side == "vanilla"
        assert first.side("vanilla").over(first.side("halting")) == pytest.approx((4 / 3,) * 3)
        assert np.array_equal(x, whole.see(picture.pixels, 64).x)
        assert np.array_equal(x, same)
        assert own.forward(x).flops == whole.forward(x, tau=0.02).flops
        assert not twin.config.halts
        assert twin.forward(x).flops == loaders.vanilla_flops(whole.config, (64, 64)).total
        assert sorted(sides["ended"]) == ["frozen", "masked", "masked", "vanilla"]

    def test_a_twin_is_the_network_that_never_halts(self, app_env, pretrained):
        made = checkpoints.read(pretrained / "tiny_sact_tau0.005.h5")
        params = {k: v.copy() for k, v in made.params.items()}
        for name, values in params.items():
            if "/halting_proba/" in name and name.endswith("conv/bias"):
                values[:] = -100  # nothing stops before the last unit
        x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
        ref = Net.from_checkpoint(replace(made, params=params), "reference").forward(x)
        comp = Net.from_checkpoint(timing.vanilla_twin(made), "reference").forward(x)

        np.testing.assert_allclose(comp.logits, ref.logits, rtol=0, atol=1e-5)

    def test_compiler_that_fails_is_said_and_the_rest_measured(self, app_env, sides):
        sides["class"].fails = True
        look = Look(loaders.model("tiny_sact_tau0.005"), loaders.example("Cat"))
        _, last = timing.measure(look, lambda *_: None)

        assert [each.side for each in last.sides] == ["halting", "vanilla", "eager"]
        assert "not compiled: The frozen side ended early" in last.absent

    def test_another_measurement_is_told_only_while_one_is_on(self, app_env, sides):
        look = Look(loaders.model("tiny_sact_tau0.005"), loaders.example("Cat"))
        alone: list[str] = []
        first = timing.measure(look, lambda what, _: alone.append(what))
        next(first)
        waited, told = threading.Event(), []

        def say(what, _):
            told.append(what)
            waited.set()

        second = threading.Thread(target=lambda: list(timing.measure(look, say)))
        second.start()
        assert waited.wait(30)
        assert told == ["Another measurement is on; this one is next …"]
        list(first)
        second.join(30)

        assert not second.is_alive()
        assert len(told) > 1
        assert not [what for what in alone if what.startswith("Another")]

    def test_network_that_does_not_halt(self, app_env, sides, monkeypatch):
        monkeypatch.setattr(timing.shutil, "which", lambda name: None)
        look = Look(loaders.model("tiny_vanilla"), loaders.example("Cat"))
        (only,) = timing.measure(look, lambda *_: None)

        assert [each.side for each in only.sides] == ["vanilla", "eager"]
        assert "no C++ compiler" in only.absent
        assert times.words(only, 10, 10).endswith(
            "**the masked engine without halting**: 4000.0 ms."
        )

    def test_not_enough_memory(self, app_env, sides, monkeypatch):
        from app.loaders import costs

        monkeypatch.setattr(costs, "available_memory", lambda: 1_000_000_000)
        look = Look(loaders.model("tiny_act"), loaders.example("Cat"))
        with pytest.raises(InputError, match=r"Timing 4 sides takes about 2\.\d GB of memory"):
            next(timing.measure(look, lambda *_: None))

    def test_processes_measure(self, app_env, monkeypatch):
        """The real ones, without a compiler: that takes a minute."""
        monkeypatch.setattr(timing.shutil, "which", lambda name: None)
        monkeypatch.setattr(timing, "ROUNDS", 2)
        monkeypatch.setattr(timing, "TURN", 0.01)
        look = Look(loaders.model("tiny_sact_tau0.005"), loaders.example("Cat"))
        (only,) = timing.measure(look, lambda *_: None)

        assert [each.side for each in only.sides] == ["halting", "vanilla", "eager"]
        assert all(len(each.seconds) == 2 and min(each.seconds) > 0 for each in only.sides)

    def test_words(self):
        own = times.Times("halting", (1.0, 1.0, 1.0))
        twin = times.Times("vanilla", (1.25, 1.2, 1.5))
        torch = times.Times("frozen", (1.0, 1.1, 1.2))
        said = times.words(times.Timing((own, twin, torch), 2), 76, 100)

        assert "spares **24%** of the FLOPs" in said
        assert "saves **20%** of its time" in said  # the median of 1 / 1.25, 1 / 1.2, 1 / 1.5
        assert "0.80 times as long, quartiles 0.73 and 0.82" in said
        assert "**PyTorch, compiled**: **1.10 times** as long" in said
        slower = times.Timing((replace(twin, side="halting"), replace(own, side="vanilla")), 2)
        assert "costs **25%** more time" in times.words(slower, 76, 100)
        unsure = times.Timing((own, times.Times("vanilla", (0.5, 1.1, 2.0))), 2)
        assert "no difference in time can be told" in times.words(unsure, 76, 100)
