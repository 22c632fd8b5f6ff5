"""What filling in missing visits would do to the population fit and to random effects."""

from pathlib import Path

from covary import nlme, store
from covary.config.records import PopulationFit
from covary.dataset import names
from covary.dataset.scenario import Scenario
from covary.dataset.subjects import members
from covary.evaluate.imputation import imputation_table
from covary.jobs.run import run
from covary.records.study import Study

N_SUBJECTS = 300


def measure_imputation(
    dataset: Path,
    model: str,
    noise_variance: float | None,
    fit: PopulationFit,
    parameters: Path,
    table: Path,
    seed: int,
    resamples: int,
) -> None:
    """Write the table, from the first training and test subjects."""
    study, subjects = Study.of(dataset, model), store.read(dataset, names.SUBJECTS)
    group = store.read(dataset, names.records(Scenario(noise_variance).name))
    train, test = (
        slice(split.start, min(split.stop, split.start + min(fit.subjects, N_SUBJECTS)))
        for split in (members(subjects, "train"), members(subjects, "test"))
    )
    imputation_table(
        study,
        nlme.parameters_from_json(parameters.read_text(encoding="utf-8")),
        fit.residuals_by,
        (group["observation"][train].values, train),
        (group["observation"][test].values, test),
        group["eta_hat"][test].values,
        seed=seed,
        resamples=resamples,
    ).to_csv(table, index=False)


if __name__ == "__main__":
    run(measure_imputation)
