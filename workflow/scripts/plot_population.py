"""Parameters, goodness of fit and visual predictive checks of the population fits."""

import json
from pathlib import Path

import pandas as pd

from covary import evaluate, figures, nlme, store
from covary.config.records import PopulationFit
from covary.dataset import names
from covary.dataset.scenario import Scenario
from covary.dataset.subjects import members
from covary.jobs.run import run
from covary.nlme.diagnostics import predictive_check, residual_table
from covary.records.study import Study

N_SUBJECTS = 400


def plot_population(
    dataset: Path,
    model: str,
    fit: PopulationFit,
    noise_variances: list[float],
    parameters: list[Path],
    fitted: list[Path],
    verdicts: list[Path],
    population_parameters: Path,
    population_fits: Path,
    goodness_of_fit: Path,
    predictive_checks: Path,
    seed: int,
) -> None:
    """Write both tables and draw both figures, from the first subjects of the fits."""
    study = Study.of(dataset, model)
    train = members(store.read(dataset, names.SUBJECTS), "train")
    chosen = slice(train.start, min(train.stop, train.start + min(fit.subjects, N_SUBJECTS)))
    residuals, checks = {}, {}
    for noise_variance, file in zip(noise_variances, parameters, strict=True):
        population = nlme.parameters_from_json(file.read_text(encoding="utf-8"))
        group = store.read(dataset, names.records(Scenario(noise_variance).name))
        records = study.records(group["observation"][chosen].values, chosen)
        residuals[noise_variance] = residual_table(study.model, population, records, method=fit.residuals_by)
        checks[noise_variance] = predictive_check(study.model, population, records, seed)
    tables = dict(zip(noise_variances, map(pd.read_csv, fitted), strict=True))
    evaluate.parameter_table(tables, study.truth).to_csv(population_parameters, index=False)
    said = {
        v: json.loads(f.read_text(encoding="utf-8")) for v, f in zip(noise_variances, verdicts, strict=True)
    }
    evaluate.fit_table(said).to_csv(population_fits, index=False)
    units = study.model.time_unit, study.model.outcome_unit
    figures.save(figures.goodness_of_fit(residuals, units), goodness_of_fit)
    figures.save(figures.predictive_checks(checks, units), predictive_checks)


if __name__ == "__main__":
    run(plot_population)
