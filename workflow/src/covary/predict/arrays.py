"""Predictors of a study of one's own, with images and records in memory: training and cross-validation.

evidence = evidence_of("ebe_mse", model, fit.parameters, records, seed=1)
eta_pred = cross_validate(images, evidence, fit.parameters.omega, config, folds=5, seed=1)
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from covary import nlme, rng
from covary.config.predictors import Objective, Predictor
from covary.errors import UserError
from covary.nlme.likelihood import RecordLikelihood
from covary.predict.evidence import Evidence, Posteriors, Targets
from covary.predict.examples import Examples
from covary.predict.network import IMAGE, PredictorNetwork, input_of
from covary.predict.objectives.catalogue import OBJECTIVES
from covary.predict.recipes import for_subjects
from covary.predict.train import predict, train_predictor

_VALIDATION_SHARE = 0.2  # of the subjects of a training; they decide when it stops

Images = UInt8[np.ndarray, "subject channel y x"]


def evidence_of(
    objective: Objective,
    model: nlme.OdeModel | nlme.ClosedFormModel,
    parameters: nlme.Parameters,
    records: nlme.Records,
    *,
    seed: int,
    draws: int = 256,
) -> Evidence:
    """The information in records about the random effects, in the form that an objective needs.

    That is empirical Bayes estimates for `ebe_mse`, and `draws` draws per subject from p(η | y) for
    `marginal_likelihood`. `parameters` are those of a population fit. Raises ValueError if records, model and
    parameters do not fit together.
    """
    modes = nlme.empirical_bayes(model, parameters, records)
    if OBJECTIVES[objective].evidence == "estimates":
        return Targets(modes.eta)
    drawn = nlme.posterior_draws(model, parameters, records, modes, draws, seed)
    likelihood = RecordLikelihood(model, parameters, records)
    return Posteriors.of(drawn.eta, drawn.log_marginal, likelihood)


def fit(
    images: Images,
    evidence: Evidence,
    omega: Float[np.ndarray, "k k"],
    config: Predictor,
    *,
    seed: int,
    checkpoint_dir: Path | None = None,
) -> PredictorNetwork:
    """Train a network that predicts the random effects of each subject from its image.

    A fifth of the subjects, drawn at random, decides when the training stops. Where the objective says so
    (`OBJECTIVES`), predictions are moved to the mean 0 over these images, the mean that random effects have.
    V, the covariance of the errors, is not known: it needs subjects whose random effects are known.

    Raises UserError if there are fewer than ten subjects, not one image per subject, a subject without
    evidence, or a network that does not see images. See `train_predictor`.
    """
    _check(images, evidence, config)
    order = rng.generator(seed, "validation_subjects").permutation(len(images))
    n_validation = round(_VALIDATION_SHARE * len(images))
    validation, train = np.sort(order[:n_validation]), np.sort(order[n_validation:])
    row = OBJECTIVES[config.objective]
    with tempfile.TemporaryDirectory() as temporary:
        network, _ = train_predictor(
            *(Examples(images[part], evidence[part]) for part in (train, validation)),
            row.loss(omega, config.covariance),
            for_subjects(config, len(train)),
            seed,
            checkpoint_dir or Path(temporary),
        )
    if row.centred:
        network.centre.copy_(torch.from_numpy(predict(network, images).mean(axis=0)))
    return network


def cross_validate(
    images: Images,
    evidence: Evidence,
    omega: Float[np.ndarray, "k k"],
    config: Predictor,
    *,
    folds: int = 5,
    seed: int,
) -> Float32[np.ndarray, "subject k"]:
    """Predictions for every subject, by a network that was trained on other subjects only.

    Subjects are dealt to `folds` groups of nearly equal size at random. Images of one patient must be one
    subject, or the folds share patients. The population fit behind `evidence` saw all subjects; with few of
    them, fit it anew for each fold and call `fit` yourself. Raises UserError as `fit` does, and if `folds` is
    not between 2 and the number of subjects.
    """
    _check(images, evidence, config)
    if not 2 <= folds <= len(images):
        raise UserError(f"folds must be between 2 and the number of subjects, {len(images)}, got {folds}")
    order = rng.generator(seed, "folds").permutation(len(images))
    eta_pred = np.empty((len(images), len(omega)), np.float32)
    for held_out in np.array_split(order, folds):
        others = np.setdiff1d(order, held_out)
        network = fit(images[others], evidence[others], omega, config, seed=seed)
        eta_pred[held_out] = predict(network, images[held_out])
    return eta_pred


def _check(images: Images, evidence: Evidence, config: Predictor) -> None:
    if len(images) != len(evidence):
        raise UserError(f"images must be one per subject, {len(evidence)}, got {len(images)}")
    if len(images) < 10:
        raise UserError(f"images must be those of at least 10 subjects, got {len(images)}")
    if input_of(config.network) != IMAGE:
        raise UserError(f"predictors.network must be one that sees images, got {config.network!r}")
