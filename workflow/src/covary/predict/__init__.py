"""From an image to random effects: networks, training, prediction."""

from covary.predict.network import ResNet18
from covary.predict.train import predict, train_predictor

__all__ = ["ResNet18", "predict", "train_predictor"]
