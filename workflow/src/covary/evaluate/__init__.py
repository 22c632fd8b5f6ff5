"""How much of the outcome was learned from the image: metrics, bootstrap over subjects, tables."""

from covary.evaluate.bootstrap import Resamples, percentile_interval
from covary.evaluate.ledger import PARTS, Chain, association_ledger
from covary.evaluate.metrics import conditional_nll, crps, mean_squared_error, r2
from covary.evaluate.privacy import Proximity, privacy_table
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
    "PARTS",
    "POOLED",
    "Chain",
    "Proximity",
    "RandomEffects",
    "Records",
    "Resamples",
    "association_ledger",
    "calibration_table",
    "comparison_table",
    "conditional_nll",
    "crps",
    "longitudinal_nll_table",
    "mean_squared_error",
    "percentile_interval",
    "privacy_table",
    "r2",
    "random_effects_table",
    "random_population",
]
