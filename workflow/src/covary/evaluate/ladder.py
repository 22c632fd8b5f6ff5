"""The ladder: models of different kind, fitted to the same records and compared on the same new subjects.

Models with a network are fitted by a variational bound (ELBO), others by the method of the population fit.
All are judged on subjects that no fit saw: by evidence, log p(y) by importance sampling, and by how close
predictions at the mode of η given some visits come to the records without residual error. The records are
simulated, so those are known.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float64

from covary import nlme, store
from covary.config.ladder import TRUTH, Ladder, Rung
from covary.config.records import PopulationFit
from covary.dataset import names
from covary.dataset.scenario import Scenario
from covary.dataset.subjects import members
from covary.errors import UserError
from covary.nlme.check import check_model
from covary.nlme.evidence import difference, first_visits
from covary.nlme.neural import networks, weights_of
from covary.nlme.variational import METHODS
from covary.records.study import Study
from covary.records.truth import initial_parameters
from covary.resampling import Resamples, percentile_interval

ALL, NEW = "all", "new regimen"  # what a prediction is given, beside numbers of first visits
_DRAWS = 64  # kept per subject; importance sampling has four times as many proposals
_LOG_2PI = float(np.log(2 * np.pi))


class Held(NamedTuple):
    """Subjects that no fit saw: their records, and the same without residual error."""

    records: nlme.Records
    noise_free: Float64[np.ndarray, "subject time"]
    new_design: nlme.Design  # doses that no subject had
    noise_free_new: Float64[np.ndarray, "subject time"]
    first_subject: int

    @classmethod
    def read(cls, dataset: Path, scenario: Scenario, study: Study, settings: Ladder) -> "Held":
        """The first test subjects of a dataset. Under the new regimen, visits and covariates stay theirs."""
        test = members(store.read(dataset, names.SUBJECTS), "test")
        group = store.read(dataset, names.records(scenario.name))
        some = slice(test.start, min(test.start + settings.test_subjects, test.stop))
        eta_hat = group["eta_hat"][some].values
        records = study.records(group["observation"][some].values, some)
        new = nlme.Design.regular(
            study.times_h,
            n_subjects=len(eta_hat),
            doses=[nlme.Dose(**dose.model_dump()) for dose in settings.new_regimen],
            covariates=records.design.covariates,
        )
        noise_free_new = nlme.predictions(study.model, study.truth, eta_hat, new)
        return cls(records, study.predictions(eta_hat, some), new, noise_free_new, test.start)


def training_records(dataset: Path, scenario: Scenario, study: Study, n_subjects: int) -> nlme.Records:
    """The records of the first training subjects of a dataset. Raises UserError if they are too few."""
    train = members(store.read(dataset, names.SUBJECTS), "train")
    if n_subjects > train.stop - train.start:
        raise UserError(
            f"ladder.training_subjects must be at most subjects.train ({train.stop - train.start}), "
            f"got {n_subjects}"
        )
    some = slice(train.start, train.start + n_subjects)
    observation = store.read(dataset, names.records(scenario.name))["observation"][some].values
    return study.records(observation, some)


def model_of(rung: Rung) -> nlme.OdeModel | nlme.ClosedFormModel:
    """The structural model of a rung, not fitted. Raises UserError as `nlme.load_model` does."""
    return nlme.load_model(rung.model, rung.random_effects, key=f"ladder.models ({rung.name})")


def n_random_effects(rung: Rung) -> int:
    """How many random effects the model of a rung has in all."""
    return len(model_of(rung).random_effects)


def start_of(rung: Rung, study: Study, fit: PopulationFit) -> nlme.Parameters:
    """Where the fit of a rung starts: its own fixed effects, Ω and σ as in the population fit."""
    own = fit.model_copy(update={"initial_fixed_effects": rung.initial_fixed_effects})
    return initial_parameters(model_of(rung), study.truth, own)


def fit_rung(
    rung: Rung, study: Study, records: nlme.Records, fit: PopulationFit, settings: Ladder, seed: int
) -> nlme.VariationalFit | nlme.PopulationFit:
    """Fit the model of a rung: one with a network by its bound, others by the method of the population fit.

    Raises UserError as `nlme.fit_variational` and `nlme.fit_population` do.
    """
    model, start = model_of(rung), start_of(rung, study, fit)
    if not networks(model) and fit.method not in METHODS:
        return nlme.fit_population(model, records, start, method=fit.method, covariance=False)
    return nlme.fit_variational(
        model,
        records,
        start,
        seed=seed,
        steps=settings.steps,
        draws=settings.draws,
        final_steps=settings.final_steps,
        evaluation_draws=64,
        encoder_width=METHODS.get(fit.method),
    )


def fit_in_text(fit: nlme.VariationalFit | nlme.PopulationFit) -> str:
    """A fit as JSON: parameters, weights of networks, its bound or likelihood, and how it ended."""
    level = (
        {"elbo": float(fit.bound.elbo.sum())}
        if isinstance(fit, nlme.VariationalFit)
        else {"minus_two_log_likelihood": fit.minus_two_log_likelihood}
    )
    return (
        json.dumps(
            {
                "parameters": json.loads(nlme.parameters_to_json(fit.parameters)),
                "weights": weights_of(fit.model).tolist(),
                **level,
                "converged": bool(fit.converged),
                "verdict": fit.verdict,
            },
            indent=2,
        )
        + "\n"
    )


def score_model(
    model: nlme.OdeModel | nlme.ClosedFormModel,
    parameters: nlme.Parameters,
    held: Held,
    visits: list[int],
    seed: int,
) -> pd.DataFrame:
    """One row per held-out subject: evidence, its Monte Carlo error, and the squared error of predictions.

    Columns: subject, evidence, evidence_error, and for each number of first visits, for `all` and for the
    `new regimen` the mean squared error of the whole record, without residual error, as predicted at the mode
    of η given these visits. A subject of which no mode was found has NaN.
    """
    records, n = held.records, held.records.design.n_subjects

    def modes(some: nlme.Records) -> nlme.EmpiricalBayes:
        return nlme.empirical_bayes(model, parameters, some)

    def squared_error(eta, design, noise_free) -> np.ndarray:
        return np.square(nlme.predictions(model, parameters, eta, design) - noise_free).mean(axis=1)

    whole = modes(records)
    drawn = nlme.posterior_draws(
        model, parameters, records, whole, _DRAWS, seed, stream="ladder", first_subject=held.first_subject
    )
    size = np.maximum(drawn.effective_sample_size, 1e-300)
    columns = {
        "subject": held.first_subject + np.arange(n),
        "evidence": drawn.log_marginal - 0.5 * _LOG_2PI * records.present.sum(axis=1),
        "evidence_error": np.sqrt(np.maximum(1 / size - 1 / (4 * _DRAWS), 0.0)),
    }
    for m in visits:
        eta = modes(first_visits(records, m)).eta if m else np.zeros_like(whole.eta)
        columns[str(m)] = squared_error(eta, records.design, held.noise_free)
    columns[ALL] = squared_error(whole.eta, records.design, held.noise_free)
    columns[NEW] = squared_error(whole.eta, held.new_design, held.noise_free_new)
    return pd.DataFrame(columns)


def has_converged(fit: str) -> bool:
    """Whether the fit of `fit_in_text` ended at an optimum."""
    return json.loads(fit)["converged"]


def ladder_tables(
    scores: Mapping[tuple[str, int, int], pd.DataFrame],
    converged: Mapping[tuple[str, int, int], bool],
    truth: pd.DataFrame,
    true_effects: int,
    reference: str,
    *,
    seed: int,
    resamples: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The two tables of the comparison.

    `scores` has those of `score_model` by name, number of random effects and training subjects, and
    `converged` whether that fit converged; `truth` has the scores of the model that made the records, with
    `true_effects` random effects. The first table has one row per model and number of training subjects:
    `converged` (the truth is not fitted), `evidence` of the test subjects with its Monte Carlo error, and the
    paired `difference` of the evidence to `reference` after as many training subjects, with a 95 % interval
    over subjects (`low`, `high`). The second one has the root mean squared error of predictions with
    bootstrap intervals, by what is `given`; `ratio` divides by that of the true parameters. Subjects that
    lack a score under any model are left out of both; `subjects` says how many are left.
    """
    everything = [truth, *scores.values()]
    kept = np.all([of.notna().all(axis=1).to_numpy() for of in everything], axis=0)
    some = Resamples(int(kept.sum()), seed=seed, resamples=resamples)
    given = [column for column in truth if column not in ("subject", "evidence", "evidence_error")]
    truth = truth[kept]
    evidence, predictions = [], []
    for (name, effects, training), of in {(TRUTH, true_effects, 0): truth, **scores}.items():
        own = of if name == TRUTH else of[kept]
        key = {"model": name, "random_effects": effects, "training_subjects": training}
        other = next((s[kept] for (r, _, t), s in scores.items() if (r, t) == (reference, training)), None)
        row = key | {
            "converged": converged.get((name, effects, training), True),
            "evidence": own["evidence"].sum(),
            "error": np.sqrt(np.square(own["evidence_error"]).sum()),
            "subjects": int(kept.sum()),
        }
        if other is not None:
            gap = difference(own["evidence"], other["evidence"])
            row |= {"difference": gap.sum, "low": gap.low, "high": gap.high}
        evidence.append(row)
        least = np.sqrt(truth[given].mean())
        rmse = np.sqrt(own[given].mean())
        low, high = percentile_interval(np.sqrt(some.means(own[given].to_numpy())))
        predictions += [
            key | {"given": g, "rmse": rmse[g], "low": low[i], "high": high[i], "ratio": rmse[g] / least[g]}
            for i, g in enumerate(given)
        ]
    return pd.DataFrame(evidence), pd.DataFrame(predictions)


def check_ladder(settings: Ladder, study: Study, fit: PopulationFit) -> None:
    """Raise UserError, in one line, if a model does not exist, is not complete or does not fit the study."""
    for rung in settings.models:
        try:
            check_model(model_of(rung), start_of(rung, study, fit), study.design)
        except ValueError as error:
            text = " ".join(str(error).split())
            where = "" if text.startswith("ladder.") else f"ladder.models ({rung.name}): "
            raise UserError(where + text) from error
