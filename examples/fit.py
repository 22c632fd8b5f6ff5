"""Fit a longitudinal model of your own to the records of a Covary dataset.

    python examples/fit.py results/demo/dataset.zarr --noise 0 --subjects 200

The records come from a model with saturable elimination. This one eliminates linearly: compare its -2 log L
and residual error with those of the model that made the records (`covary.nlme.SaturableElimination`).
"""

import argparse
from typing import ClassVar

import jax.numpy as jnp
import xarray as xr

from covary import nlme


class LinearElimination(nlme.OdeModel):
    """Absorption from a depot, elimination in proportion to what is there."""

    fixed_effects: ClassVar = {"ka": "positive", "k": "positive"}
    random_effects = ("eta_ka", "eta_k")

    def default_parameters(self):
        """Where the fit starts."""
        return self.parameters([1.0, 1.0], omega=0.5, residual=nlme.Additive(0.1))

    def individual(self, theta, eta, covariates):
        """A subject's own rates, per hour."""
        return {"ka": theta["ka"] * jnp.exp(eta[0]), "k": theta["k"] * jnp.exp(eta[1])}

    def initial_state(self, p):
        """State before the dose, which goes to the depot."""
        return 0.0, 0.0

    def vector_field(self, t, y, p):
        """Time derivative of the state."""
        depot, central = y
        return -p["ka"] * depot, p["ka"] * depot - p["k"] * central

    def prediction(self, t, y, p):
        """What is observed."""
        return y[1]


parser = argparse.ArgumentParser()
parser.add_argument("dataset")
parser.add_argument("--noise", default="0", help="a noise variance of the dataset")
parser.add_argument("--subjects", type=int, default=200)
options = parser.parse_args()

nlme.configure()
level = xr.open_datatree(options.dataset, engine="zarr")[f"longitudinal/noise_{options.noise}"]
observed = level["observation"].values[: options.subjects].astype(float)
design = nlme.Design.regular(level["time"].values, n_subjects=len(observed), dose=1.0)
model = LinearElimination()
fit = nlme.fit_population(
    model, nlme.Records.of(design, observed), model.default_parameters(), method="foce", covariance=False
)
print(fit.verdict)
print(f"-2 log L {fit.minus_two_log_likelihood:.1f}")
print(fit.table()[["parameter", "estimate"]].to_string(index=False))
