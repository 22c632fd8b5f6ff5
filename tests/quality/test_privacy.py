import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from covary import rng
from covary.quality.neighbours import nearest
from covary.quality.privacy import Proximity, area_under_curve, privacy_table


def points(name: str, n: int) -> np.ndarray:
    return rng.normal(1, name, 0, n, (6,))


def measures(generated, train, held_out):
    table = privacy_table({"features": Proximity.between(generated, train, held_out)}, seed=1)
    return table.set_index("measure")


SHARES = ["closer_than_held_out", "near_copies", "membership_auc"]


def test_nearest_neighbours_are_exact_even_for_copies():
    images = (255 * rng.uniform(1, "images", 0, 40, (8, 8))).astype(np.uint8)
    others = images[::-1].copy()
    others[3, 0, 0] ^= 1  # the copy of image 36, one grey level off
    found = nearest(images, others)
    np.testing.assert_array_equal(found.index, np.arange(40)[::-1])
    assert found.distance[36] == 1.0 and np.delete(found.distance, 36).max() == 0.0


def test_area_under_curve_is_that_of_sklearn_and_its_interval_covers():
    a, b = points("a", 90)[:, 0] + 0.5, points("b", 50)[:, 0].round(1)
    area, low, high = area_under_curve(a, b)
    labels = np.repeat([1, 0], [90, 50])
    assert area == pytest.approx(roc_auc_score(labels, np.concatenate([a, b])))
    covered = 0
    for i in range(200):
        x = rng.normal(i, "x", 0, 60, (2,))
        _, low, high = area_under_curve(x[:, 0], x[:, 1])
        covered += low <= 0.5 <= high
    assert covered / 200 == pytest.approx(0.95, abs=0.05)


def test_fresh_draws_show_nothing():
    inside = []
    for i in range(60):
        fresh = [rng.normal(i, name, 0, n, (4,)) for name, n in (("g", 300), ("t", 250), ("h", 200))]
        table = measures(*fresh)
        inside.append((table.low <= table.expected) & (table.expected <= table.high))
    covered = pd.concat(inside, axis=1).mean(axis=1)
    assert covered["closer_than_held_out"] == pytest.approx(0.95, abs=0.07)
    assert covered["membership_auc"] == pytest.approx(0.95, abs=0.07)
    # The medians' own intervals leave out that held-out images are a sample, too.
    assert covered[["distance_to_train", "distance_to_held_out"]].min() > 0.6
    assert covered["near_copies"] > 0.85  # a quantile in the tail of 200 draws


def test_copies_are_found_by_every_measure():
    train = points("train", 600)
    generated = train[:500] + 0.01 * points("noise", 500)
    table = measures(generated, train, points("held_out", 400))
    assert (table.low > table.expected)[SHARES].all()
    assert (table.high < table.expected)["distance_to_train"]
    assert (table.low > table.expected)["distance_to_held_out"]
    assert table.value["near_copies"] == 1.0
    assert table.value["membership_auc"] > 0.9


def test_an_empty_set_is_named():
    with pytest.raises(ValueError, match="there are no held-out images"):
        Proximity.between(points("a", 3), points("b", 3), points("c", 0))
