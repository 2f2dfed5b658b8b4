"""Runs in every state, without a browser."""

from __future__ import annotations

import streamlit as st

from tests.app.pages import make_run, run_page, texts


class TestRuns:
    def test_what_goes_on_is_followed(self, app_env, tmp_path, monkeypatch):
        every, fragment = {}, st.fragment

        def spy(function=None, **more):
            if function is not None:
                every[function.__name__] = more.get("run_every")
            return fragment(function, **more)

        monkeypatch.setattr(st, "fragment", spy)
        at = run_page("runs")
        assert every["wait"] == "5s"
        make_run(tmp_path / "runs", "one")
        at.run()  # as the first wait does
        assert not at.exception
        assert len(at.get("plotly_chart")) == 3
        assert every["curves"] == every["recipe"] == every["watch"] == "5s"
        assert at.metric[0].value == "2"

    def test_no_runs(self, app_env):
        at = run_page("runs")

        assert "No training run yet" in at.info[0].value

    def test_curves_and_recipe(self, app_env, tmp_path):
        make_run(tmp_path / "runs", "one")
        at = run_page("runs")

        assert not at.exception
        assert len(at.get("plotly_chart")) == 3
        assert at.code[1].value.endswith("--resume")

    def test_the_last_test_stands_where_the_last_epoch_had_none(self, app_env, tmp_path):
        make_run(tmp_path / "runs", "one")
        with (tmp_path / "runs" / "one" / "metrics.jsonl").open("a") as file:
            file.write('{"epoch": 3, "train/Total Loss": 1.0}\n')
        at = run_page("runs")

        assert not at.exception
        assert [(m.label, m.value, m.delta) for m in at.metric] == [
            ("Epoch", "3", "of 9"),
            ("Right", "50.0%", "of test images, epoch 2"),
            ("FLOPs", "90%", "of dense, epoch 2"),
        ]

    def test_a_run_that_took_all_steps_is_over(self, app_env, tmp_path):
        import json

        make_run(tmp_path / "runs", "one", step=60)
        config = {"network": {"halting": "sact"}, "epochs": 256.0, "max_steps": 120}
        (tmp_path / "runs" / "one" / "config.json").write_text(json.dumps(config))
        at = run_page("runs")

        assert not at.exception
        assert len(at.code) == 1
        assert "taken all of its steps" in texts(at)
        assert "To go on" not in texts(at)
        assert "refreshes by itself" not in texts(at)
        assert (at.metric[0].label, at.metric[0].value, at.metric[0].delta) == (
            "Step", "120", "of 120"
        )  # fmt: skip

    def test_first_epoch_is_awaited(self, app_env, tmp_path):
        make_run(tmp_path / "runs", "one", rows=0)
        at = run_page("runs")

        assert not at.exception
        assert "Nothing has been measured yet" in at.info[0].value

    def test_points_within_the_first_epoch(self, app_env, tmp_path):
        import json
        import time

        make_run(tmp_path / "runs", "one", rows=0)
        point = {"epoch": 0.25, "step": 25, "time": time.time(), "seconds_left": 900.0}
        point |= {"train/Cross Entropy": 2.0, "train/Accuracy": 0.2, "train/flops_share": 0.9}
        lines = [point, point | {"epoch": 0.5, "step": 50, "seconds_left": 600.0}]
        file = tmp_path / "runs" / "one" / "points.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        at = run_page("runs")

        assert not at.exception
        assert "one is running: epoch 0.5 of 9, about 10 min left" in texts(at)
        drawn = [json.loads(chart.proto.spec)["data"] for chart in at.get("plotly_chart")]
        assert [[len(line["x"]) for line in chart] for chart in drawn] == [[2], [2], [2]]

    def test_a_new_run_appears_by_itself(self, app_env, tmp_path, monkeypatch):
        make_run(tmp_path / "runs", "one")
        at = run_page("runs")
        make_run(tmp_path / "runs", "two")
        assert at.run().multiselect[0].value == ["one"]  # one that was seen before is no news
        at.session_state["runs_new"] = ["two"]  # as the fragment leaves it
        at.run()

        assert not at.exception
        assert at.multiselect[0].options == ["two", "one"] or at.multiselect[0].options == [
            "one", "two"
        ]  # fmt: skip
        assert at.multiselect[0].value == ["two", "one"]
        assert "A new run: two" in [toast.value for toast in at.toast]

    def test_a_new_run_does_not_take_what_was_chosen(self, app_env, tmp_path):
        make_run(tmp_path / "runs", "one")
        at = run_page("runs")
        at.multiselect[0].set_value([]).run()
        make_run(tmp_path / "runs", "two")
        at.session_state["runs_new"] = ["two"]
        at.run()

        assert at.multiselect[0].value == []
        assert "Choose a run above." in texts(at)

    def test_damaged_recipe(self, app_env, tmp_path):
        make_run(tmp_path / "runs", "one")
        (tmp_path / "runs" / "one" / "config.json").write_text("{")
        at = run_page("runs")

        assert not at.exception
        assert "config.json cannot be read" in at.warning[0].value
