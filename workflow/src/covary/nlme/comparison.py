"""Fits of the same records side by side."""

from collections.abc import Mapping

import pandas as pd

from covary.errors import UserError
from covary.nlme.fit import PopulationFit


def compare(fits: Mapping[str, PopulationFit]) -> pd.DataFrame:
    """One row per fit, the best by AIC first: parameters, OFV, −2 ln L, AIC, BIC and the distance from the
    best.

    Raises UserError if the fits are not of equally many observations and subjects, or of different methods:
    their objectives are then different quantities.
    """
    if not fits:
        raise UserError("compare needs at least one fit")
    for kind, values in (
        ("methods", [fit.method for fit in fits.values()]),
        ("numbers of observations", [str(fit.n_observations) for fit in fits.values()]),
        ("numbers of subjects", [str(len(fit.eta)) for fit in fits.values()]),
    ):
        different = dict.fromkeys(values)
        if len(different) > 1:
            raise UserError(f"fits of different {kind} cannot be compared: {', '.join(different)}")
    table = pd.DataFrame(
        {
            "fit": list(fits),
            "converged": [fit.converged for fit in fits.values()],
            "parameters": [fit.n_parameters for fit in fits.values()],
            "ofv": [fit.objective for fit in fits.values()],
            "minus_two_log_likelihood": [fit.minus_two_log_likelihood for fit in fits.values()],
            "aic": [fit.aic for fit in fits.values()],
            "bic": [fit.bic for fit in fits.values()],
        }
    )
    for criterion in ("aic", "bic"):
        table[f"delta_{criterion}"] = table[criterion] - table[criterion].min()
    return table.sort_values("aic", kind="stable", ignore_index=True)
