"""Tables of the population fits of all noise levels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from covary import nlme

_MOVED = 1e-6  # relative change of a parameter below which it stayed where the fit began


def parameter_table(fitted: Mapping[float, pd.DataFrame], truth: nlme.Parameters) -> pd.DataFrame:
    """Parameters of every fit beside the truth, one row per noise level and parameter.

    `fitted` has the table of `PopulationFit.table` of each noise variance, with a column `initial`, where the
    fit began. Columns: noise_variance, those of the table, true, and moved: whether the estimate is
    elsewhere than the initial value.
    """
    true = {name: float(value) for name, value in truth.natural().items()}
    parts = [table.assign(noise_variance=noise_variance) for noise_variance, table in fitted.items()]
    table = pd.concat(parts, ignore_index=True)
    table["true"] = table["parameter"].map(true)
    table["moved"] = ~np.isclose(table["estimate"], table["initial"], rtol=_MOVED, atol=0.0)
    return table[["noise_variance", *(c for c in table if c != "noise_variance")]]


def fit_table(verdicts: Mapping[float, Mapping[str, Any]]) -> pd.DataFrame:
    """One row per noise variance: noise_variance and what the fit says of itself (method, converged, …)."""
    return pd.DataFrame([{"noise_variance": v, **said} for v, said in verdicts.items()])
