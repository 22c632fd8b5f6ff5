"""How many subjects are needed: R² against the number of training subjects, and the power to detect it.

The curve R²(n) = max(0, limit - drop · (n/N)^(-exponent)) is fitted to predictors trained on the first n
subjects; N is the largest size. R² is 0 where too few subjects were used to learn anything. The number of
subjects follows from Fisher's z-transformation of a correlation ρ,

    n = ((z_{1-α/2} + z_{1-β}) / artanh ρ)² + 3,    α = 5 %, two-sided, power 1 - β = 80 %,

where ρ is the correlation between the prediction of a random effect from the image and its empirical Bayes
estimate from the record. A study has both. ρ² = R²(eta_hat, eta_pred) · corr²(eta_hat, eta_approx).

Trainings on the same subjects differ by their random start and order. Where sizes are trained on more than
once, the standard deviation s of R² between such trainings, pooled over the sizes, is part of the intervals:
a mean of m trainings is uncertain by s/√m, and s itself is known as well as its degrees of freedom say
(Student's t).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int

from covary import rng
from covary.dataset.association import explainable_fraction
from covary.errors import UserError
from covary.evaluate.metrics import check_rows, r2_of_sums, subject_statistics
from covary.resampling import Resamples, percentile_interval

POWER, ALPHA = 0.8, 0.05
_EXPONENTS = np.geomspace(0.1, 2.0, 120)
_EXTEND = 10.0  # curves are extrapolated to this multiple of the largest size
_MOST_SUBJECTS = 1e9
_INFORMATIVE_SIZES = 2  # as few sizes at which something was learned determine a curve
_TRAININGS = 3  # per size, from which their variation can be told
_Line = tuple[Float64[np.ndarray, "fit exponent"], Float64[np.ndarray, "fit exponent"]]
_CURVE_COLUMNS = [
    *("noise_variance", "predictor", "subjects", "kind", "trainings"),
    *("r2", "low", "high", "theoretical_max"),
]
_POWER_COLUMNS = [
    *("noise_variance", "predictor", "reliability", "ideal", "carried"),
    *(
        f"{name}{end}"
        for name in ("trained", "from_scratch", "limit", "exponent")
        for end in ("", "_low", "_high")
    ),
    *("bound", "informative_sizes", "training_sd", "decides"),
]


@dataclass(frozen=True)
class TrainingSizes:
    """What predictors trained on the first n subjects predict for the same test subjects, at one noise level.

    `sizes` has the number of subjects of each training, in order, a size as often as it was trained on;
    `eta_pred` has the prediction of each training.
    """

    noise_variance: float
    predictor: str
    eta_hat: Float[np.ndarray, "subject random_effect"]
    eta_approx: Float[np.ndarray, "subject random_effect"]
    sizes: Int[np.ndarray, " training"]
    eta_pred: Float[np.ndarray, "training subject random_effect"]


@dataclass(frozen=True)
class PowerLaw:
    """R²(n) = max(0, limit - drop · (n/scale)^(-exponent)), drop ≥ 0, for each of several data sets."""

    limit: Float64[np.ndarray, " fit"]
    drop: Float64[np.ndarray, " fit"]
    exponent: Float64[np.ndarray, " fit"]
    scale: float

    def __call__(self, n: Float64[np.ndarray, "#fit size"]) -> Float64[np.ndarray, "fit size"]:
        """R² after training on n subjects."""
        law = self.limit[:, None] - self.drop[:, None] * (n / self.scale) ** -self.exponent[:, None]
        return np.maximum(law, 0.0)

    @classmethod
    def fit(
        cls,
        sizes: Int[np.ndarray, " size"],
        r2: Float64[np.ndarray, "fit size"],
        most: float,
        choice: Float64[np.ndarray, " fit"] | float = 0.5,
    ) -> "PowerLaw":
        """Least squares with limit ≤ `most` and exponents between 0.1 and 2.

        If R² is above 0 at few sizes only, laws with many exponents fit equally well. `choice` selects one of
        them: 0 the least exponent, 1 the greatest.

        Given the exponent, and given the number of smallest sizes at which the law is 0, the problem is
        linear with bounds. Its exact solution is one of a few candidates (`_bounded_lines`), and the best is
        taken.
        """
        scale = float(sizes[-1])
        x = (sizes / scale) ** -_EXPONENTS[:, None]  # exponent, size
        candidates = [pair for k in range(len(sizes)) for pair in _bounded_lines(x[:, k:], r2[:, k:], most)]
        loss = np.stack([_loss(x, r2, *candidate) for candidate in candidates], axis=1)
        loss = loss.reshape(len(r2), -1)
        alike = loss <= loss.min(axis=1, keepdims=True) * (1 + 1e-6) + 1e-12
        exponents = np.log(np.tile(_EXPONENTS, len(candidates)))
        least, greatest = (
            end(np.where(alike, exponents, fill), axis=1)
            for end, fill in ((np.min, np.inf), (np.max, -np.inf))
        )
        wanted = least + choice * (greatest - least)
        chosen = np.where(alike, np.abs(exponents - wanted[:, None]), np.inf).argmin(axis=1)
        which, step = np.divmod(chosen, len(_EXPONENTS))
        limits, drops = (np.stack(parts) for parts in zip(*candidates, strict=True))
        rows = np.arange(len(r2))
        return cls(limits[which, rows, step], drops[which, rows, step], _EXPONENTS[step], scale)


@dataclass(frozen=True)
class _Measured:
    """R² at each size, the mean of its trainings: on all test subjects, and on resamples."""

    sizes: Int[np.ndarray, " size"]
    trainings: Int[np.ndarray, " size"]
    r2: Float64[np.ndarray, " size"]
    replicates: Float64[np.ndarray, "resample size"]  # with the variation between trainings, if it is known
    training_sd: float  # NaN if no size was trained on twice

    @property
    def informative(self) -> int:
        """At how many sizes the 95 % interval of R² lies above 0."""
        return int((percentile_interval(self.replicates)[0] > 0).sum())


def learning_curves(
    trainings: Sequence[TrainingSizes], resamples: Resamples, carried: Mapping[float, float]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Learning curves, and the number of subjects needed to detect the association.

    `carried` is the share of the variance of eta_hat that images were measured to carry, by noise variance.

    The first table has noise_variance, predictor, subjects, kind (`measured`, or `fitted`, which extends to
    10 times the largest size), trainings, r2, low, high, theoretical_max.

    The second table has one row per noise level and predictor: reliability, which is corr²(eta_hat,
    eta_approx) and is treated as known; limit and exponent of the curve; and four numbers of subjects for 80
    % power, infinite where no number is enough. `ideal` is for a model that finds everything an image can
    explain by design, `carried` for one that finds everything images were measured to carry. `trained` is for
    a study that only tests the predictor trained on all subjects here. `from_scratch` is for a study that
    trains the predictor on its own subjects and tests it on the same ones by cross-validation.

    `low` and `high` are the ends of 95 % bootstrap intervals over test subjects, with the variation between
    trainings where it is known (see above). A law is fitted to every resample; where laws fit equally well,
    resamples take different ones, so that the intervals cover them. The low end of a number of subjects is at
    most the largest size: nothing is known beyond it.

    A curve has a limit only if something was learned at two sizes or more (`informative_sizes`). Where it was
    not, `from_scratch` and its upper end are infinite, and limit and exponent are missing. `bound` is the
    greatest limit that the fit allows. `training_sd` is the standard deviation of R² between trainings.
    `decides` says whether the curve may carry a conclusion: two informative sizes, and three trainings each
    at all sizes but the largest. Without trainings both tables are empty.

    Raises ValueError if there are fewer than four sizes, if they decrease, if shapes differ or a value is not
    finite.
    """
    curves, power = [], []
    for training in trainings:
        measured = _measure(training, resamples)
        sizes, most = measured.sizes, explainable_fraction(training.noise_variance)
        # All sizes have the same weight. Weights by the spread over test subjects would favour predictors
        # that found nothing: their R² varies little over subjects, but as much as any from training to
        # training.
        law = PowerLaw.fit(sizes, measured.r2[None], most)
        choice = np.linspace(0.0, 1.0, len(measured.replicates))
        laws = PowerLaw.fit(sizes, measured.replicates, most, choice)
        key = {"noise_variance": training.noise_variance, "predictor": training.predictor}
        first, last = sizes[[0, -1]]
        grid = np.concatenate([np.geomspace(first, last, 21), np.geomspace(last, _EXTEND * last, 21)[1:]])
        for kind, n, repeats, value, spread in (
            ("measured", sizes, measured.trainings, measured.r2, measured.replicates),
            ("fitted", grid, 0, law(grid[None])[0], laws(grid[None])),
        ):
            low, high = percentile_interval(spread)
            columns = {"subjects": n, "kind": kind, "trainings": repeats, "r2": value, "low": low}
            curves.append(pd.DataFrame({**key, **columns, "high": high, "theoretical_max": most}))
        reliability = _reliability(training)
        enough = measured.informative >= _INFORMATIVE_SIZES
        row = key | {
            "reliability": reliability,
            "ideal": subjects_for_power(np.array(most * reliability)),
            "carried": subjects_for_power(np.array(carried[training.noise_variance] * reliability)),
            "bound": most,
            "informative_sizes": measured.informative,
            "training_sd": measured.training_sd,
            "decides": enough and bool((measured.trainings[:-1] >= _TRAININGS).all()),
        }
        for name, value, spread in (
            ("trained", *(subjects_for_power(r2[..., -1] * reliability)
                          for r2 in (measured.r2[None], measured.replicates))),
            ("from_scratch", *(_from_scratch(fit, reliability) for fit in (law, laws))),
            ("limit", law.limit, laws.limit),
            ("exponent", law.exponent, laws.exponent),
        ):  # fmt: skip
            # Counts may be infinite, so quantiles are not interpolated between them.
            low, high = np.quantile(spread, [0.025, 0.975], method="nearest")
            row |= {name: float(value[0]), f"{name}_low": low, f"{name}_high": high}
        for name in ("trained_low", "from_scratch_low"):
            row[name] = min(row[name], float(last))
        if not enough:
            row |= dict.fromkeys(("from_scratch", "from_scratch_high"), np.inf)
            row |= {f"{name}{end}": np.nan for name in ("limit", "exponent") for end in ("", "_low", "_high")}
        power.append(row)
    if not trainings:
        return pd.DataFrame(columns=_CURVE_COLUMNS), pd.DataFrame(columns=_POWER_COLUMNS)
    return (
        pd.concat(curves, ignore_index=True)[_CURVE_COLUMNS],
        pd.DataFrame(power)[_POWER_COLUMNS],
    )


def subjects_for_power(
    squared_correlation: Float[np.ndarray, "*fit"],
) -> Float64[np.ndarray, "*fit"] | np.float64:
    """Subjects needed to detect a correlation with 80 % power at 5 %, two-sided; infinite if it is 0."""
    correlation = np.sqrt(np.clip(squared_correlation, 0.0, 1.0 - 1e-12))
    with np.errstate(divide="ignore"):
        return np.ceil((_z() / np.arctanh(correlation)) ** 2 + 3)


def _from_scratch(law: PowerLaw, reliability: float) -> Float64[np.ndarray, " fit"]:
    """The least n that gives 80 % power for the correlation after training on n subjects, by bisection."""
    low, high = (np.full(len(law.limit), np.log(n)) for n in (4.0, _MOST_SUBJECTS))
    for _ in range(60):
        middle = (low + high) / 2
        n = np.exp(middle)
        enough = subjects_for_power(law(n[:, None])[:, 0] * reliability) <= n
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(high < math.log(_MOST_SUBJECTS), np.ceil(np.exp(high) - 1e-6), np.inf)


def _bounded_lines(
    x: Float64[np.ndarray, "exponent size"], y: Float64[np.ndarray, "fit size"], most: float
) -> list[_Line]:
    """Candidates for limit and drop of the line limit - drop · x by least squares, under the bounds.

    There are three: the line without bounds (or, where that violates one, the horizontal line), the best line
    with the limit at its bound `most`, and the best line that is 0 at the first size. The last one is the
    solution where the line without bounds would be below 0 at the first size.
    """
    mean_x, mean_y = x.mean(axis=1), y.mean(axis=1)
    away = x - mean_x[:, None]
    squares = (away**2).sum(axis=1)
    drop = -(y @ away.T) / np.where(squares > 0, squares, 1.0)
    limit = mean_y[:, None] + drop * mean_x
    inside = (drop >= 0) & (limit <= most)
    flat = np.minimum(mean_y, most)[:, None]
    at_most = np.maximum((most * x.sum(axis=1) - y @ x.T) / (x**2).sum(axis=1), 0.0)
    before = x[:, :1] - x
    squares = (before**2).sum(axis=1)
    from_zero = np.clip(y @ before.T / np.where(squares > 0, squares, 1.0), 0.0, most / x[:, 0])
    return [
        (np.where(inside, limit, flat), np.where(inside, drop, 0.0)),
        (np.full_like(limit, most), at_most),
        (from_zero * x[:, 0], from_zero),
    ]


def _loss(
    x: Float64[np.ndarray, "exponent size"],
    y: Float64[np.ndarray, "fit size"],
    limit: Float64[np.ndarray, "fit exponent"],
    drop: Float64[np.ndarray, "fit exponent"],
) -> Float64[np.ndarray, "fit exponent"]:
    """Residual sum of squares of each law."""
    columns = zip(x.T, y.T, strict=True)
    return sum((np.maximum(limit - drop * at, 0.0) - value[:, None]) ** 2 for at, value in columns)


def _z() -> float:
    return NormalDist().inv_cdf(1 - ALPHA / 2) + NormalDist().inv_cdf(POWER)


def _measure(training: TrainingSizes, resamples: Resamples) -> _Measured:
    """Pooled R²(eta_hat, eta_pred) at each size."""
    where = f"{training.predictor} at σ² = {training.noise_variance:g}"
    sizes, first, repeats = np.unique(training.sizes, return_index=True, return_counts=True)
    if len(sizes) < 4 or (np.diff(training.sizes) < 0).any():
        raise UserError(
            f"learning curve of {where}: expected at least 4 increasing sizes, got {training.sizes}"
        )
    if len(training.eta_pred) != len(training.sizes):
        raise ValueError(
            f"learning curve of {where}: {len(training.sizes)} trainings, but predictions of "
            f"{len(training.eta_pred)}"
        )
    statistics = []
    for size, eta_pred in zip(training.sizes, training.eta_pred, strict=True):
        check_rows(f"eta_pred of {where}, {size} training subjects", eta_pred, training.eta_hat)
        statistics.append(subject_statistics(training.eta_hat, eta_pred))
    stacked = np.concatenate(statistics, axis=1)
    n, shape = resamples.n_subjects, (len(statistics), statistics[0].shape[1])
    sums = [stacked.sum(axis=0)[None], resamples.sums(stacked)]
    single, replicates = (r2_of_sums(s.reshape(-1, *shape), n)[..., 0] for s in sums)
    mean = np.add.reduceat(single[0], first) / repeats
    replicates = np.add.reduceat(replicates, first, axis=1) / repeats
    freedom = int((repeats - 1).sum())
    training_sd = math.nan
    if freedom:
        training_sd = float(np.sqrt(((single[0] - mean.repeat(repeats)) ** 2).sum() / freedom))
        stream = f"learning_curve/{training.predictor}/{training.noise_variance:g}"
        t = rng.generator(resamples.seed, stream).standard_t(freedom, size=replicates.shape)
        replicates = replicates + training_sd / np.sqrt(repeats) * t
    return _Measured(sizes, repeats, mean, replicates, training_sd)


def _reliability(training: TrainingSizes) -> float:
    """Squared correlation of random effects and their estimates, averaged over the random effects.

    It is 0 for estimates that do not vary.
    """
    check_rows("eta_approx", training.eta_approx, training.eta_hat)
    pairs = zip(training.eta_hat.T, training.eta_approx.T, strict=True)
    return float(np.mean([np.corrcoef(a, b)[0, 1] ** 2 if np.ptp(b) else 0.0 for a, b in pairs]))
