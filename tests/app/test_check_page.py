"""Check in every state, without a browser."""

from __future__ import annotations

from dataclasses import replace

from app import loaders
from tests.app.pages import run_page, texts


class TestCheck:
    def test_backends_agree_and_explore_says_so(self, app_env):
        at = run_page("check")
        at.button(key="check_run").click().run()

        assert not at.exception
        assert "agree" in at.success[0].value
        at.switch_page("app/pages/explore.py").run()
        assert "Three backends agree" in texts(at)

    def test_what_bfloat16_changes_is_listed_and_takes_no_badge_away(self, app_env, bfloat16):
        at = run_page("check")
        at.button(key="check_run").click().run()

        assert not at.exception
        assert "agree" in at.success[0].value
        table = at.dataframe[0].value
        assert list(table["how"])[-1] == "the same in bfloat16"
        assert list(table["backend"]) == ["reference", "masked", "dense", "masked"]
        gaps = [float(gap) for gap in table["logits"].iloc[1:]]
        assert gaps[2] > 20 * max(gaps[:2])  # rounded to 8 bits, not to 24
        assert "SACT_PRECISION=float32" in texts(at)

    def test_explore_says_what_it_computes_in(self, app_env, bfloat16):
        at = run_page("explore")

        assert not at.exception
        assert "masked engine, bfloat16" in [metric.delta for metric in at.metric]
        assert "--precision bfloat16" in at.code[0].value

    def test_one_that_differs_takes_the_badge_away(self, app_env):
        agreement, which = loaders.agreement, [0]

        def differing(*args):
            found = agreement(*args)
            found[which[0]] = replace(found[which[0]], flops_equal=False)
            return found

        app_env.setattr(loaders, "agreement", differing)
        at = run_page("check")
        at.button(key="check_run").click().run()
        for i in range(2):
            which[0] = i
            at.run()

            assert not at.exception
            assert not at.success
            assert "The backends differ on this image" in at.error[0].value
            assert [at.dataframe[0].value["FLOPs"].iloc[1 + j] for j in range(2)] == (
                ["differ", "equal"] if i == 0 else ["equal", "differ"]
            )
        at.switch_page("app/pages/explore.py").run()
        assert "Three backends agree" not in texts(at)
