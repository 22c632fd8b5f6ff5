"""Predictors of a study of one's own; examples/real_study.py is its long form."""

import numpy as np
import pytest
from designs import ORAL_TIMES_H

from covary import nlme, rng
from covary.config.predictors import Predictor
from covary.errors import UserError
from covary.evaluate.metrics import r2, r2_table
from covary.predict.arrays import cross_validate, evidence_of, fit
from covary.predict.evidence import Posteriors, Targets
from covary.predict.train import predict

CONFIG = Predictor(objective="ebe_mse", width=4, batch_size=8, epochs=30, patience_epochs=30, ema_decay=0.9)


def study(n: int) -> tuple[np.ndarray, Targets]:
    """Images whose brightness is the first of two random effects."""
    eta = rng.normal(1, "eta", 0, n, (2,))
    grey = np.broadcast_to((128 + 30 * eta[:, 0]).clip(0, 255)[:, None, None, None], (n, 1, 16, 16))
    return grey.astype(np.uint8), Targets(eta)


def test_cross_validation_finds_what_images_hold_and_nothing_else():
    images, evidence = study(60)
    eta_pred = cross_validate(images, evidence, np.eye(2), CONFIG, folds=3, seed=1)
    assert eta_pred.shape == (60, 2) and np.isfinite(eta_pred).all()
    table = r2_table(evidence.value, eta_pred, ["a", "b"], seed=1).set_index("random_effect")
    assert table.loc["a", "low"] > 0.7
    assert table.loc["b", "low"] < 0 and table.loc["b", "r2"] < 0.1
    assert table.loc["all", "r2"] == pytest.approx(r2(evidence.value, eta_pred))
    assert (table["low"] < table["r2"]).all() and (table["r2"] < table["high"]).all()


def test_no_subject_is_predicted_by_a_network_that_saw_it():
    """Images of noise can be learnt by heart; held-out subjects then show nothing."""
    images = rng.generator(1, "noise").integers(0, 256, (40, 1, 16, 16)).astype(np.uint8)
    evidence = Targets(rng.normal(1, "eta", 0, 40, (1,)))
    eta_pred = cross_validate(images, evidence, np.eye(1), CONFIG, folds=4, seed=1)
    assert r2(evidence.value, eta_pred) < 0.1


def test_predictions_by_marginal_likelihood_have_mean_0():
    images, evidence = study(24)
    model = nlme.OneCompartmentOral()
    parameters = model.default_parameters()
    eta = np.zeros((24, len(model.random_effects)))
    eta[:, :2] = 0.3 * evidence.value
    design = nlme.Design.regular(ORAL_TIMES_H, n_subjects=24, dose=100.0)
    records = nlme.Records.of(design, nlme.predictions(model, parameters, eta, design))
    drawn = evidence_of("marginal_likelihood", model, parameters, records, seed=1, draws=32)
    assert isinstance(drawn, Posteriors)
    config = CONFIG.model_copy(update={"objective": "marginal_likelihood", "epochs": 2})
    network = fit(images, drawn, np.asarray(parameters.omega), config, seed=1)
    np.testing.assert_allclose(predict(network, images).mean(axis=0), 0, atol=1e-5)


@pytest.mark.parametrize(
    ("n_images", "n_subjects", "folds", "network", "message"),
    [
        (20, 21, 5, "resnet18", "images must be one per subject, 21, got 20"),
        (9, 9, 5, "resnet18", "images must be those of at least 10 subjects, got 9"),
        (20, 20, 1, "resnet18", "folds must be between 2 and the number of subjects, 20, got 1"),
        (20, 20, 5, "linear_probe", "predictors.network must be one that sees images, got 'linear_probe'"),
    ],
)
def test_what_does_not_fit_is_one_line(n_images, n_subjects, folds, network, message):
    config = Predictor(objective="ebe_mse", network=network)
    with pytest.raises(UserError, match=message):
        cross_validate(study(n_images)[0], study(n_subjects)[1], np.eye(2), config, folds=folds, seed=1)
