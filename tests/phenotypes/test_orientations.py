"""Averages over orientations do not depend on how a cell lies."""

import numpy as np
import pytest

from covary.phenotypes.baselines import mean_intensities, pixel_components, shapes
from covary.phenotypes.orientations import COUNT, averaged, turned


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 255, (24, 2, 6, 6), np.uint8)


def test_the_eight_orientations_differ_and_keep_all_pixels(images):
    seen = {turned(images, k)[0].tobytes() for k in range(COUNT)}
    assert len(seen) == COUNT and images[0].tobytes() in seen
    for k in range(COUNT):
        assert (np.sort(turned(images, k), axis=None) == np.sort(images, axis=None)).all()


@pytest.mark.parametrize(("count", "how"), [(count, how) for count in (4, COUNT) for how in range(count)])
def test_an_average_over_orientations_is_the_same_however_a_cell_lies(images, count, how):
    features = pixel_components(images, seed=1, orientations=count)
    found = averaged(features, {"test": images}, count)
    again = averaged(features, {"test": turned(images, how)}, count)
    np.testing.assert_allclose(again[count]["test"], found[count]["test"], atol=1e-4)
    assert how == 0 or not np.allclose(again[1]["test"], found[1]["test"], atol=1e-4)


@pytest.mark.parametrize("features", [shapes, mean_intensities])
def test_these_features_do_not_depend_on_the_orientation(images, features):
    for how in range(COUNT):
        np.testing.assert_allclose(features(turned(images, how)), features(images), rtol=1e-9)


def test_one_orientation_leaves_the_features_as_they_are(images):
    found = averaged(mean_intensities, {"train": images}, 1)
    assert found.keys() == {1} and (found[1]["train"] == mean_intensities(images)).all()
