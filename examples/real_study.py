"""A study of your own: how well do images predict what drives its records?

    python examples/real_study.py table.csv images --folds 5

`table.csv` is a NONMEM table with the columns ID, TIME, AMT, EVID, DV and WT. `images` has one image per
patient, named after the ID: `images/17.png`. The script fits a population model with the weight as covariate,
estimates the random effects of each patient, and predicts them from the image in cross-validation.
"""

import argparse
from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from PIL import Image

from covary import nlme
from covary.config.predictors import Predictor
from covary.evaluate.metrics import r2_table
from covary.predict.arrays import cross_validate, evidence_of

SIZE_PX = 32


class OneCompartment(nlme.OdeModel):
    """A bolus into one compartment, linear elimination; clearance and volume grow with the weight."""

    fixed_effects: ClassVar = {"cl": "positive", "v": "positive"}
    random_effects = ("eta_cl", "eta_v")

    def default_parameters(self):
        """Where the fit starts."""
        return self.parameters([3.0, 30.0], omega=0.1, residual=nlme.Proportional(0.2))

    def individual(self, theta, eta, covariates):
        """A patient's own clearance (L/h) and volume (L), by the usual powers of the weight."""
        size = covariates["WT"] / 70
        return {"cl": theta["cl"] * size**0.75 * jnp.exp(eta[0]), "v": theta["v"] * size * jnp.exp(eta[1])}

    def initial_state(self, p):
        """Nothing is there before the dose."""
        return (0.0,)

    def vector_field(self, t, y, p):
        """Elimination, in mg/h."""
        return (-p["cl"] / p["v"] * y[0],)

    def prediction(self, t, y, p):
        """Concentration, in mg/L."""
        return y[0] / p["v"]


def read_images(folder: Path, patients: tuple[str, ...]) -> np.ndarray:
    """One grey image per patient, (patient, 1, y, x), in the order of the table."""
    pictures = (Image.open(folder / f"{patient}.png").convert("L") for patient in patients)
    return np.stack([np.asarray(picture.resize((SIZE_PX, SIZE_PX)))[None] for picture in pictures])


parser = argparse.ArgumentParser()
parser.add_argument("table", type=Path)
parser.add_argument("images", type=Path)
parser.add_argument("--folds", type=int, default=5)
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument("--seed", type=int, default=1)
options = parser.parse_args()

nlme.configure()
model = OneCompartment()
records = nlme.read_nonmem(options.table, covariates=["WT"])
fit = nlme.fit_population(model, records, model.default_parameters(), method="focei", covariance=False)
print(fit.verdict)
print(fit.table()[["parameter", "estimate"]].to_string(index=False))

images = read_images(options.images, records.design.subject_ids)
config = Predictor(
    objective="ebe_mse", width=8, batch_size=8, epochs=options.epochs, patience_epochs=15, ema_decay=0.9,
)  # fmt: skip
evidence = evidence_of(config.objective, model, fit.parameters, records, seed=options.seed)
omega = np.asarray(fit.parameters.omega)
eta_pred = cross_validate(images, evidence, omega, config, folds=options.folds, seed=options.seed)

# The truth is not known. Estimates from sparse records shrink towards 0, which lowers R².
print(f"R² of the estimates of {len(images)} patients, each predicted by a network trained on others")
table = r2_table(evidence.guess(), eta_pred, model.random_effects, seed=options.seed)
print(table.round(2).to_string(index=False))
