"""Pages with a network that takes any tau, and what goes along from page to page."""

from __future__ import annotations

import pytest
import streamlit as st

from app import figures, loaders
from app.records import Look
from tests.app.pages import ANY, ANY_FAMILY, PAGES, run_page, texts


class TestAnyTau:
    """A network that takes any tau."""

    def explore(self, **query):
        small = {"explore_fit_cifar": "Square crop", "explore_side_cifar": "32"}
        return run_page(explore_checkpoint=ANY, explore_image="Astronaut", **small, **query)

    def test_explore_runs_at_the_tau_of_the_link(self, any_tau_env, any_tau):
        at = self.explore(explore_tau="0.02")
        from sact_core.backends import load

        ref = load(any_tau / f"{ANY}.h5").run([loaders.example("Astronaut").pixels], tau=0.02)[0]

        assert not at.exception
        assert at.number_input(key="explore_tau").value == 0.02
        assert at.metric[1].value == figures.si(int(ref.flops[0]))
        assert "--tau 0.02" in at.code[0].value

    def test_more_tau_is_less_work(self, any_tau_env):
        at = self.explore(explore_tau="0.0005")
        before = at.metric[2].value
        at.number_input(key="explore_tau").set_value(0.05).run()

        assert float(at.metric[2].value) < float(before)

    @pytest.mark.parametrize("tau", ["7", "-1", "elephant"])
    def test_link_to_a_tau_out_of_range(self, any_tau_env, tau):
        at = self.explore(explore_tau=tau)

        assert not at.exception
        assert 0.0005 <= at.number_input(key="explore_tau").value <= 0.05

    def test_tau_goes_along_and_the_image_runs_once_more(self, any_tau_env):
        at = self.explore(explore_tau="0.02")
        at.switch_page("app/pages/check.py").run()

        assert at.number_input(key="check_tau").value == 0.02

    def test_other_networks_have_no_tau(self, any_tau_env):
        at = run_page(explore_checkpoint="tiny_sact_tau0.01")

        assert not [n for n in at.number_input if n.key == "explore_tau"]

    @pytest.mark.parametrize("name", [ANY, "tiny_act", "tiny_vanilla"])
    def test_every_page_with_every_kind_of_network(self, any_tau_env, name):
        at = run_page(explore_checkpoint=name)
        for page in PAGES:
            if page.stem != "explore":
                at.switch_page(f"app/pages/{page.stem}.py").run()
            for button in ("flops_reconcile", "flops_measure", "check_run"):
                if button.startswith(page.stem):
                    at.button(key=button).click().run()

            assert not at.exception, page.stem
            assert not at.error, page.stem

    @pytest.mark.parametrize("page", ["flops", "check"])
    def test_other_pages(self, any_tau_env, page):
        at = run_page(page, **{f"{page}_checkpoint": ANY, f"{page}_tau": "0.05"})

        assert not at.exception
        assert at.number_input(key=f"{page}_tau").value == 0.05

    def test_sweep_says_where_the_answer_changes(self, any_tau_env):
        at = run_page("sweep", sweep_family=ANY_FAMILY, sweep_image="Astronaut")
        table = at.dataframe[-1].value

        assert not at.exception
        assert table["tau"].is_monotonic_increasing
        assert "Yes: from" in texts(at)
        assert "trained for this one τ, 0.001, 0.005, 0.01." in texts(at)
        assert "--taus 9 --json" in texts(at)  # how its accuracy would be measured

    def test_compare_at_two_taus(self, any_tau_env):
        at = run_page("compare", compare_checkpoint_1=ANY, compare_checkpoint_2=ANY)
        table = at.dataframe[-1].value

        assert not at.exception
        assert table["tau"].tolist() == ["0.005", "0.05"]
        assert table["flops"][0] > table["flops"][1]

    def test_slider_let_go(self, any_tau_env, monkeypatch):
        """What the browser sends is taken; nonsense is not."""
        from app.controls import dial as any_tau

        sent: dict = {"explore_map": {"tau": 0.03}}
        monkeypatch.setattr(st, "session_state", sent)
        monkeypatch.setattr(st, "rerun", lambda: None)
        any_tau.take_tau("explore", "explore_map")
        assert sent["explore_tau"] == 0.03
        for nonsense in (None, "1", True, float("nan"), -1.0):
            sent["explore_map"] = {"tau": nonsense}
            any_tau.take_tau("explore", "explore_map")
            assert sent["explore_tau"] == 0.03

    def test_budget_let_go(self, any_tau_env, monkeypatch):
        from app.controls import dial as any_tau

        model, picture = loaders.model(ANY), loaders.example("Astronaut")
        sent: dict = {"explore_map": {"target": 0.9}}
        monkeypatch.setattr(st, "session_state", sent)
        monkeypatch.setattr(st, "rerun", lambda: None)
        any_tau.take_target("explore", "explore_map", Look(model, picture))
        run = loaders.run(Look(model, picture, tau=sent["explore_tau"]))
        assert run.executed.total[0] / run.dense.total[0] == pytest.approx(0.9, abs=0.02)
        assert "explore_budget" not in sent

        sent["explore_map"] = {"target": 0.1}  # less than it can
        any_tau.take_target("explore", "explore_map", Look(model, picture))
        assert sent["explore_tau"] == 0.05
        assert sent["explore_budget"].startswith("No tau spends 10.0% of dense")


class TestCarrying:
    def test_choice_goes_along_to_the_next_page(self, app_env):
        at = run_page(explore_checkpoint="tiny_sact_tau0.001", explore_image="Cat")
        at.switch_page("app/pages/flops.py").run()

        assert at.selectbox(key="flops_checkpoint").value == "tiny_sact_tau0.001"
        assert at.selectbox(key="flops_image").value == "Cat"
        assert at.query_params["flops_image"] == "Cat"
