"""A network that memorises its training subjects is caught by subjects that it did not see."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest

from covary import nlme, rng
from covary.errors import UserError
from covary.nlme.capacity import capacity
from covary.nlme.variational import fit_variational

N, OMEGA = 60, 0.5


class Level(nlme.ClosedFormModel):
    """y = base + NN(two covariates) + u: a constant per subject."""

    fixed_effects: ClassVar = {"base": "real"}
    random_effects = ("u",)
    network: nlme.MLP

    def individual(self, theta, eta, covariates):
        return {"level": theta["base"] + self.network(covariates["x"], covariates["y"]) + eta[0]}

    def closed_form(self, time_h, doses, p):
        return p["level"] * jnp.ones_like(time_h)


def records_of(name):
    """60 subjects with covariates of their own, which say nothing of their level but 0.3 x."""
    x, y = rng.normal(1, f"{name}/covariates", 0, N, (2,)).T
    design = nlme.Design.regular(np.arange(4.0), n_subjects=N, covariates={"x": x, "y": y})
    level = 1.0 + 0.3 * x + np.sqrt(OMEGA) * rng.normal(1, f"{name}/u", 0, N, ())
    observation = level[:, None] + 0.2 * rng.normal(1, f"{name}/error", 0, N, (4,))
    return nlme.Records.of(design, observation)


@pytest.fixture(scope="module")
def guarded():
    nlme.configure()
    training, held_out = records_of("training"), records_of("held out")
    models = {}
    for name, width, prior_sd in (("narrow", 2, 1.0), ("wide", 40, 10.0)):
        model = Level(nlme.MLP(2, width=width, start=0.0, prior_sd=prior_sd))
        initial = model.parameters([1.0], OMEGA, nlme.Additive(0.3))
        fit = fit_variational(model, training, initial, steps=500, draws=2, final_steps=1500, rate=0.02)
        models[name] = fit.model, fit.parameters
    return models, training, held_out


@pytest.mark.slow
def test_a_wide_network_is_caught_and_a_narrow_one_is_not(guarded, caplog):
    table = capacity(*guarded).set_index("model")
    assert table["memorised"].to_dict() == {"narrow": False, "wide": True}
    assert table.loc["wide", "training"] < 0.5 * OMEGA < table.loc["wide", "held_out"]
    assert table.loc["narrow", "held_out"] == pytest.approx(OMEGA, rel=0.5)
    assert (table["sd_ratio"] < 1.2).all()  # σ gives nothing away
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("wide: the variance of u") and "memorised" in warning


def test_too_few_subjects_are_one_clear_line():
    nlme.configure()
    model, records = Level(nlme.MLP(2, width=2)), records_of("training")
    models = {"narrow": (model, model.parameters([1.0], OMEGA, nlme.Additive(0.3)))}
    with pytest.raises(UserError, match="needs 3 subjects in each set, got 60 and 2"):
        capacity(models, records, records[:2])
