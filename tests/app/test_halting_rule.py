"""The rule as the Halting lab shows it: steps, slopes, scores that are typed in."""

from __future__ import annotations

import numpy as np
import pytest

from app.halting_lab import rule


class TestLab:
    def test_presets_show_what_they_say(self):
        num_units = {
            name: rule._programs(preset.scores, preset.eps, ())["NumPy"].num_units.tolist()
            for name, preset in rule.PRESETS.items()
        }

        assert num_units == {
            "Typical": [3, 5, 2, 1],
            "Stops at once": [1],
            "Never stops": [5],
            "Exact tie": [3],
            "All zero": [5],
            "All one": [1],
            "A hair short": [3],
        }

    @pytest.mark.parametrize("name", list(rule.PRESETS))
    def test_steps_are_the_rule(self, name):
        preset = rule.PRESETS[name]
        halting = rule._programs(preset.scores, preset.eps, ())["NumPy"]
        for i, scores in enumerate(preset.scores):
            steps = rule.steps(scores, preset.eps)

            assert len(steps) == halting.num_units[i]
            weights = [step.row[4] for step in steps]
            assert np.allclose(weights, halting.distribution[i, : len(steps)], atol=1e-6)

    def test_all_programs_agree(self, rng):
        assert rule.all_agree(rng.random((50, 6)), 0.01, ["masked", "dense"])

    def test_slope_is_the_gradient(self):
        scores = np.array([0.1, 0.3, 0.7, 0.5])
        line, costs = rule.sweep(scores, 0, 0.01)
        here = int(np.abs(line - 0.1).argmin())
        slope = (costs[here + 1] - costs[here]) / (line[1] - line[0])

        assert slope == pytest.approx(rule.slopes(4, 3)[0], abs=1e-3)

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("", "at least one"),
            ("a b", "must be numbers"),
            ("0.1 2", "between 0 and 1"),
            ("nan", "between 0 and 1"),
            ("0.1 ; 0.1 0.2", "same number"),
            (" ".join(["0.1"] * 40), "At most"),
        ],
    )
    def test_scores_that_make_no_sense(self, text, match):
        with pytest.raises(ValueError, match=match):
            rule.read_scores(text)

    def test_scores_survive_writing(self, rng):
        scores = rng.random((4, 5)).round(4)

        assert np.allclose(rule.read_scores(rule.write_scores(scores)), scores, atol=1e-6)
