"""Halting lab in every state, without a browser."""

from __future__ import annotations

from tests.app.pages import run_page, texts


class TestHaltingLab:
    def test_presets(self, app_env):
        at = run_page("halting_lab")
        assert at.metric[0].value == "3"
        at.button(key="halting_lab_preset_Never stops").click().run()
        assert at.metric[0].value == "5"
        assert "ran all 5 units" in texts(at)
        at.button(key="halting_lab_preset_Exact tie").click().run()
        assert at.metric[0].value == "3"
        assert at.number_input(key="halting_lab_eps").value == 0

    def test_a_preset_is_stepped_through_to_its_end(self, app_env):
        at = run_page("halting_lab")
        assert at.slider(key="halting_lab_step").value == 3
        for preset, units in (("Never stops", 5), ("Stops at once", 1), ("Exact tie", 3)):
            at.slider(key="halting_lab_step").set_value(1).run()
            at.button(key=f"halting_lab_preset_{preset}").click().run()

            assert not at.exception
            assert not at.warning
            assert at.slider(key="halting_lab_step").value == units

    def test_steps_follow_edited_scores(self, app_env):
        at = run_page("halting_lab", halting_lab_step="2")
        assert at.slider(key="halting_lab_step").value == 2
        at.slider(key="halting_lab_h3").set_value(0.1).run()
        assert at.slider(key="halting_lab_step").value == 2  # still, of 4 units
        at.slider(key="halting_lab_step").set_value(4).run()
        at.slider(key="halting_lab_h1").set_value(1.0).run()
        assert at.slider(key="halting_lab_step").value == 1
        at.slider(key="halting_lab_h1").set_value(0.1).run()
        assert at.slider(key="halting_lab_step").value == 4

    def test_slider_changes_the_scores(self, app_env):
        at = run_page("halting_lab")
        at.slider(key="halting_lab_h1").set_value(1.0).run()

        assert at.metric[0].value == "1"
        assert at.query_params["halting_lab_scores"].startswith("1 0.3")

    def test_link_with_scores(self, app_env):
        at = run_page("halting_lab", halting_lab_scores="0.2 0.9")

        assert at.metric[0].value == "2"
        assert at.slider(key="halting_lab_units").value == 3

    def test_link_with_nonsense(self, app_env):
        at = run_page("halting_lab", halting_lab_scores="0.2 elephant")

        assert not at.exception
        assert "must be numbers" in at.error[0].value

    def test_units_can_be_added_and_taken_away(self, app_env):
        at = run_page("halting_lab")
        at.slider(key="halting_lab_units").set_value(7).run()
        assert at.slider(key="halting_lab_h6").value == 0.1
        at.slider(key="halting_lab_units").set_value(2).run()

        assert not at.exception
        assert len(at.error) == 0

    def test_pytorch_agrees_too(self, app_env):
        at = run_page("halting_lab")
        at.toggle(key="halting_lab_torch").set_value(True).run()

        assert set(at.dataframe[-1].value["program"]) == {"NumPy", "Numba", "PyTorch"}
        assert "agree" in at.success[-1].value
