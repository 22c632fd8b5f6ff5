from dataclasses import replace

import numpy as np
import pytest

from covary import rng
from covary.dataset.association import explainable_fraction
from covary.evaluate import PARTS, Chain, association_ledger, measured_ceiling
from covary.resampling import Resamples

N, K = 4_000, 3
NAMES = ("eta_ka", "eta_cl", "eta_v")
SAMPLES = Resamples(N, seed=1, resamples=200)


def chain(noise_variance, image_noise=0.3, shrinkage=0.8, predictor_error=0.2):
    """Losses that are known: reading error, shrinkage of what was read, the predictor's own error."""
    eta = rng.normal(1, "eta", 0, N, (K,))
    read = (eta + image_noise * rng.normal(1, "read", 0, N, (K,))) / (1 + image_noise**2)
    scaled = read * explainable_fraction(noise_variance) ** 0.5
    error = predictor_error * rng.normal(1, "error", 0, N, (K,))
    return Chain(
        noise_variance, NAMES, eta, {"a": read}, {"a": shrinkage * scaled}, {"a": shrinkage * scaled + error}
    )


def test_parts_add_up_to_the_explainable_fraction():
    table = association_ledger([chain(0.0), chain(9.0)], SAMPLES)
    for (noise, _, effect), rows in table.groupby(["noise_variance", "predictor", "random_effect"]):
        assert list(rows["part"]) == list(PARTS), effect
        assert rows["value"].sum() == pytest.approx(explainable_fraction(noise), abs=1e-12)
        assert rows["share"].sum() == pytest.approx(1.0, abs=1e-9)
    assert list(table["random_effect"].unique()) == ["all", *NAMES]
    pooled = table.query("random_effect == 'all'").set_index(["noise_variance", "part"])["value"]
    each = table.query("random_effect != 'all'").groupby(["noise_variance", "part"])["value"].mean()
    np.testing.assert_allclose(pooled.sort_index(), each.sort_index(), atol=1e-12)


@pytest.mark.parametrize("noise_variance", [0.0, 9.0])
def test_each_part_is_the_loss_that_was_put_in(noise_variance):
    table = association_ledger([chain(noise_variance)], SAMPLES)
    rows = table.query("random_effect == 'all'").set_index("part")
    explainable = explainable_fraction(noise_variance)
    readable = 1 / (1 + 0.3**2)  # reliability of the reading
    expected = {
        "lost_in_image": explainable * (1 - readable),
        "lost_in_estimator": explainable * readable * (1 - 0.8) ** 2,
        "lost_in_predictor": 0.2**2,
    }
    for part, value in expected.items():
        assert rows.loc[part, "low"] < value < rows.loc[part, "high"]


def test_chance_correlation_of_the_noise_does_not_move_the_ledger():
    # A perfect chain reaches the explainable fraction exactly, whatever noise the subjects happened to get.
    eta = rng.normal(1, "eta", 0, N, (K,))
    perfect = eta * explainable_fraction(49.0) ** 0.5
    table = association_ledger([Chain(49.0, NAMES, eta, {"a": eta}, {"a": perfect}, {"a": perfect})], SAMPLES)
    reached = table.query("part == 'reached'")
    np.testing.assert_allclose(reached[["value", "low", "high"]], explainable_fraction(49.0), atol=1e-12)


def test_the_measured_ceiling_is_what_the_best_reader_leaves():
    one, better = chain(9.0), chain(9.0, image_noise=0.1)
    both = Chain(
        9.0,
        NAMES,
        one.eta,
        {"a": one.read["a"], "b": better.read["a"]},
        {"a": one.estimated["a"], "b": better.estimated["a"]},
        {"a": one.predicted["a"], "b": better.predicted["a"]},
    )
    (row,) = measured_ceiling(association_ledger([both], SAMPLES)).itertuples(index=False)
    assert row.noise_variance == 9 and row.explainable == 0.1
    assert row.low < 0.1 / (1 + 0.1**2) < row.high and row.low < row.carried < row.high <= 0.1


def test_images_that_carry_nothing_have_a_ceiling_of_nothing():
    eta = rng.normal(1, "eta", 0, N, (K,))
    blind = 0.1 * rng.normal(1, "blind", 0, N, (K,))
    one = Chain(1.0, NAMES, eta, {"a": blind}, {"a": 0 * eta}, {"a": 0 * eta})
    (row,) = measured_ceiling(association_ledger([one], SAMPLES)).itertuples(index=False)
    assert row.low < 0 and row.carried < 0.02


def test_a_hole_is_named():
    broken = chain(1.0)
    broken.predicted["a"][5, 1] = np.nan
    with pytest.raises(ValueError, match=r"predicted \(a\) at σ² = 1: 1 subjects .* first is row 5"):
        association_ledger([broken], SAMPLES)


def test_what_a_prediction_says_of_the_site_is_lost_to_it():
    """A prediction of the case mix is no part of what the image tells; the parts still add up."""
    plain = chain(0.0)
    site = np.arange(len(plain.eta)) % 4
    shift = np.array([0.5, -0.5, 0.3, -0.3])[site, None]
    moved = replace(plain, predicted={name: p + shift for name, p in plain.predicted.items()}, site=site)
    without, ledger = (association_ledger([one], SAMPLES) for one in (replace(plain, site=site), moved))
    keys = ["predictor", "random_effect", "part"]
    before, after = (table.set_index(keys)["value"] for table in (without, ledger))
    lost = after.xs("lost_to_site", level="part") - before.xs("lost_to_site", level="part")
    np.testing.assert_allclose(lost, 0.17, atol=0.05)  # the mean square of the shift
    for part in ("lost_in_image", "lost_in_estimator", "lost_in_predictor"):
        np.testing.assert_allclose(after.xs(part, level="part"), before.xs(part, level="part"))
    np.testing.assert_allclose(ledger.groupby(keys[:2])["value"].sum(), 1.0)
