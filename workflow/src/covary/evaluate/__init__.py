"""Scores of predictors on test subjects, with bootstrap intervals over subjects."""

from covary.evaluate.effects import RandomEffects, calibration_table, comparison_table, random_effects_table
from covary.evaluate.held_out import HeldOut
from covary.evaluate.ledger import PARTS, Chain, association_ledger, measured_ceiling
from covary.evaluate.metrics import POOLED, conditional_nll, crps, mean_squared_error, r2
from covary.evaluate.outcomes import (
    IDEAL,
    NO_IMAGE,
    Forecasts,
    Records,
    draw_random_effects,
    ideal_forecast,
    longitudinal_nll_table,
    outcome_table,
    random_population,
    score_forecast,
)
from covary.evaluate.population import fit_table, parameter_table
from covary.evaluate.power import TrainingSizes, learning_curves
from covary.evaluate.score import score
from covary.evaluate.simulation import OutcomeSimulation

__all__ = [
    "IDEAL",
    "NO_IMAGE",
    "PARTS",
    "POOLED",
    "Chain",
    "Forecasts",
    "HeldOut",
    "OutcomeSimulation",
    "RandomEffects",
    "Records",
    "TrainingSizes",
    "association_ledger",
    "calibration_table",
    "comparison_table",
    "conditional_nll",
    "crps",
    "draw_random_effects",
    "fit_table",
    "ideal_forecast",
    "learning_curves",
    "longitudinal_nll_table",
    "mean_squared_error",
    "measured_ceiling",
    "outcome_table",
    "parameter_table",
    "r2",
    "random_effects_table",
    "random_population",
    "score",
    "score_forecast",
]
