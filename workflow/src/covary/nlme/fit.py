"""Maximum-likelihood fit of a population model."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, NamedTuple, overload

import jax
import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy.optimize import minimize

from covary.errors import UserError
from covary.nlme.blocks import map_lanes
from covary.nlme.check import check_records
from covary.nlme.constraints import Constraints, Prior
from covary.nlme.curvature import Curvature
from covary.nlme.design import Design, Records, in_table
from covary.nlme.empirical_bayes import Status, estimate
from covary.nlme.lanes import ObservedLanes, observed_lanes_of, predict_program
from covary.nlme.marginal import Marginal, check_method, marginal
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.parameters import Parameters
from covary.nlme.solvers.lanes import DEFAULT, Failure
from covary.nlme.steady import not_steady, unsteady_in_words
from covary.nlme.variability import coefficients_of_variation
from covary.nlme.variational import METHODS as VARIATIONAL
from covary.nlme.variational import VariationalFit, fit_variational

_LOG_2PI = float(np.log(2 * np.pi))
_DECREMENT_TOLERANCE = 1e-4  # of the OFV: how much a Newton step could still lower it
_STEP = 1e-4  # of the finite differences of the exact gradient
_ROUNDS = 20  # of quasi-Newton searches, each from a Newton step with the Hessian where the last one ended
_AT_ZERO = 0.98  # shrinkage beyond which the variance of a random effect is as good as 0
_GIVEN = 0.01  # a conditional standard deviation, as a share of the whole, that is as good as 0
_EDGE = 1e-3  # likewise, where numbers are still good
_SCOUTS = 200  # subjects that bring the parameters close
_HALVINGS, _LEAST_GAIN = 6, 1e-6  # of such a Newton step; a gain of the OFV below it is none
_WORTH = 0.01  # of the OFV: a Newton step that gains less, from which no search goes on, is the last
_MOST_NAMES = 5  # of subjects in a message
_FARTHEST = 2.0  # by how much one step may change a logarithm
# A subject's gradient is of order 1 at the optimum, and their sum of order √n between samples.
_GRADIENT, _SCOUT_GRADIENT = 1e-3, 0.1


class PopulationFit(NamedTuple):
    """A fitted population model."""

    parameters: Parameters
    objective: float  # OFV, in NONMEM's convention without n ln 2π
    minus_two_log_likelihood: float  # with it
    method: str
    converged: bool
    verdict: str
    n_evaluations: int
    n_observations: int
    gradient: Float64[np.ndarray, " p"]  # of the OFV, on the unconstrained scale
    hessian: Float64[np.ndarray, "p p"] | None  # likewise
    units: Float64[np.ndarray, " p"]  # what counts as a large change of each entry on that scale
    scores: Float64[np.ndarray, "p subject"]  # each subject's gradient
    eta: Float64[np.ndarray, "subject k"]
    fixed: tuple[str, ...]
    model: OdeModel | ClosedFormModel
    typical_covariates: dict[str, float]  # their medians over subjects
    bounds: Mapping[str, tuple[float | int, float | int]]
    priors: Mapping[str, Prior]

    def __repr__(self) -> str:
        return (
            f"PopulationFit({type(self.model).__name__}, {self.method.upper()}, OFV {self.objective:.4f}, "
            f"{self.n_parameters} parameters, {self.n_observations} observations; {self.verdict})"
        )

    @property
    def n_parameters(self) -> int:
        """How many parameters were estimated."""
        return int(_free(self.parameters, self.fixed).sum())

    @property
    def aic(self) -> float:
        """Akaike's information criterion, −2 ln L + 2 p."""
        return self.minus_two_log_likelihood + 2 * self.n_parameters

    @property
    def bic(self) -> float:
        """Schwarz's information criterion, −2 ln L + p ln n, with n the number of observations."""
        return self.minus_two_log_likelihood + self.n_parameters * float(np.log(self.n_observations))

    def shrinkage(self) -> Float64[np.ndarray, " k"]:
        """1 − sd(η̂)/ω of each random effect."""
        return 1 - np.std(self.eta, axis=0, ddof=1) / np.sqrt(np.diag(self.parameters.omega))

    def condition_number(self) -> float:
        """Of the correlation matrix of the estimates that have a standard error: the ratio of its largest to
        its smallest eigenvalue."""
        free = _free(self.parameters, self.fixed)
        covariance = self.covariance()[np.ix_(free, free)]
        known = ~np.isnan(np.diag(covariance))
        if not known.any():
            return float("inf")
        covariance = covariance[np.ix_(known, known)]
        sd = np.sqrt(np.diag(covariance))
        values = np.linalg.eigvalsh(covariance / np.outer(sd, sd))
        return float(values[-1] / values[0]) if values[0] > 0 else float("inf")

    def table(self, kind: str = "hessian") -> pd.DataFrame:
        """One row per parameter: estimate, standard error, RSE %, 95 % interval, BSV CV %, shrinkage %.

        Intervals are symmetric on the unconstrained scale where a parameter has one of its own there, so
        that a variance has a positive interval. The between-subject CV is that of the individual parameter
        that the random effect changes (`coefficients_of_variation`).
        """
        se = self.standard_errors(kind) if self.hessian is not None else np.nan
        return estimate_table(
            self.model, self.parameters, self.typical_covariates, se, self.shrinkage(), self.fixed
        )

    def summary(self, kind: str = "hessian") -> str:
        """The table and the objective as text, as population PK programs print them."""
        head = [
            f"{self.method.upper()}: {self.verdict}",
            f"OFV {self.objective:.4f}   -2 log likelihood {self.minus_two_log_likelihood:.4f}   "
            f"{self.n_observations} observations, {len(self.eta)} subjects, {self.n_evaluations} evaluations",
        ]
        if self.hessian is not None and self.hessian.size:
            head.append(f"condition number {self.condition_number():.4g}   standard errors: {kind}")
        body = self.table(kind).to_string(index=False, float_format=lambda v: f"{v:.5g}", na_rep="")
        return "\n".join([*head, body])

    def standard_errors(self, kind: str = "hessian") -> Float64[np.ndarray, " p"]:
        """Standard errors on the natural scale, in the order of `parameters.natural()`; NaN for what is
        fixed.

        `kind` is "hessian" (the inverse observed information) or "sandwich". Raises ValueError for another
        kind, or if the fit was made without covariance.
        """
        covariance = self.covariance(kind)
        slope = np.asarray(_natural_slope(self.parameters, self.parameters.to_vector()))
        variance = np.einsum("ni,ij,nj->n", slope, np.nan_to_num(covariance), slope)
        value = np.abs(_natural_vector(self.parameters, self.parameters.to_vector()))
        # Entries that have no error matter only to the values that they change.
        unknown = np.isnan(np.diag(covariance)) * self.units
        touched = np.abs(slope) @ unknown > _GIVEN * value
        return np.where(touched, np.nan, np.sqrt(np.maximum(variance, 0)))

    def covariance(self, kind: str = "hessian") -> Float64[np.ndarray, "p p"]:
        """Covariance of the estimates on the unconstrained scale, NaN for what is fixed and for what the
        records do not determine."""
        if kind not in ("hessian", "sandwich"):
            raise ValueError(f"kind must be hessian or sandwich, got {kind!r}")
        if self.hessian is None:
            raise ValueError("this fit was made with covariance=False and has no standard errors")
        free = _free(self.parameters, self.fixed)
        covariance = np.full((free.size, free.size), np.nan)
        if not np.all(np.isfinite(self.hessian)):  # the OFV has no second derivatives where the fit ended
            return covariance
        unit = self.units[free]
        bread = 2 * Curvature.of(self.hessian * np.outer(unit, unit)).inverse()  # OFV = −2 ln L
        bread = bread * np.outer(unit, unit)
        if kind == "sandwich":
            scores = self.scores[free] / 2
            known = ~np.isnan(np.diag(bread))
            meat = (scores @ scores.T)[np.ix_(known, known)]
            inner = bread[np.ix_(known, known)]
            bread[np.ix_(known, known)] = inner @ meat @ inner
        covariance[np.ix_(free, free)] = bread
        return covariance


@overload  # they are str too, which no other method can say
def fit_population(  # type: ignore[overload-overlap]
    model: OdeModel | ClosedFormModel,
    records: Records,
    initial: Parameters,
    *,
    method: Literal["elbo", "vae"],
) -> VariationalFit: ...


@overload
def fit_population(
    model: OdeModel | ClosedFormModel,
    records: Records,
    initial: Parameters,
    *,
    method: str = "focei",
    fixed: tuple[str, ...] = (),
    bounds: Mapping[str, tuple[float | int, float | int]] | None = None,
    priors: Mapping[str, Prior] | None = None,
    covariance: bool = True,
    max_iterations: int = 200,
    report=None,
) -> PopulationFit: ...


def fit_population(
    model: OdeModel | ClosedFormModel,
    records: Records,
    initial: Parameters,
    *,
    method: str = "focei",
    fixed: tuple[str, ...] = (),
    bounds: Mapping[str, tuple[float | int, float | int]] | None = None,
    priors: Mapping[str, Prior] | None = None,
    covariance: bool = True,
    max_iterations: int = 200,
    report=None,
) -> PopulationFit | VariationalFit:
    """Minimise the OFV over the population parameters, from `initial`.

    Where subjects are many, a few of them, evenly spread, bring the parameters close first. `fixed` names
    entries of `parameters.natural()` that keep their initial value; `bounds` and `priors` are of fixed
    effects and residual standard deviations, by the same names. The objective is then the OFV with −2 ln of
    the priors' densities, constants apart. `covariance=False` leaves out the standard errors and halves the
    cost of the last step; `report(iteration, ofv)` is called as the fit goes.
    `converged` means that the OFV has a minimum there, by its Hessian.

    Methods "elbo" and "vae" raise a variational bound instead (`variational.fit_variational`, which has more
    settings) and train the networks of the model; the other methods leave their weights as they are. The
    posterior of each subject is its own with "elbo", and comes from an encoder with "vae".

    Raises ValueError if the arguments do not fit together, nothing was observed, or the OFV cannot be
    computed at the initial values.
    """
    if method in VARIATIONAL:
        if fixed or bounds or priors:
            raise UserError(f"bounds, priors and fixed are not used by method {method}; use focei")
        return fit_variational(model, records, initial, encoder_width=VARIATIONAL[method], report=report)
    check_method(method)
    check_records(model, initial, records)
    lanes = observed_lanes_of(model, records)
    if not lanes.present.any():
        raise UserError("no subject has an observation, so there is nothing to fit")
    initial = initial.concrete()
    free = _free(initial, fixed)
    constraints = Constraints.of(initial, free, bounds or {}, priors or {})
    whole = _Objective(model, initial, lanes, method, free, constraints)
    whole.name = records.design.name
    x = whole.start
    n = len(records.observation)
    if n >= 2 * _SCOUTS and free.any():
        scouts = lanes.select(np.linspace(0, n - 1, _SCOUTS).round().astype(int))
        few = _Objective(model, initial, scouts, method, free, constraints)
        if np.all(np.isfinite(few.at(x).ofv)):
            few.choose_units()
            found = _minimise(few, few.start, _SCOUT_GRADIENT, max_iterations)
            if not found.success:  # A line search cannot always do without what it may not see.
                found = _minimise(few, few.start, _SCOUT_GRADIENT, max_iterations, farthest=np.inf)
            x = found.x * few.units
    if not np.all(np.isfinite(whole.at(x).ofv)):
        x = whole.start
        if not np.all(finite := np.isfinite(whole.at(x).ofv)):
            raise UserError(
                f"the OFV of subject {records.design.name(int(np.argmin(finite)))} cannot be computed at the "
                f"initial values: {_cause(model, initial, lanes, records.design, int(np.argmin(finite)))}"
            )
    whole.choose_units(x)
    x, verdict = _search(whole, x / whole.units, max_iterations, report, covariance)
    at, parameters = whole.at(x), whole.parameters(x)
    eta = at.eta if method != "fo" else _posthoc(model, parameters, lanes)
    if (subject := not_steady(model, parameters, records.design, eta)) is not None:
        sentence = f"not converged: {unsteady_in_words(records.design, subject)}"
        verdict = verdict._replace(converged=False, sentence=sentence)
    ofv = float(at.ofv.sum())
    penalty, slope = whole.penalty(x)
    n_observations = int(lanes.present.sum())
    n_exact = (
        n_observations if lanes.bounds is None else int(np.sum(lanes.present & np.isnan(lanes.bounds.low)))
    )
    units = np.ones(free.size)
    units[free] = whole.units * whole.stretch(x)
    return PopulationFit(
        parameters,
        ofv + penalty,
        ofv + n_exact * _LOG_2PI,
        method,
        verdict.converged,
        verdict.sentence,
        whole.n_evaluations,
        n_observations,
        at.gradient[free].sum(axis=1) + slope,
        verdict.hessian / np.outer(units[free], units[free]) if covariance else None,
        units,
        at.gradient,
        eta,
        tuple(fixed),
        model,
        typical_covariates(records.design),
        dict(bounds or {}),
        dict(priors or {}),
    )


def estimate_table(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    covariates: dict[str, float],
    se: Float64[np.ndarray, " p"] | float,
    shrinkage: Float64[np.ndarray, " k"],
    fixed: tuple[str, ...] = (),
) -> pd.DataFrame:
    """The table of `PopulationFit.table`, from standard errors in the order of `parameters.natural()`.

    `covariates` are typical ones, and `shrinkage` is that of each random effect.
    """
    natural = parameters.natural()
    rows = pd.DataFrame({"parameter": list(natural), "estimate": [float(v) for v in natural.values()]})
    rows["se"] = se
    rows["rse_percent"] = 100 * rows["se"] / rows["estimate"].abs()
    # A positive quantity v has the delta-method error se/v on the scale of ln v.
    names = dict(parameters.domains)
    k = len(parameters.random_effects)
    diagonal = {f"omega({r},{r})": i for i, r in enumerate(parameters.random_effects)}
    logarithmic = np.array(
        [names.get(n) == "positive" or n in diagonal or n.startswith("residual ") for n in natural]
    )
    factor = np.exp(1.96 * rows["se"] / rows["estimate"].abs())
    rows["ci_low"] = np.where(logarithmic, rows["estimate"] / factor, rows["estimate"] - 1.96 * rows["se"])
    rows["ci_high"] = np.where(logarithmic, rows["estimate"] * factor, rows["estimate"] + 1.96 * rows["se"])
    which = [diagonal.get(n, k) for n in natural]
    cv = coefficients_of_variation(model, parameters, covariates)
    cv = np.append(100 * cv, np.nan)
    rows["bsv_cv_percent"] = cv[which]
    rows["shrinkage_percent"] = np.append(100 * shrinkage, np.nan)[which]
    rows["fixed"] = [n in fixed for n in natural]
    return rows


def typical_covariates(design: Design) -> dict[str, float]:
    """The median of each covariate over subjects."""
    changing = {} if design.varying is None else design.varying.value
    return {name: float(np.median(value)) for name, value in (*design.covariates.items(), *changing.items())}


def _posthoc(model, parameters: Parameters, lanes: ObservedLanes) -> Float64[np.ndarray, "subject k"]:
    """Empirical Bayes estimates after FO, which itself looks at η = 0 alone."""
    return estimate(model, parameters, lanes, True, hessian=False).eta


def _cause(model, parameters: Parameters, lanes: ObservedLanes, design: Design, subject: int) -> str:
    """Why a subject has no OFV, in words: what goes wrong at η = 0."""
    one = lanes.select(np.array([subject]))
    eta = np.zeros((parameters.omega.shape[0], 1))
    program = partial(predict_program, model, parameters.theta, DEFAULT)
    found = map_lanes(program, 1, lambda index: (eta[:, index], one.select(index)))
    if failure := Failure(int(found.failure[0])):
        return f"{failure.sentence}; choose other initial values"
    residual, f = parameters.residual.of(one.output), found.prediction
    transformed, variance = (np.asarray(part(f))[:, 0] for part in (residual.transform, residual.variance))
    for what, unusable, advice in (
        ("the residual variance is 0", ~(variance > 0), "add an additive error"),
        ("the prediction has no logarithm", ~np.isfinite(transformed), "choose another residual error"),
    ):
        if (of_it := one.present[:, 0] & unusable).any():
            j, row = int(np.argmax(of_it)), 0 if design.shared else subject
            return (
                f"{what} at its observation {j + 1}, at {design.time_h[row, j]:g} h"
                f"{in_table(design.observation_line, row, j)}, where the prediction is {f[j, 0]:g}; "
                f"leave that row out (MDV = 1) or {advice}"
            )
    return "no mode of its random effects was found; choose other initial values"


class _Objective:
    """The OFV of some subjects as a function of the free entries of the unconstrained vector.

    Entries are counted in `units`: 1 for a logarithm; for the others, whose unit is the user's, a standard
    error. Steps, differences and tolerances are then the same for all.
    """

    def __init__(
        self, model, initial: Parameters, lanes, method: str, free: np.ndarray, constraints: Constraints
    ):
        self._problem = model, lanes, method
        self.conditional = method != "fo"  # whether the OFV is taken at the modes of the random effects
        self._initial, self.free = initial, free
        self._last: tuple[bytes, Marginal] | None = None
        self.n_evaluations = 0
        self.name: Callable[[int], str] = str  # of a subject, for messages
        self.n_subjects = lanes.y.shape[1]
        self.units = np.ones(int(free.sum()))
        self._constraints = constraints
        self.logarithms = initial.logarithms()[free] | constraints.bounded

    @property
    def start(self) -> Float64[np.ndarray, " free"]:
        """The initial values."""
        return self.coordinates(self._initial.to_vector())

    def choose_units(self, x=None) -> None:
        """Count what is no logarithm in standard errors, as the subjects' gradients at `x` suggest them."""
        scores = self.scores(self.start if x is None else x)
        size = np.sqrt(np.sum(np.square(scores / 2), axis=1))
        usable = ~self.logarithms & (size > 0) & np.isfinite(size)
        self.units = np.where(usable, 1 / np.where(usable, size, 1.0), 1.0)
        if usable.any() and self._last is not None:
            key, at = self._last
            self._last = (np.frombuffer(key) / self.units).tobytes(), at

    def parameters(self, x) -> Parameters:
        vector = self._initial.to_vector()
        vector[self.free] = self._constraints.inside(x * self.units)
        return self._initial.from_vector(vector).concrete()

    def coordinates(self, vector) -> Float64[np.ndarray, " free"]:
        """Where an unconstrained vector of parameters is."""
        return self._constraints.unbounded(vector[self.free]) / self.units

    def stretch(self, x) -> Float64[np.ndarray, " free"]:
        """By how much bounds stretch each entry: the derivative of the unconstrained vector; 1 without a
        bound, and at one."""
        at = self.at_bounds(x)
        reached = np.array([name in at for name in self._constraints.names], dtype=bool)
        return np.where(reached, 1.0, self._constraints.slope(x * self.units))

    def penalty(self, x) -> tuple[float, Float64[np.ndarray, " free"]]:
        """−2 ln of the priors, and its derivative in the unconstrained vector."""
        return self._constraints.penalty(self._constraints.inside(x * self.units))

    def at_bounds(self, x) -> dict[str, str]:
        """The parameters that are at a bound, in words."""
        return self._constraints.reached(self._constraints.inside(x * self.units))

    def scores(self, x) -> Float64[np.ndarray, "free subject"]:
        """Each subject's gradient."""
        inner = self._constraints.slope(x * self.units) * self.units
        return self.at(x).gradient[self.free] * inner[:, None]

    def at(self, x) -> Marginal:
        """Every subject's OFV and gradient; the optimizer asks twice for the same point."""
        key = np.asarray(x).tobytes()
        if self._last is None or key != self._last[0]:
            self._last = key, self._evaluate(x)
        return self._last[1]

    def slope(self, x) -> tuple[float, Float64[np.ndarray, " free"]]:
        """The OFV and its gradient.

        Infinity where the OFV of a subject cannot be computed, so that the search turns back.
        """
        at = self.at(x)
        value = float(np.sum(at.ofv)) + self.penalty(x)[0]
        if not np.isfinite(value) or not np.all(np.isfinite(at.gradient)):
            return np.inf, np.zeros(len(x))
        return value, self._sum(at, x)

    def hessian(self, x, central: bool = True) -> Float64[np.ndarray, "free free"]:
        """Differences of the exact gradient, each mode followed from where it is at `x`; forward differences
        cost half."""
        here = self.at(x)

        def gradient(x):
            return self._sum(self._evaluate(x, here.eta), x)

        steps = _STEP * np.eye(len(x))
        if central:
            rows = [(gradient(x + step) - gradient(x - step)) / (2 * _STEP) for step in steps]
        else:
            # The mode is followed here too, so that both gradients have the same error of the mode.
            base = gradient(x)
            rows = [(gradient(x + step) - base) / _STEP for step in steps]
        square = np.array(rows).reshape(len(x), len(x))
        return (square + square.T) / 2

    def _sum(self, at: Marginal, x) -> Float64[np.ndarray, " free"]:
        gradient = at.gradient[self.free].sum(axis=1) + self.penalty(x)[1]
        return gradient * self._constraints.slope(x * self.units) * self.units

    def _evaluate(self, x, near=None) -> Marginal:
        self.n_evaluations += 1
        model, lanes, method = self._problem
        return marginal(model, self.parameters(x), lanes, method, gradient=True, near=near)


class _Verdict(NamedTuple):
    """Whether the fit converged, why in words, and the Hessian that says so."""

    converged: bool
    sentence: str
    hessian: Float64[np.ndarray, "free free"]


def _search(objective: _Objective, x, max_iterations: int, report, central: bool):
    """The minimum near `x`, and the verdict on it.

    A quasi-Newton search that ends elsewhere than in a minimum goes on from a Newton step with the Hessian.
    """
    if not len(x):
        return x, _Verdict(True, "every parameter is fixed: nothing was estimated", np.zeros((0, 0)))
    inverse, n_iterations, gain = None, 0, np.inf

    def count(_, ofv):
        nonlocal n_iterations
        n_iterations += 1
        if report is not None:
            report(n_iterations, ofv)

    for _ in range(_ROUNDS):
        found = _minimise(objective, x, _GRADIENT, max_iterations - n_iterations, count, inverse=inverse)
        x = _inside(objective, found.x)
        verdict = _verdict(objective, x, objective.hessian(x, central), n_iterations, max_iterations)
        if verdict.converged or n_iterations >= max_iterations or not np.all(np.isfinite(verdict.hessian)):
            break
        if found.nit == 0 and gain < _WORTH:  # for instance where modes end: the OFV has a cliff there
            break
        inverse = Curvature.of(verdict.hessian).descent()
        # BFGS needs a positive definite matrix: directions without curvature get a little.
        inverse = inverse + 1e-9 * np.trace(inverse) / len(x) * np.eye(len(x))
        value, slope = objective.slope(x)
        step = _bounded(objective, -inverse @ slope)
        for _ in range(_HALVINGS):
            lower = objective.slope(x + step)[0]
            if lower < value - _LEAST_GAIN:
                break
            step = step / 4
        else:
            break
        x, gain = x + step, value - lower
        count(None, lower)
    return x, verdict


def _inside(objective: _Objective, x):
    """x, moved off the edge where random effects are fully correlated, unless this raises the OFV.

    Ω⁻¹ grows without bound there, and rounding errors of the OFV's derivatives with it.
    """
    parameters = objective.parameters(x)
    names = list(parameters.natural())
    vector = parameters.to_vector()
    for block in parameters.blocks:
        for i in block:
            name = parameters.random_effects[i]
            at = names.index(f"omega({name},{name})")
            vector[at] = max(vector[at], np.log(_EDGE * np.sqrt(parameters.omega[i, i])))
    moved = np.where(objective.logarithms, objective.coordinates(vector), x)
    if np.array_equal(moved, x):
        return x
    return moved if objective.slope(moved)[0] < objective.slope(x)[0] + _DECREMENT_TOLERANCE else x


def _bounded(objective: _Objective, step):
    """The step, shortened so that no logarithm changes by more than `_FARTHEST`."""
    largest = np.abs(step[objective.logarithms]).max(initial=0.0)
    return step * min(1.0, _FARTHEST / max(largest, 1e-300))


def _minimise(
    objective: _Objective,
    x,
    gradient: float,
    max_iterations: int,
    report=None,
    *,
    farthest: float = _FARTHEST,
    inverse=None,
):
    """BFGS from `x` until the OFV's gradient is below `gradient` times the root of the number of subjects.

    A trial step that changes a logarithm by more than `farthest` is refused without a computation: the OFV is
    unknown that far away, and modes that do not exist are sought a hundred times longer than others.
    `inverse` is a guess of the inverse Hessian.
    """
    here = x

    def slope(trial):
        if np.any(np.abs(trial - here)[objective.logarithms] > farthest):
            return np.inf, np.zeros(len(trial))
        return objective.slope(trial)

    def callback(intermediate_result):
        nonlocal here
        here = intermediate_result.x.copy()
        if report is not None:
            report(None, float(intermediate_result.fun))

    if inverse is None:
        # Outer products of the subjects' gradients stand in for the Hessian at the start (BHHH).
        scores = objective.scores(x)
        guess = scores @ scores.T / 2
        inverse = np.linalg.inv(guess + max(1e-3 * np.trace(guess) / len(guess), 1e-300) * np.eye(len(guess)))
        inverse *= min(1.0, 1.0 / max(np.abs(inverse @ scores.sum(axis=1)).max(), 1e-300))
    return minimize(
        slope,
        x,
        jac=True,
        method="BFGS",
        callback=callback,
        options={
            # A gradient per standard error is smaller than one per unit of a parameter that is well known.
            "gtol": gradient * np.sqrt(objective.n_subjects) * (1.0 if objective.logarithms.all() else 0.03),
            "maxiter": max_iterations,
            "hess_inv0": (inverse + inverse.T) / 2,
        },
    )


def _verdict(objective: _Objective, x, hessian, n_iterations: int, max_iterations: int) -> _Verdict:
    """Whether x is a minimum."""
    at = objective.at(x)
    failed = np.flatnonzero(at.status == Status.FAILED)
    if len(failed):
        first = ", ".join(objective.name(i) for i in failed[:_MOST_NAMES])
        more = " and others" if len(failed) > _MOST_NAMES else ""
        sentence = f"no mode was found for {len(failed)} of {len(at.status)} subjects: {first}{more}"
        return _Verdict(False, f"not converged: {sentence}", hessian)
    if n_iterations >= max_iterations:
        return _Verdict(False, f"not converged: stopped after {n_iterations} iterations", hessian)
    if not np.all(np.isfinite(hessian)):
        return _Verdict(False, "not converged: the OFV has no second derivatives here", hessian)
    parameters = objective.parameters(x)
    slope = objective.slope(x)[1]
    names = np.array(list(parameters.natural()))[objective.free]
    gone = _vanished(parameters, at.eta if objective.conditional else None)
    # A standard deviation that tends to 0 lowers the OFV all the way, but less and less: there is no minimum
    # in its logarithm, and no curvature.
    zero = np.array([name in gone for name in names], dtype=bool) & (slope > -_DECREMENT_TOLERANCE)
    bound = objective.at_bounds(x)
    zero |= np.array([name in bound for name in names], dtype=bool)
    gone |= bound
    hessian = np.where(zero[:, None] | zero, 0.0, hessian)
    curvature = Curvature.of(hessian)
    if not curvature.positive:
        return _Verdict(False, "not converged: the Hessian of the OFV is not positive definite", hessian)
    decrement = curvature.decrement(np.where(zero, 0.0, slope))
    if decrement > _DECREMENT_TOLERANCE:
        sentence = f"a Newton step would still lower the OFV by {decrement:.1e}"
        return _Verdict(False, f"not converged: {sentence}", hessian)
    if (undetermined := curvature.open & ~zero).any():
        sentence = f"the records do not determine {', '.join(names[undetermined])}"
        return _Verdict(False, f"not converged: {sentence}", hessian)
    if zero.any():
        sentence = "; ".join(gone[name] for name in names[zero])
        return _Verdict(True, f"converged at the edge of what the parameters may be: {sentence}", hessian)
    condition = curvature.condition()
    if condition > 1e8:
        sentence = f"nearly singular: the condition number is {condition:.0e}"
        return _Verdict(True, f"converged, but {sentence}", hessian)
    return _Verdict(True, f"converged: a Newton step would lower the OFV by {decrement:.1e}", hessian)


def _vanished(parameters: Parameters, eta) -> dict[str, str]:
    """What is 0 in Ω, in words, by the name of its entry of the unconstrained vector.

    A variance is 0 if the estimates of its random effect are, where there are such estimates (FO has none);
    random effects are fully correlated if one is given by those before it in its block.
    """
    vanished = {}
    omega = np.asarray(parameters.omega)
    for block in parameters.blocks:
        factor = np.linalg.cholesky(omega[np.ix_(block, block)])
        for row, i in enumerate(block):
            name, sd = parameters.random_effects[i], np.sqrt(omega[i, i])
            if eta is not None and np.std(eta[:, i]) < (1 - _AT_ZERO) * sd:
                vanished[f"omega({name},{name})"] = f"the variance of {name} is 0 as far as the records tell"
            elif factor[row, row] < _GIVEN * sd:
                others = " and ".join(parameters.random_effects[j] for j in block[:row])
                vanished[f"omega({name},{name})"] = f"{name} is fully correlated with {others}"
    return vanished


def _free(parameters: Parameters, fixed: tuple[str, ...]) -> np.ndarray:
    """Which entries of the unconstrained vector are estimated.

    Raises UserError if a name is unknown, or if some but not all entries of a block of Ω are fixed: the fit
    works on the block's Cholesky factor, where an entry has no place of its own.
    """
    names = list(parameters.natural())
    if unknown := set(fixed) - set(names):
        raise UserError(
            f"fixed: there is no parameter {', '.join(sorted(unknown))}; there are {', '.join(names)}"
        )
    for block in parameters.blocks:
        effects = [parameters.random_effects[i] for i in block]
        entries = [f"omega({a},{b})" for i, a in enumerate(effects) for b in effects[: i + 1]]
        if 0 < len(set(entries) & set(fixed)) < len(entries):
            raise UserError(f"fixed: {', '.join(entries)} are one block of Ω; fix all of them or none")
    return np.array([name not in fixed for name in names])


def _natural_vector(structure: Parameters, vector):
    return jax.numpy.stack(list(structure.from_vector(vector).natural().values()))


@jax.jit
def _natural_slope(structure: Parameters, vector):
    """The derivatives of the natural parameters, one row each, in the entries of the unconstrained vector."""
    return jax.jacfwd(partial(_natural_vector, structure))(vector)
