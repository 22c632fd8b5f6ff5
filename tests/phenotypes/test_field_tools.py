"""The tools of the field read our profiles unedited and find the same numbers; where they are installed."""

import numpy as np
import pandas as pd
import pytest

from covary.phenotypes.average_precision import retrieval
from covary.phenotypes.not_same_compound import distances
from covary.phenotypes.profiles import features_of, treatment_profiles

TREATMENT = ["Metadata_Compound", "Metadata_Concentration"]


@pytest.fixture
def wells(tmp_path):
    """A file of well profiles: three modes, six compounds at two doses, three plates; and what it holds."""
    draw = np.random.default_rng(3)
    rows = [
        (f"p{plate}", f"B{2 * compound + dose:02d}", "w1", f"c{compound}", dose + 0.5, f"m{compound % 3}", 5)
        for plate in range(3)
        for compound in range(6)
        for dose in range(2)
    ]
    names = ["Plate", "Well", "Batch", "Compound", "Concentration", "moa", "Count_Cells"]
    table = pd.DataFrame(rows, columns=[f"Metadata_{name}" for name in names])
    values = draw.normal(size=(len(table), 4)) + 2 * np.eye(4)[[int(m[1]) for m in table["Metadata_moa"]]]
    table = pd.concat([table, pd.DataFrame(values, columns=[f"latent_{i:03d}" for i in range(4)])], axis=1)
    table.to_parquet(tmp_path / "profiles_well.parquet", index=False)
    return tmp_path / "profiles_well.parquet", table


def test_pycytominer_finds_our_profiles_of_treatments(wells):
    pycytominer = pytest.importorskip("pycytominer")
    path, table = wells
    features = features_of(table)
    read = pycytominer.cyto_utils.load_profiles(str(path))
    found = pycytominer.consensus(read, TREATMENT, operation="median", features=features)
    ours = treatment_profiles(table).set_index(TREATMENT)[features]
    np.testing.assert_allclose(found.set_index(TREATMENT).loc[ours.index, features], ours, rtol=1e-12)


def test_copairs_finds_our_average_precisions(wells):
    copairs = pytest.importorskip("copairs.map")
    profiles = treatment_profiles(wells[1])
    values = profiles[features_of(profiles)].to_numpy(float)
    found = copairs.average_precision(
        profiles.filter(like="Metadata_"), values, pos_sameby=["Metadata_moa"],
        pos_diffby=["Metadata_Compound"], neg_sameby=[], neg_diffby=["Metadata_moa"],
    )  # fmt: skip
    mode, compound = (profiles[f"Metadata_{name}"].to_numpy(object) for name in ("moa", "Compound"))
    alike = mode[:, None] == mode
    positive = alike & (compound[:, None] != compound)
    ours = retrieval(distances(values, "cosine"), positive, ~alike, draws=10, seed=1)
    np.testing.assert_allclose(found["average_precision"], ours["average_precision"], rtol=1e-5)
