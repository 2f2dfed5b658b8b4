"""FLOPs, and the times that pages show."""

from __future__ import annotations

import pytest

from app import loaders, times
from tests.app.pages import ANY, run_page, texts


class TestFlops:
    def test_multiply_adds_are_half(self, app_env):
        flops = run_page("flops").metric[0].value
        macs = run_page("flops", flops_count="Multiply-adds").metric[0].value

        assert float(macs.split()[0]) == pytest.approx(float(flops.split()[0]) / 2, rel=0.01)

    @pytest.mark.parametrize(
        "name", [ANY, "tiny_sact_tau0.01", "tiny_act", "tiny_vanilla", "zoo_photos_tau0.01"]
    )
    def test_pytorch_counts_the_same(self, any_tau_env, name):
        at = run_page("flops", flops_checkpoint=name)
        at.button(key="flops_reconcile").click().run()

        assert not at.exception
        assert "to the last FLOP" in at.success[0].value


class TestTimes:
    @pytest.fixture
    def measured(self, app_env, monkeypatch):
        """How often times were taken; every side takes longer each time."""
        from app.explore import cost
        from app.times import Times, Timing

        asked: list[tuple] = []

        def measure(look, say):
            asked.append(look.key)
            say("Turn 1 of 2 …", 0.5)
            names = ["halting", "vanilla", "eager", "frozen"]
            for count in (3, 4):
                sides = (Times(name, (len(asked) + i, 2.0 + i)) for i, name in enumerate(names))
                yield Timing(tuple(sides)[:count], 2)

        monkeypatch.setattr(cost, "measure", measure)
        return asked

    def test_measured_when_asked_and_again_when_asked_again(self, measured):
        at = run_page()
        assert "quartiles" not in texts(at)
        at.button(key="explore_time").click().run()
        first = texts(at)

        assert not at.exception
        assert "quartiles" in first
        assert "2 threads" in first
        assert at.button(key="explore_time").label == "Measure again"
        at.run()  # looking measures nothing
        assert len(measured) == 1
        assert "quartiles" in texts(at)
        at.button(key="explore_time").click().run()
        assert len(measured) == 2
        assert texts(at) != first

    @pytest.mark.parametrize(("page", "count"), [("compare", 2), ("sweep", 3)])
    def test_times_of_single_runs_are_taken_again_when_asked(self, app_env, page, count):
        at = run_page(page)
        at.run()  # looking runs nothing
        before, ran = list(at.dataframe[0].value["milliseconds"]), loaders.num_runs()
        at.run()
        assert loaders.num_runs() == ran
        at.button(key=f"{page}_measure_again").click().run()

        assert not at.exception
        assert loaders.num_runs() == ran + count
        assert all(
            a != b for a, b in zip(before, at.dataframe[0].value["milliseconds"], strict=True)
        )
        assert times.ONCE in str(at.dataframe[0].proto.columns)

    @pytest.mark.parametrize("page", ["compare", "sweep"])
    def test_plain_numpy_is_not_timed_beside_the_engine(self, app_env, monkeypatch, page):
        monkeypatch.setattr(loaders.warming, "backend", lambda: "reference")
        at = run_page(page)

        assert not at.exception
        table = at.dataframe[0].value
        assert "milliseconds" not in table or table["milliseconds"].isna().all()
        assert times.NOT_YET in texts(at)

    def test_nobody_sees_the_times_of_another(self, measured):
        run_page().button(key="explore_time").click().run()
        at = run_page()

        assert "quartiles" not in texts(at)
        assert len(measured) == 1

    def test_units_are_measured_again_when_asked(self, app_env, monkeypatch):
        asked: list[tuple] = []
        monkeypatch.setattr(
            loaders, "unit_seconds", lambda look: asked.append(look.key) or {"block1/unit1": 0.001}
        )
        at = run_page("flops")
        at.run()
        assert len(asked) == 1
        at.button(key="flops_measure").click().run()
        assert len(asked) == 2
