import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covary.config.images import Phantom
from covary.phantom import CLASSES, draw_factors
from covary.phantom.factors import CLASS_FREQUENCIES, IMAGE_FACTORS, PATIENT_FACTORS

CONFIG = Phantom()


@given(seed=st.integers(0, 2**31), start=st.integers(0, 40), head=st.integers(1, 30), tail=st.integers(1, 30))
def test_a_range_equals_the_ranges_it_is_made_of(seed, start, head, tail):
    whole = draw_factors(seed, start, start + head + tail, CONFIG)
    pieces = [
        draw_factors(seed, start, start + head, CONFIG),
        draw_factors(seed, start + head, start + head + tail, CONFIG),
    ]
    pd.testing.assert_frame_equal(whole, pd.concat(pieces, ignore_index=True))


def test_seeds_give_different_tables():
    a, b = (draw_factors(seed, 0, 50, CONFIG) for seed in (1, 2))
    assert not np.isclose(a["position_um"], b["position_um"]).any()


def test_scans_of_a_patient_share_anatomy_and_are_numbered_from_1():
    table = draw_factors(3, 0, 1000, CONFIG)
    for _, scans in table.groupby("patient"):
        assert scans["scan"].tolist() == list(range(1, len(scans) + 1))
        assert len(scans) <= 4
        shared = scans[["class", "eye", "severity", *PATIENT_FACTORS]]
        assert len(shared.drop_duplicates()) == 1
    assert table["patient"].nunique() == 400


def test_factors_are_normal_cut_at_two_and_a_half_and_independent():
    table = draw_factors(4, 0, 20_000, CONFIG)
    scores = np.column_stack([(table[name] - mean) / sd for name, (mean, sd) in IMAGE_FACTORS.items()])
    assert np.abs(scores).max() <= 2.5
    # The cut takes the variance from 1 to 1 − 2·2.5·φ(2.5)/(2Φ(2.5) − 1) = 0.911.
    assert np.abs(scores.mean(axis=0)).max() < 4 / np.sqrt(20_000)
    np.testing.assert_allclose(scores.var(axis=0), 0.911, atol=0.04)
    off_diagonal = np.corrcoef(scores.T) - np.eye(scores.shape[1])
    assert np.abs(off_diagonal).max() < 4.5 / np.sqrt(20_000)


def test_classes_and_corners_have_their_frequencies():
    table = draw_factors(5, 0, 40_000, Phantom(corner_fraction=0.15))
    shares = table.groupby("patient")["class"].first().value_counts(normalize=True)
    np.testing.assert_allclose([shares[name] for name in CLASSES], CLASS_FREQUENCIES, atol=0.016)
    assert abs(table["corner"].mean() - 0.15) < 0.008
    assert not draw_factors(5, 0, 100, Phantom(corner_fraction=0.0))["corner"].any()
    assert draw_factors(5, 0, 100, Phantom(corner_fraction=1.0))["corner"].all()


def test_only_the_healthy_have_severity_zero():
    table = draw_factors(6, 0, 2000, CONFIG)
    assert ((table["severity"] == 0) == (table["class"] == "NORMAL")).all()


@pytest.mark.parametrize(("start", "stop"), [(5, 5), (6, 5), (-1, 3)])
def test_an_empty_or_negative_range_is_refused(start, stop):
    with pytest.raises(ValueError, match="must be a range"):
        draw_factors(1, start, stop, CONFIG)
