"""From an image to random effects: networks, objectives, training, prediction."""

from covary.predict.calibrate import calibrate, error_covariance
from covary.predict.evidence import Posteriors, Targets
from covary.predict.groups import write_predictions
from covary.predict.inputs import read_inputs
from covary.predict.level import Level
from covary.predict.likelihood import RecordLikelihood
from covary.predict.network import PredictorNetwork
from covary.predict.objectives import MarginalLikelihood, MeanSquaredError, make_objective
from covary.predict.train import ORACLE, ORACLE_SUBJECTS, Examples, predict, train_predictor

__all__ = [
    "ORACLE",
    "ORACLE_SUBJECTS",
    "Examples",
    "Level",
    "MarginalLikelihood",
    "MeanSquaredError",
    "Posteriors",
    "PredictorNetwork",
    "RecordLikelihood",
    "Targets",
    "calibrate",
    "error_covariance",
    "make_objective",
    "predict",
    "read_inputs",
    "train_predictor",
    "write_predictions",
]
