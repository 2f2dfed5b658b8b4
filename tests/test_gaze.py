"""AUC-Judd with known answers and against two other computations; blur and centre."""

from __future__ import annotations

import numpy as np
import pytest

from sact_core.measures.gaze import auc_judd, blur, centre_map, mix, post_process
from tests.naive import auc_by_pairs, auc_judd_script


def some_fixations(rng, shape=(9, 13), share=0.1):
    fixations = rng.random(shape) < share
    fixations[0, 0], fixations[-1, -1] = True, False
    return fixations


def test_known_answers(rng):
    fixations = some_fixations(rng)
    assert auc_judd(fixations.astype(float), fixations) == 1
    assert auc_judd(np.full(fixations.shape, 3.5), fixations) == 0.5
    assert auc_judd(-fixations.astype(float), fixations) == 0


def test_numbers_by_hand():
    # Fixated: 3 and 1. Others: 0, 1, 2, 5. Of 8 pairs 3 > 0, 1, 2 and 1 > 0, and 1 ties.
    saliency = np.array([[3.0, 1, 0], [1, 2, 5]])
    fixations = np.array([[1, 1, 0], [0, 0, 0]], bool)
    assert auc_judd(saliency, fixations) == 4.5 / 8


@pytest.mark.parametrize("levels", [2, 5, 10**9])  # few levels: many ties
def test_it_is_the_chance_to_rank_a_pair_right(rng, levels):
    for _ in range(5):
        fixations = some_fixations(rng)
        saliency = rng.integers(0, levels, fixations.shape).astype(np.float32)
        assert auc_judd(saliency, fixations) == pytest.approx(auc_by_pairs(saliency, fixations))


@pytest.mark.parametrize("levels", [4, 10**9])
def test_the_published_script_is_near(rng, levels):
    fixations = some_fixations(rng, (40, 50), 0.05)
    saliency = rng.integers(0, levels, fixations.shape) + 0.3 * levels * fixations
    comp = auc_judd(saliency, fixations)
    assert 0.6 < comp < 0.99
    noise = 0.01 if levels == 4 else 1e-6
    over = auc_judd_script(saliency, fixations, rng) - comp
    assert -noise <= over <= 0.5 / fixations.sum() + noise


@pytest.mark.parametrize("size", [(3, 4), (9, 13), (7, 30), (20, 20)])
def test_other_sizes_are_enlarged_by_nearest_neighbour(rng, size):
    fixations = some_fixations(rng)
    saliency = rng.random(size)
    height, width = fixations.shape
    enlarged = np.array(
        [
            [saliency[i * size[0] // height, j * size[1] // width] for j in range(width)]
            for i in range(height)
        ]
    )
    assert auc_judd(saliency, fixations) == pytest.approx(auc_by_pairs(enlarged, fixations))


def test_only_order_counts(rng):
    fixations = some_fixations(rng)
    saliency = rng.random(fixations.shape)
    assert auc_judd(np.exp(5 * saliency) - 40, fixations) == auc_judd(saliency, fixations)


@pytest.mark.parametrize(
    ("saliency", "fixations", "reason"),
    [
        (np.ones((2, 2)), np.zeros((2, 2), bool), "no fixation"),
        (np.ones((2, 2)), np.ones((2, 2), bool), "every pixel is fixated"),
        (np.array([[1, np.nan]]), np.array([[1, 0]], bool), "finite values"),
        (np.ones((2, 2, 1)), np.ones((2, 2), bool), "two dimensions"),
    ],
)
def test_what_cannot_be_scored(saliency, fixations, reason):
    with pytest.raises(ValueError, match=reason):
        auc_judd(saliency, fixations)


@pytest.mark.parametrize("size", [(5, 7), (6, 8), (45, 80)])
def test_the_centre_is_symmetric_and_as_wide_for_its_height(size):
    centre = centre_map(size)
    for turned in (centre[::-1], centre[:, ::-1]):
        np.testing.assert_array_equal(turned, centre)
    assert centre.max() == centre[size[0] // 2, size[1] // 2] <= 1
    assert centre.min() == centre[0, 0] > 0
    if size == (5, 7):  # a quarter of the side from the middle is one standard deviation
        ref = np.exp(-((0.4 / 0.25) ** 2 + (3 / 7 / 0.25) ** 2) / 2)
        assert centre[0, 0] == pytest.approx(ref)
        assert centre[2, 3] == 1


def test_blurring_spreads_a_point_as_a_gaussian():
    point = np.zeros((41, 61))
    point[20, 30] = 1
    blurred = blur(point, 2 / 61)
    assert blurred.sum() == pytest.approx(1)
    rows, columns = np.mgrid[:41, :61]
    ref = np.exp(-((rows - 20) ** 2 + (columns - 30) ** 2) / 8)
    np.testing.assert_allclose(blurred, ref / ref.sum(), atol=1e-12)


def test_blurring_keeps_constant_maps_and_averages_at_the_border(rng):
    np.testing.assert_allclose(blur(np.full((9, 30), 2.5), 0.2), 2.5)
    values = rng.random((6, 9)).astype(np.float32)
    np.testing.assert_array_equal(blur(values, 0), values)
    wide = blur(values, 50)
    np.testing.assert_allclose(wide, values.mean(), rtol=1e-3)


def test_post_processing_goes_from_the_map_to_the_centre(rng):
    values = 7 + 3 * rng.random((12, 16))
    alone = post_process(values, 0, 0)
    assert (alone.min(), alone.max()) == (0, 1)
    np.testing.assert_allclose(alone, (values - values.min()) / np.ptp(values))
    np.testing.assert_array_equal(post_process(values, 0.1, 1), centre_map(values.shape))
    half = post_process(values, 0.1, 0.5)
    blurred = blur(values, 0.1)
    ref = (blurred - blurred.min()) / np.ptp(blurred) / 2 + centre_map(values.shape) / 2
    np.testing.assert_allclose(half, ref)
    np.testing.assert_array_equal(mix(np.ones((3, 3)), 0.25), centre_map((3, 3)) / 4)
