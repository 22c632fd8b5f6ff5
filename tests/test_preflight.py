"""What is checked before the workflow is planned."""

import pytest

from covary import preflight
from covary.config.reading import check
from covary.errors import UserError

MODEL = """
import warnings
from covary import nlme

print("{a model that talks}")
warnings.warn("and warns")


class Talking(nlme.ClosedFormModel):
    fixed_effects = {"height": "positive"}
    random_effects = ("eta_height",)

    def default_parameters(self):
        return self.parameters([1.0], omega=0.2, residual=nlme.Additive(0.1))

    def individual(self, theta, eta, covariates):
        return {"height": theta["height"] + eta[0]}

    def closed_form(self, time_h, doses, p):
        return p["height"] + 0 * time_h
"""


@pytest.mark.parametrize("fault", [False, True])
def test_a_file_of_the_user_may_print_and_warn(tmp_path, fault):
    file = tmp_path / "talking.py"
    file.write_text(MODEL.replace("random_effects =", "random =") if fault else MODEL)
    config = check({"experiment": "mine", "longitudinal": {"model": f"{file}:Talking"}})
    if fault:
        with pytest.raises(UserError, match=r"^longitudinal\.model: [^\n]+$"):
            preflight.check(config, tmp_path)
        assert not list(tmp_path.glob("*.json"))
    else:
        expected = {"random_effects": ["eta_height"]}
        assert preflight.check(config, tmp_path) == expected
        assert preflight.check(config, tmp_path) == expected  # as it is kept


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            {"predictors": [{}, {"network": "resnt18", "name": "b"}]},
            r"^predictors\[1\]\.network: must be resnet18, .* got 'resnt18'$",
        ),
        (
            {"predictors": [{"network": "oracle", "name": "b"}]},
            r"^predictors\[0\]\.network: the oracle sees the random",
        ),
        (
            {"sites": {"training": {"network": "perceptrn"}}},
            r"^sites\.training\.network: must be .* got 'perceptrn'$",
        ),
    ],
)
def test_a_network_that_does_not_exist_is_named(raw, message, tmp_path):
    with pytest.raises(UserError, match=message):
        preflight.check(check({"experiment": "mine"} | raw), tmp_path)
