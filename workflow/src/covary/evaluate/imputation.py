"""What filling in missing visits would do to a population fit and to estimates of random effects.

The likelihood leaves missing visits out. Two customs fill them in: with the last value before, or with a line
between the values before and after. Both make up values without saying so, and bias what follows.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64

from covary import nlme
from covary.evaluate.metrics import POOLED, r2_of_sums, subject_statistics
from covary.records.study import Study
from covary.resampling import Resamples, percentile_interval

AS_THEY_ARE, LAST_VALUE, LINE = FILLED = ("likelihood", "last value", "line")


def by_last_value(y: Float[np.ndarray, "subject time"]) -> Float64[np.ndarray, "subject time"]:
    """Each missing value replaced by the last one before it; those before the first value stay missing."""
    last = np.maximum.accumulate(np.where(np.isfinite(y), np.arange(y.shape[1]), -1), axis=1)
    filled = np.take_along_axis(np.asarray(y, dtype=np.float64), np.maximum(last, 0), axis=1)
    return np.where(last < 0, np.nan, filled)


def by_line(
    y: Float[np.ndarray, "subject time"], times_h: Float64[np.ndarray, " time"]
) -> Float64[np.ndarray, "subject time"]:
    """Each missing value replaced by that of a line between its neighbours; those before the first and after
    the last value stay missing."""
    rows = []
    for record in np.asarray(y, dtype=np.float64):
        seen = np.isfinite(record)
        filled = record
        if seen.any():
            filled = np.interp(times_h, times_h[seen], record[seen], left=np.nan, right=np.nan)
        rows.append(np.where(seen, record, filled))
    return np.stack(rows)


def imputation_table(
    study: Study,
    fitted: nlme.Parameters,
    method: str,
    train: tuple[Float[np.ndarray, "subject time"], slice],
    test: tuple[Float[np.ndarray, "test time"], slice],
    eta_hat: Float[np.ndarray, "test k"],
    *,
    seed: int,
    resamples: int,
) -> pd.DataFrame:
    """Parameters and agreement of random effects with missing visits left out, and filled in.

    `train` and `test` are observations and the numbers of their subjects. Each population fit starts from
    `fitted`. Values are filled in at visits of the subject's own schedule only. Columns: records
    (`likelihood`, `last value` or `line`), method, subjects (of the fit), converged, quantity, name, true,
    value, low and high (95 % intervals). The quantity is `parameter`, or `r2`: the share of the variance of
    `eta_hat` that empirical Bayes estimates of test subjects explain. Rows `r2` have less, by how much it is
    below that of `likelihood`, with a paired interval less_low to less_high.
    """
    truth = {name: float(value) for name, value in study.truth.natural().items()}
    samples, n = Resamples(len(eta_hat), seed=seed, resamples=resamples), len(eta_hat)
    fits, scores, converged = [], {}, {}
    ways = {
        AS_THEY_ARE: lambda y: y,
        LAST_VALUE: by_last_value,
        LINE: lambda y: by_line(y, study.times_h),
    }
    for records, fill in ways.items():
        seen, tested = (np.where(study.scheduled_of(some), fill(y), np.nan) for y, some in (train, test))
        fit = nlme.fit_population(study.model, study.records(seen, train[1]), fitted, method=method)
        table = fit.table()[["parameter", "estimate", "ci_low", "ci_high"]]
        table.columns = ["name", "value", "low", "high"]
        table = table.assign(records=records, quantity="parameter", true=table["name"].map(truth))
        fits.append(table)
        converged[records] = bool(fit.converged)
        modes = nlme.empirical_bayes(study.model, fit.parameters, study.records(tested, test[1]))
        statistics = subject_statistics(eta_hat, modes.eta)
        scores[records] = r2_of_sums(statistics.sum(axis=0), n), r2_of_sums(samples.sums(statistics), n)
    best, best_resampled = scores[AS_THEY_ARE]
    names = [POOLED, *study.model.random_effects]
    for records, (value, resampled) in scores.items():
        low, high = percentile_interval(resampled)
        less_low, less_high = percentile_interval(best_resampled - resampled)
        columns = {"value": value, "low": low, "high": high, "less": best - value}
        columns |= {"less_low": less_low, "less_high": less_high}
        fits.append(pd.DataFrame({"records": records, "quantity": "r2", "name": names, **columns}))
    table = pd.concat(fits, ignore_index=True).assign(method=method, subjects=len(train[0]))
    table["converged"] = table["records"].map(converged)
    front = ["records", "method", "subjects", "converged", "quantity", "name", "true", "value", "low", "high"]
    return table[[*front, "less", "less_low", "less_high"]]
