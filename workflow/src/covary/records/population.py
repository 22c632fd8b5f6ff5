"""The population fit of a study, and what is written of it."""

import json
from typing import Any

import numpy as np
from jaxtyping import Float

from covary import nlme
from covary.config.records import PopulationFit
from covary.records.study import Study


def fit_in_texts(
    study: Study, observation: Float[np.ndarray, "subject time"], subjects: slice, settings: PopulationFit
) -> list[str]:
    """Fit the population model to the records of some subjects.

    Returns three texts: the parameters as JSON, their table as CSV, which also has the initial values, and
    the verdict on the fit as JSON. Raises UserError as `nlme.fit_population` does.
    """
    initial = study.initial(settings)
    records = study.records(observation, subjects)
    fitted = nlme.fit_population(study.model, records, initial, method=settings.method)
    level = (
        {"elbo": float(fitted.bound.elbo.sum())}
        if isinstance(fitted, nlme.VariationalFit)
        else {"minus_two_log_likelihood": fitted.minus_two_log_likelihood}
    )
    return in_texts(fitted, level, settings, initial, records)


def in_texts(
    fitted: Any,
    level: dict[str, float],
    settings: PopulationFit,
    initial: nlme.Parameters,
    records: nlme.Records,
) -> list[str]:
    """The three texts of a fit that has parameters, a table and a verdict; `level` is its likelihood."""
    begun_at = [float(value) for value in initial.natural().values()]
    verdict = {
        "method": settings.method,
        "converged": bool(fitted.converged),
        "verdict": fitted.verdict,
        **level,
        "subjects": records.design.n_subjects,
        "observations": int(records.present.sum()),
    }
    return [
        nlme.parameters_to_json(fitted.parameters),
        fitted.table().assign(initial=begun_at).to_csv(index=False),
        json.dumps(verdict, indent=2) + "\n",
    ]
