"""Profiles of treatments, nearest neighbours of other compounds, and average precision."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covary.phenotypes.average_precision import (
    average_precision,
    expected_average_precision,
    random_average_precision,
    retrieval,
)
from covary.phenotypes.not_same_compound import accuracy, confusion, distances, nearest_modes
from covary.phenotypes.profiles import (
    cell_table,
    features_of,
    normalised,
    sphered,
    treatment_profiles,
    well_profiles,
)

METADATA = ["Metadata_Plate", "Metadata_Well", "Metadata_Batch", "Metadata_Compound",
            "Metadata_Concentration", "Metadata_moa"]  # fmt: skip


def index(rows: list[tuple]) -> pd.DataFrame:
    """An index of prepared cells: (compound, concentration, moa, week, plate, well, cells)."""
    cells = [dict(zip(["compound", "concentration", "moa", "week", "plate", "well"], row, strict=False))
             for row in rows for _ in range(row[6])]  # fmt: skip
    table = pd.DataFrame(cells)
    split = np.where(np.arange(len(table)) % 3 == 0, "test", "train")
    return table.assign(split=split, row=pd.Series(split).groupby(split).cumcount().astype("Int64"))


TWO_MODES = [
    ("DMSO", 0.0, "DMSO", "Week1", "p1", "A1", 3),
    ("DMSO", 0.0, "DMSO", "Week2", "p2", "A1", 2),
    ("a", 1.0, "x", "Week1", "p1", "A2", 4),
    ("a", 1.0, "x", "Week1", "p1", "A3", 2),
    ("a", 1.0, "x", "Week1", "p1", "A4", 5),
    ("b", 0.5, "x", "Week2", "p2", "A2", 3),
    ("c", 0.5, "y", "Week1", "p1", "A5", 3),
    ("d", 0.5, "y", "Week2", "p2", "A5", 3),
]


def profiles_of(rows: list[tuple], values: np.ndarray) -> pd.DataFrame:
    """Profiles with the given features, one per row."""
    table = index(rows)
    features = {s: values[table["split"] == s] for s in ("train", "test")}
    return cell_table(table, features)


def test_a_profile_is_the_median_over_wells_of_the_mean_over_cells():
    table = index(TWO_MODES)
    values = np.random.default_rng(0).normal(size=(len(table), 2))
    wells = well_profiles(profiles_of(TWO_MODES, values))
    assert list(wells.columns) == [*METADATA, "Metadata_Count_Cells", "latent_000", "latent_001"]
    assert wells["Metadata_Count_Cells"].sum() == len(table) and len(wells) == len(TWO_MODES)
    treatment = treatment_profiles(wells).set_index("Metadata_Compound").loc["a"]
    means = [values[(table["plate"] == "p1") & (table["well"] == w)].mean(axis=0) for w in ("A2", "A3", "A4")]
    np.testing.assert_allclose(
        treatment[["latent_000", "latent_001"]].astype(float), np.median(means, axis=0)
    )
    assert treatment["Metadata_Count_Wells"] == 3 and treatment["Metadata_Batch"] == "Week1"
    assert features_of(wells) == ["latent_000", "latent_001"]


def test_control_wells_have_mean_zero_and_unit_variance_on_each_plate_after_normalisation():
    draw = np.random.default_rng(1)
    rows = [("DMSO", 0.0, "DMSO", "w", f"p{p}", f"A{i}", 1) for p in (1, 2) for i in range(20)]
    wells = well_profiles(
        profiles_of([*rows, ("a", 1.0, "x", "w", "p1", "B1", 1)], draw.normal(5, 3, (41, 2)))
    )
    controls = normalised(wells).query("Metadata_Compound == 'DMSO'")
    means = controls.groupby("Metadata_Plate")[["latent_000", "latent_001"]].mean()
    np.testing.assert_allclose(means, 0, atol=1e-12)
    np.testing.assert_allclose((controls[features_of(wells)] ** 2).sum(), 38)
    with pytest.raises(ValueError, match="plate p9 has no well with DMSO"):
        normalised(wells.assign(Metadata_Plate=wells["Metadata_Plate"].replace("p1", "p9"))
                   .query("Metadata_Compound != 'DMSO'"))  # fmt: skip


def test_sphered_features_are_nearly_uncorrelated_over_control_wells():
    draw = np.random.default_rng(2)
    rows = [("DMSO", 0.0, "DMSO", "w", "p", f"A{i}", 1) for i in range(400)]
    values = draw.normal(size=(401, 2)) @ [[2.0, 1.9], [0.0, 0.3]]
    wells = normalised(well_profiles(profiles_of([*rows, ("a", 1.0, "x", "w", "p", "B1", 1)], values)))
    controls = wells["Metadata_Compound"] == "DMSO"
    before, after = (of.loc[controls, features_of(of)].corr().iloc[0, 1] for of in (wells, sphered(wells)))
    assert before > 0.95 and abs(after) < 0.4  # not 0: the covariance is shrunk
    assert list(sphered(wells).columns) == list(wells.columns)


def treatments(rows: list[tuple[str, str, str, list[float]]]) -> pd.DataFrame:
    """Treatment profiles: (compound, mode, batch, features)."""
    return pd.DataFrame(
        {
            "Metadata_Compound": [r[0] for r in rows],
            "Metadata_Concentration": 1.0,
            "Metadata_moa": [r[1] for r in rows],
            "Metadata_Batch": [r[2] for r in rows],
            "latent_000": [r[3][0] for r in rows],
            "latent_001": [r[3][1] for r in rows],
        }
    )


FIVE = treatments(
    [
        ("a", "x", "1", [1.0, 0.0]),
        ("a", "x", "2", [1.0, 0.01]),
        ("b", "x", "1", [0.9, 0.4]),
        ("c", "y", "1|2", [0.95, 0.1]),
        ("d", "y", "2", [0.0, 1.0]),
        ("DMSO", "DMSO", "1|2", [0.93, 0.2]),
    ]
)


def test_a_neighbour_of_the_same_compound_does_not_count():
    found = nearest_modes(FIVE, "euclidean")
    assert found["Metadata_Compound"].tolist() == ["a", "a", "b", "c", "d"]
    assert found["predicted"].tolist() == ["y", "y", "y", "x", "x"]


def test_a_neighbour_of_the_same_batch_does_not_count_if_so_asked():
    found = nearest_modes(FIVE, "euclidean", other_batch=True)
    # a in batch 1 has d alone, a in batch 2 has b alone; c shares a batch with all.
    assert found["predicted"].tolist() == ["y", "x", "x", "", "x"]


def test_a_mode_of_one_batch_is_left_out_where_batches_must_differ():
    one = treatments([("a", "x", "1", [0, 0]), ("b", "x", "2", [1, 1]), ("c", "z", "1", [0, 1]),
                      ("d", "z", "1", [1, 0])])  # fmt: skip
    assert set(nearest_modes(one, other_batch=True)["Metadata_moa"]) == {"x"}
    none = nearest_modes(one[one["Metadata_moa"] == "z"], other_batch=True)
    assert len(none) == 0
    right = none["right"].to_numpy(float)[None]
    assert accuracy(right, seed=1, resamples=9)["treatments"] == 0
    assert math.isnan(accuracy(right, seed=1, resamples=9)["accuracy"])


def test_dmso_takes_part_only_if_asked_and_is_never_right():
    found = nearest_modes(FIVE, "euclidean", with_control=True)
    assert len(found) == 6 and not found.query("Metadata_Compound == 'DMSO'")["right"].any()
    assert "DMSO" in found["predicted"].tolist()


@given(st.integers(2, 6), st.floats(0.1, 10))
def test_cosine_distances_do_not_depend_on_lengths(n, factor):
    features = np.random.default_rng(n).normal(size=(n, 3))
    scaled = features * factor ** np.arange(n)[:, None]
    np.testing.assert_allclose(distances(features, "cosine"), distances(scaled, "cosine"), atol=1e-12)
    assert (np.diag(distances(features, "euclidean")) == 0).all()


def test_accuracy_and_confusion_count_treatments():
    found = nearest_modes(FIVE, "euclidean")
    assert confusion(found).to_numpy().tolist() == [[0, 3], [2, 0]]
    row = accuracy(np.array([[1.0, 1, 1, 0, 1]]), seed=1, resamples=2000)
    assert row["treatments"] == 5 and row["accuracy"] == 0.8 and row["low"] < 0.8 < row["high"] <= 1
    # Binomial: a fifth of 5 is wrong, standard error 0.18.
    assert row["low"] == pytest.approx(0.4, abs=0.01)


def test_the_interval_of_an_accuracy_holds_the_chance_of_the_draws():
    right = np.repeat(np.arange(4)[:, None] < 2, 100, axis=1).astype(float)  # two draws are right throughout
    row = accuracy(right, seed=1, resamples=2000)
    assert row["accuracy"] == 0.5
    # The mean of four fair draws is 0 or 1 with probability 1/16 each, and 1/4 or 3/4 with 1/4 each.
    assert (row["low"], row["high"]) == (0.0, 1.0)
    alike = accuracy(np.repeat(np.arange(100)[None] < 50, 4, axis=0).astype(float), seed=1, resamples=2000)
    assert alike["high"] - alike["low"] == pytest.approx(2 * 1.96 * 0.05, abs=0.02)


@given(st.integers(1, 6), st.integers(0, 5))
def test_the_mean_over_all_orders_is_the_exact_null(positives, negatives):
    ranks = positives + negatives
    orders = [np.isin(np.arange(ranks), places) for places in itertools.combinations(range(ranks), positives)]
    mean = average_precision(np.array(orders)).mean()
    assert expected_average_precision(positives, ranks) == pytest.approx(mean, rel=1e-12)


def test_random_orders_have_the_exact_mean():
    drawn = random_average_precision(3, 40, 20_000, seed=1)
    error = drawn.std() / math.sqrt(len(drawn))
    assert drawn.mean() == pytest.approx(expected_average_precision(3, 40), abs=4 * error)


def test_impossible_numbers_of_items_are_refused():
    for relevant, ranks in ((0, 3), (4, 3)):
        with pytest.raises(ValueError, match="expected 1 ≤ relevant ≤ ranks"):
            expected_average_precision(relevant, ranks)


def test_retrieval_tells_groups_from_noise():
    draw = np.random.default_rng(0)
    group = np.repeat(np.arange(6), 5)
    apart = draw.normal(size=(30, 4)) + 8 * np.eye(6)[group][:, :4] - 8 * np.eye(6)[group][:, 4:5]
    noise = draw.normal(size=(30, 4))
    same = (group[:, None] == group) & ~np.eye(30, dtype=bool)
    other = group[:, None] != group
    found, none = (
        retrieval(distances(x, "euclidean"), same, other, draws=2000, seed=1) for x in (apart, noise)
    )
    assert (found["average_precision"] > 0.9).mean() > 0.6 and (found["q_value"] < 0.05).mean() > 0.9
    assert none["average_precision"].mean() == pytest.approx(none["expected"].mean(), abs=0.06)
    assert (none["q_value"] < 0.05).mean() < 0.1
    nothing = retrieval(distances(noise, "cosine"), same & False, other, draws=10, seed=1)
    assert nothing["average_precision"].isna().all() and nothing["q_value"].isna().all()
