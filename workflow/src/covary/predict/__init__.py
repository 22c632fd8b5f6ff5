"""From an image to random effects: networks, objectives, training, prediction."""

from covary.predict.calibrate import calibrate, error_covariance
from covary.predict.evidence import Posteriors, Targets
from covary.predict.examples import Examples, read_inputs
from covary.predict.fit import Level, covariance_of
from covary.predict.network import PredictorNetwork
from covary.predict.objectives.catalogue import OBJECTIVES
from covary.predict.objectives.marginal_likelihood import MarginalLikelihood
from covary.predict.objectives.squared_error import MeanSquaredError
from covary.predict.recipes import ORACLE, ORACLE_SUBJECTS, for_subjects
from covary.predict.train import predict, train_predictor

__all__ = [
    "OBJECTIVES",
    "ORACLE",
    "ORACLE_SUBJECTS",
    "Examples",
    "Level",
    "MarginalLikelihood",
    "MeanSquaredError",
    "Posteriors",
    "PredictorNetwork",
    "Targets",
    "calibrate",
    "covariance_of",
    "error_covariance",
    "for_subjects",
    "predict",
    "read_inputs",
    "train_predictor",
]
