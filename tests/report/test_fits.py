import pandas as pd
import pytest

from covary.report.fits import concerns_of_fits, fits_in_words
from covary.report.model import model_source
from covary.report.preparation import concerns_of_preparation


def plain(text):
    return text.replace("\u00a0", " ")


@pytest.fixture
def fits():
    table = pd.DataFrame(
        {"noise_variance": [0.0, 1.0, 9.0], "method": "focei", "converged": [True, True, False]}
    )
    table["verdict"] = ["converged", "converged", "not converged: the Hessian is not positive definite"]
    return table.assign(subjects=1000, observations=21_000)


@pytest.fixture
def parameters():
    names = ["CL", "V"]
    parts = [
        pd.DataFrame({"noise_variance": v, "parameter": names, "moved": True, "fixed": [False, True]})
        for v in (0.0, 1.0, 9.0)
    ]
    return pd.concat(parts, ignore_index=True)


def test_fits_are_told_together_where_they_say_the_same(fits):
    assert plain(fits_in_words(fits)) == (
        "Fitted by FOCEI to the records of 1,000 training patients (21,000 outcomes) at each noise level. "
        "The fit converged at σ² = 0 and 1. At σ² = 9: not converged: the Hessian is not positive definite."
    )


def test_a_fit_that_did_not_converge_or_did_not_move_is_a_concern(fits, parameters):
    assert concerns_of_fits(fits.assign(converged=True), parameters) == []
    still = parameters.assign(moved=[True, True, False, False, False, True])
    one, two = (plain(note) for note in concerns_of_fits(fits, still))
    assert one.startswith("At σ² = 9, the fit of the longitudinal model did not converge: the Hessian")
    assert two.startswith("At σ² = 1 and 9, the fit of the longitudinal model left CL where it began.")


def test_a_fit_that_ended_at_an_edge_is_a_concern(fits, parameters):
    edge = "converged at the edge of what the parameters may be: the variance of eta_V is 0"
    (note,) = concerns_of_fits(
        fits.assign(converged=True, verdict=["converged", edge, "converged"]), parameters
    )
    assert plain(note) == f"At σ² = 1, the fit of the longitudinal model {edge}."


def test_what_happened_to_images_is_told_with_counts():
    index = pd.DataFrame(
        {
            "file": [f"{i}.png" for i in range(6)],
            "status": ["ok"] * 4 + ["cannot be read", "unknown format"],
            "conversion": ["colours to grey; black margins", "black margins", "", "", "", ""],
        }
    )
    assert concerns_of_preparation(index) == [
        "Images were changed before use: colours to grey (1 of 4) and black margins (2 of 4).",
        "2 of 6 images were left out: 4.png (cannot be read), 5.png (unknown format).",
    ]
    assert concerns_of_preparation(index[2:4]) == []
    many = pd.concat([index[4:5]] * 5)
    assert concerns_of_preparation(many)[0].endswith("(cannot be read) and 2 more.")


def test_the_code_of_a_model_of_ones_own_is_that_of_its_file(tmp_path):
    file = tmp_path / "own.py"
    file.write_text("import os\n\n\nclass A:\n    x = 1\n\n\nclass B:\n    y = 2\n")
    assert model_source(f"{file}:B") == "class B:\n    y = 2"
    assert model_source("one_compartment_oral").startswith("class OneCompartmentOral")
