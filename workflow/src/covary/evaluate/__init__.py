"""How much of the outcome was learned from the image, and where the rest went; bootstrap over subjects."""

from covary.evaluate.bootstrap import Resamples, percentile_interval
from covary.evaluate.held_out import HeldOut
from covary.evaluate.ledger import PARTS, Chain, association_ledger
from covary.evaluate.metrics import conditional_nll, crps, mean_squared_error, r2
from covary.evaluate.outcomes import (
    IDEAL,
    NO_IMAGE,
    Forecasts,
    draw_random_effects,
    ideal_forecast,
    outcome_table,
    score_forecast,
)
from covary.evaluate.power import TrainingSizes, learning_curves
from covary.evaluate.privacy import Neighbours, Proximity, privacy_table
from covary.evaluate.score import score
from covary.evaluate.simulation import OutcomeSimulation
from covary.evaluate.tables import (
    POOLED,
    RandomEffects,
    Records,
    calibration_table,
    comparison_table,
    longitudinal_nll_table,
    random_effects_table,
    random_population,
)

__all__ = [
    "IDEAL",
    "NO_IMAGE",
    "PARTS",
    "POOLED",
    "Chain",
    "Forecasts",
    "HeldOut",
    "Neighbours",
    "OutcomeSimulation",
    "Proximity",
    "RandomEffects",
    "Records",
    "Resamples",
    "TrainingSizes",
    "association_ledger",
    "calibration_table",
    "comparison_table",
    "conditional_nll",
    "crps",
    "draw_random_effects",
    "ideal_forecast",
    "learning_curves",
    "longitudinal_nll_table",
    "mean_squared_error",
    "outcome_table",
    "percentile_interval",
    "privacy_table",
    "r2",
    "random_effects_table",
    "random_population",
    "score",
    "score_forecast",
]
