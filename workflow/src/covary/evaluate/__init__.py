"""How much of the outcome was learned from the image: metrics, bootstrap over subjects, tables."""

from covary.evaluate.bootstrap import percentile_interval, resampled_sums
from covary.evaluate.metrics import conditional_nll, mean_squared_error, r2
from covary.evaluate.tables import (
    RandomEffects,
    Records,
    longitudinal_nll_table,
    random_effects_table,
    random_population,
)

__all__ = [
    "RandomEffects",
    "Records",
    "conditional_nll",
    "longitudinal_nll_table",
    "mean_squared_error",
    "percentile_interval",
    "r2",
    "random_effects_table",
    "random_population",
    "resampled_sums",
]
