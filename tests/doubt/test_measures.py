"""Ranks that go together, trust in a score, and how busy an image is."""

from __future__ import annotations

import numpy as np
import pytest

from sact_core.measures.busy import colourfulness, edge_density
from sact_core.measures.ranks import Ranked, ranks, shuffled
from sact_core.measures.trust import blend, calibration_error, reliability, risks
from tests.conftest import need_package


def related(rng: np.random.Generator, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Two columns with many ties that rise together."""
    one = rng.integers(0, 12, n)
    return one, np.rint(one + rng.normal(0, 6, n)).astype(int)


class TestRanks:
    def test_correlations_and_ranks_are_scipys(self, rng: np.random.Generator) -> None:
        stats = need_package("scipy.stats")
        one, other = related(rng)
        np.testing.assert_array_equal(ranks(one), stats.rankdata(one))
        ref = stats.spearmanr(one, other).statistic
        assert Ranked({"a": one, "b": other}, 10).correlation("a", "b").value == pytest.approx(ref)

    def test_intervals_are_those_of_scipys_percentile_bootstrap(
        self, rng: np.random.Generator
    ) -> None:
        stats = need_package("scipy.stats")
        one, other = related(rng)
        comp = Ranked({"a": one, "b": other}, 2000).correlation("a", "b")
        ref = stats.bootstrap(
            (one, other), lambda a, b: stats.spearmanr(a, b).statistic, paired=True,
            vectorized=False, method="percentile", n_resamples=2000, rng=1,
        ).confidence_interval  # fmt: skip
        assert (comp.low, comp.high) == pytest.approx((ref.low, ref.high), abs=0.01)
        assert comp.low < comp.value < comp.high

    def test_areas_are_scipys_u_statistic(self, rng: np.random.Generator) -> None:
        stats = need_package("scipy.stats")
        one, other = related(rng)
        found = other > 9
        ref = stats.mannwhitneyu(one[found], one[~found]).statistic / found.sum() / (~found).sum()
        ranked = Ranked({"a": one, "b": other, "found": found}, 200, found=["found"])
        comp = ranked.area("a", "found")
        assert comp.value == pytest.approx(ref)
        assert comp.low < ref < comp.high
        assert ranked.gain("b", "a", "found").value == pytest.approx(1 - ref)

    def test_shuffled_answers_give_zero_within_their_interval(
        self, rng: np.random.Generator
    ) -> None:
        """As theory has it: no correlation, and a spread of one over the root of n - 1."""
        one, other = related(rng)
        alone = rng.uniform(size=400)
        nulls = shuffled({"related": one, "alone": alone, "same": 0 * one}, other, 1000, 1)
        for name in ("related", "alone"):
            null = nulls[name]
            assert null.mean == pytest.approx(0, abs=0.006)
            assert (null.low, null.high) == pytest.approx((-1.96 / 399**0.5, 1.96 / 399**0.5), 0.1)
        real = {n: Ranked({"a": v, "b": other}, 10).correlation("a", "b").value
                for n, v in (("related", one), ("alone", alone))}  # fmt: skip
        assert real["related"] > nulls["related"].high + 0.2
        assert nulls["alone"].low < real["alone"] < nulls["alone"].high
        assert nulls["related"].p == 1 / 1001
        assert nulls["alone"].p > 0.05
        assert nulls["same"].as_json() == {"shuffled": [None, None, None], "p": None}

    def test_the_null_is_scipys_permutation_test(self, rng: np.random.Generator) -> None:
        stats = need_package("scipy.stats")
        one, other = related(rng, 12)

        def correlation(order: np.ndarray) -> float:
            return float(stats.spearmanr(order, other).statistic)

        ref = stats.permutation_test(
            (one,), correlation, permutation_type="pairings", n_resamples=4000, rng=1
        )
        null = shuffled({"it": one}, other, 4000)["it"]
        assert null.p == pytest.approx(ref.pvalue, abs=0.03)
        low, high = np.quantile(ref.null_distribution, [0.025, 0.975])
        assert (null.low, null.high) == pytest.approx((low, high), abs=0.04)
        assert null == shuffled({"it": one}, other, 4000)["it"]

    def test_a_normal_pair_has_the_correlation_that_theory_gives(
        self, rng: np.random.Generator
    ) -> None:
        x, y = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 4000).T
        found = Ranked({"x": x, "y": y}, 200).correlation("x", "y")
        assert found.low < 6 / np.pi * np.arcsin(0.3) < found.high

    def test_what_a_third_column_explains_is_taken_away(self, rng: np.random.Generator) -> None:
        cause = rng.normal(size=3000)
        a, b = cause + rng.normal(size=3000), cause + rng.normal(size=3000)
        c = a + rng.normal(size=3000)
        found = Ranked({"cause": cause, "a": a, "b": b, "c": c, "again": cause**3}, 200)
        assert found.correlation("a", "b").low > 0.4
        assert abs(found.correlation("a", "b", ["cause"]).value) < 0.05
        assert found.correlation("a", "c", ["cause"]).low > 0.5
        # As it is by regression; a control twice is a control once.
        table = np.stack([ranks(each) for each in (a, c, cause)])
        x = np.column_stack([np.ones(3000), table[2]])
        rest = [v - x @ np.linalg.lstsq(x, v, rcond=None)[0] for v in table[:2]]
        ref = np.corrcoef(rest)[0, 1]
        for given in (["cause"], ["cause", "again"]):
            assert found.correlation("a", "c", given).value == pytest.approx(ref)

    def test_shuffled_columns_give_zero_within_the_interval_nine_times_in_ten(
        self, rng: np.random.Generator
    ) -> None:
        held = 0
        for seed in range(40):
            one, other = related(rng, 200)
            ranked = Ranked({"a": one, "b": rng.permutation(other)}, 200, seed)
            held += ranked.correlation("a", "b").holds_zero
        assert held >= 34  # 38 of 40 are expected

    def test_what_has_no_order_has_no_correlation(self) -> None:
        ranked = Ranked(
            {"a": np.ones(5), "b": np.arange(5), "c": np.arange(5) > 9}, 10, found=["c"]
        )
        assert np.isnan(ranked.correlation("a", "b").value)
        assert ranked.correlation("a", "b").as_json() == [None, None, None]
        assert np.isnan(ranked.area("b", "c").value)
        for columns in ({"a": np.ones(2)}, {"a": np.ones(5), "b": np.ones(4)}, {}):
            with pytest.raises(ValueError, match="same three images"):
                Ranked(columns)
        with pytest.raises(ValueError, match="a holds NaN"):
            Ranked({"a": np.array([1, 2, np.nan])})


class TestTrust:
    def test_risks_by_hand(self) -> None:
        right = np.array([True, False, True, False])
        np.testing.assert_allclose(risks(np.array([0, 3, 1, 2]), right), [0, 0, 1 / 3, 1 / 2])
        # Of one doubt, all have the mean error, whatever their order.
        np.testing.assert_allclose(risks(np.ones(4), right), [0.5] * 4)
        np.testing.assert_allclose(risks(~right, right), [0, 0, 1 / 3, 1 / 2])

    def test_calibration_by_hand(self) -> None:
        confidence, right = np.array([0.95, 0.95, 0.62, 1.0]), np.array([True, False, True, True])
        found = reliability(confidence, right, 10)
        assert [each.count for each in found] == [1, 3]
        assert found[1].accuracy == pytest.approx(2 / 3)
        ref = (1 * 0.38 + 3 * abs(2.9 / 3 - 2 / 3)) / 4
        assert calibration_error(confidence, right, 10) == pytest.approx(ref)

    def test_a_blend_finds_what_neither_finds_alone(self, rng: np.random.Generator) -> None:
        a, b = rng.normal(size=(2, 4000))
        wrong = a + b + rng.normal(size=4000) > 1.5
        both = blend(np.column_stack([a, b]), wrong)
        ranked = Ranked({"a": a, "both": both, "wrong": wrong}, 200, found=["wrong"])
        assert ranked.gain("both", "a", "wrong").low > 0.05
        noise = blend(rng.normal(size=(4000, 2)), wrong)
        area = Ranked({"noise": noise, "wrong": wrong}, 200, found=["wrong"]).area("noise", "wrong")
        assert area.low < 0.5 < area.high + 0.02  # halves that do not see each other


class TestBusy:
    def test_edges(self) -> None:
        image = np.zeros((8, 8, 3), np.uint8)
        assert edge_density(image) == 0
        image[:, 4:] = 255
        assert edge_density(image) == pytest.approx(2 / 6)  # the pixels beside the step
        assert edge_density(image[:2]) == 0

    def test_colours(self) -> None:
        grey = np.arange(75, dtype=np.uint8).reshape(5, 5, 3)
        grey[:] = grey[..., :1]
        assert colourfulness(grey) == 0
        red = np.zeros((4, 4, 3), np.uint8)
        red[..., 0] = 255
        assert colourfulness(red) == pytest.approx(0.3 * np.hypot(255, 127.5))
