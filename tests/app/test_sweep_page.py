"""Sweep in every state, without a browser."""

from __future__ import annotations

from app import loaders
from tests.app.pages import run_page, texts


class TestSweep:
    def test_every_tau_is_shown(self, app_env):
        at = run_page("sweep")

        assert [row["tau"] for row in at.dataframe[0].value.to_dict("records")] == [
            0.001, 0.005, 0.01,
        ]  # fmt: skip
        assert len(at.get("plotly_chart")) == 3

    def test_slider_runs_nothing(self, app_env):
        at = run_page("sweep")
        before = loaders.num_runs()
        at.select_slider(key="sweep_tau").set_value(0.01).run()

        assert not at.exception
        assert loaders.num_runs() == before

    def test_no_family(self, app_env, tmp_path):
        app_env.setenv("SACT_PRETRAINED_DIR", str(tmp_path))
        at = run_page("sweep")

        assert "differ in τ" in at.info[0].value

    def test_the_authors_are_spoken_of_where_they_are_drawn(self, photo_env, app_env):
        for page in (run_page("sweep"), run_page("sweep", sweep_family="nothing")):
            assert not page.exception
            drawn = "authors, published" in str([each.proto for each in page.get("plotly_chart")])
            assert drawn == ("The authors' figure is theirs" in texts(page))
