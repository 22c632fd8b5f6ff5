"""Maximum-likelihood fit of a population model."""

from functools import partial
from itertools import count
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy.optimize import minimize

from covary.errors import UserError
from covary.nlme.blocks import map_lanes
from covary.nlme.check import check_model
from covary.nlme.design import Records
from covary.nlme.empirical_bayes import Status
from covary.nlme.lanes import Lanes, lanes_of, predict_program
from covary.nlme.marginal import Marginal, check_method, marginal
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.parameters import Parameters
from covary.nlme.solvers.lanes import DEFAULT, Failure

_LOG_2PI = float(np.log(2 * np.pi))
_DECREMENT_TOLERANCE = 1e-4  # of the OFV: how much a Newton step could still lower it
_STEP = 1e-4  # of the finite differences of the exact gradient
_SCOUTS = 200  # subjects that bring the parameters close
_FARTHEST = 2.0  # by how much one of their steps may change a logarithm
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
    scores: Float64[np.ndarray, "p subject"]  # each subject's gradient
    eta: Float64[np.ndarray, "subject k"]
    fixed: tuple[str, ...]

    def shrinkage(self) -> Float64[np.ndarray, " k"]:
        """1 − sd(η̂)/ω of each random effect."""
        return 1 - np.std(self.eta, axis=0, ddof=1) / np.sqrt(np.diag(self.parameters.omega))

    def condition_number(self) -> float:
        """Of the correlation matrix of the estimates: the ratio of its largest to its smallest eigenvalue."""
        free = _free(self.parameters, self.fixed)
        covariance = self.covariance()[np.ix_(free, free)]
        sd = np.sqrt(np.diag(covariance))
        values = np.linalg.eigvalsh(covariance / np.outer(sd, sd))
        return float(values[-1] / values[0]) if values[0] > 0 else float("inf")

    def table(self, kind: str = "hessian") -> pd.DataFrame:
        """One row a parameter: estimate, standard error, RSE %, 95 % interval, BSV CV %, shrinkage %.

        Intervals are symmetric on the unconstrained scale where a parameter has one of its own there, so
        that a variance has a positive interval. The between-subject CV is that of a log-normal parameter.
        """
        natural = self.parameters.natural()
        rows = pd.DataFrame({"parameter": list(natural), "estimate": [float(v) for v in natural.values()]})
        rows["se"] = self.standard_errors(kind) if self.hessian is not None else np.nan
        rows["rse_percent"] = 100 * rows["se"] / rows["estimate"].abs()
        # A positive quantity v has the delta-method error se/v on the scale of ln v.
        names = dict(self.parameters.domains)
        k = len(self.parameters.random_effects)
        diagonal = {f"omega({r},{r})": i for i, r in enumerate(self.parameters.random_effects)}
        logarithmic = np.array(
            [names.get(n) == "positive" or n in diagonal or n.startswith("residual ") for n in natural]
        )
        factor = np.exp(1.96 * rows["se"] / rows["estimate"].abs())
        rows["ci_low"] = np.where(
            logarithmic, rows["estimate"] / factor, rows["estimate"] - 1.96 * rows["se"]
        )
        rows["ci_high"] = np.where(
            logarithmic, rows["estimate"] * factor, rows["estimate"] + 1.96 * rows["se"]
        )
        which = [diagonal.get(n, k) for n in natural]
        cv = np.append(100 * np.sqrt(np.expm1(np.diag(self.parameters.omega))), np.nan)
        rows["bsv_cv_percent"] = cv[which]
        rows["shrinkage_percent"] = np.append(100 * self.shrinkage(), np.nan)[which]
        rows["fixed"] = [n in self.fixed for n in natural]
        return rows

    def summary(self, kind: str = "hessian") -> str:
        """The table and the objective as text, as population PK programs print them."""
        head = [
            f"{self.method.upper()}: {self.verdict}",
            f"OFV {self.objective:.4f}   -2 log likelihood {self.minus_two_log_likelihood:.4f}   "
            f"{self.n_observations} observations, {len(self.eta)} subjects, {self.n_evaluations} evaluations",
        ]
        if self.hessian is not None:
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
        slope = np.asarray(
            jax.jacfwd(lambda v: _natural_vector(self.parameters, v))(self.parameters.to_vector())
        )
        variance = np.einsum("ni,ij,nj->n", slope, np.nan_to_num(covariance), slope)
        return np.where(
            np.abs(slope) @ np.isnan(np.diag(covariance)) > 0, np.nan, np.sqrt(np.maximum(variance, 0))
        )

    def covariance(self, kind: str = "hessian") -> Float64[np.ndarray, "p p"]:
        """Covariance of the estimates on the unconstrained scale, NaN for what is fixed."""
        if kind not in ("hessian", "sandwich"):
            raise ValueError(f"kind must be hessian or sandwich, got {kind!r}")
        if self.hessian is None:
            raise ValueError("this fit was made with covariance=False and has no standard errors")
        free = _free(self.parameters, self.fixed)
        bread = np.linalg.pinv(self.hessian / 2, hermitian=True)  # of −ln L
        if kind == "sandwich":
            scores = self.scores[free] / 2
            bread = bread @ (scores @ scores.T) @ bread
        covariance = np.full((free.size, free.size), np.nan)
        covariance[np.ix_(free, free)] = bread
        return covariance


def fit_population(
    model: OdeModel | ClosedFormModel,
    records: Records,
    initial: Parameters,
    *,
    method: str = "focei",
    fixed: tuple[str, ...] = (),
    covariance: bool = True,
    max_iterations: int = 200,
    report=None,
) -> PopulationFit:
    """Minimise the OFV over the population parameters, from `initial`.

    Where subjects are many, a few of them, evenly spread, bring the parameters close first. `fixed` names
    entries of `parameters.natural()` that keep their initial value; `covariance=False` saves the Hessian;
    `report(iteration, ofv)` is called as the fit goes. Raises ValueError if the arguments do not fit
    together, or the OFV cannot be computed at the initial values.
    """
    check_method(method)
    check_model(model, initial, records.design)
    lanes = lanes_of(model, records)
    initial = initial.concrete()
    free = _free(initial, fixed)
    whole = _Objective(model, initial, lanes, method, free)
    x = initial.to_vector()[free]
    n = len(records.observation)
    if n >= 2 * _SCOUTS:
        scouts = lanes.select(np.linspace(0, n - 1, _SCOUTS).round().astype(int))
        few = _Objective(model, initial, scouts, method, free)
        if np.all(np.isfinite(few.at(x).ofv)):
            found = _minimise(few, x, _SCOUT_GRADIENT, max_iterations, farthest=_FARTHEST)
            if not found.success:  # The line search may need a step that `farthest` refuses: do without it.
                found = _minimise(few, x, _SCOUT_GRADIENT, max_iterations)
            x = found.x
    if not np.all(np.isfinite(whole.at(x).ofv)):
        x = initial.to_vector()[free]
        if not np.all(finite := np.isfinite(whole.at(x).ofv)):
            raise UserError(
                f"the OFV of subject {records.design.name(int(np.argmin(finite)))} cannot be computed at the "
                f"initial values: {_cause(model, initial, lanes, int(np.argmin(finite)))}"
            )
    result = _minimise(whole, x, _GRADIENT, max_iterations, report)
    at = whole.at(result.x)
    hessian = whole.hessian(result.x) if covariance else None
    slope = at.gradient[free].sum(axis=1)
    ofv = float(at.ofv.sum())
    n_observations = int(lanes.present.sum())
    n_exact = (
        n_observations if lanes.bounds is None else int(np.sum(lanes.present & np.isnan(lanes.bounds.low)))
    )
    converged, verdict = _verdict(
        slope, hessian if covariance else np.linalg.inv(result.hess_inv), at, result.nit, max_iterations
    )
    return PopulationFit(
        whole.parameters(result.x),
        ofv,
        ofv + n_exact * _LOG_2PI,
        method,
        converged,
        verdict,
        whole.n_evaluations,
        n_observations,
        slope,
        hessian,
        at.gradient,
        at.eta,
        tuple(fixed),
    )


def _cause(model, parameters: Parameters, lanes: Lanes, subject: int) -> str:
    """Why a subject has no OFV, in words: what fails at η = 0, where every search for its mode starts."""
    one = lanes.select(np.array([subject]))
    eta = np.zeros((parameters.omega.shape[0], 1))
    program = partial(predict_program, model, parameters.theta, DEFAULT)
    found = map_lanes(program, 1, lambda index: (eta[:, index], one.select(index)))
    if failure := Failure(int(found.failure[0])):
        return f"{failure.sentence}; choose other initial values"
    variance = np.asarray(parameters.residual.of(one.output).variance(found.prediction))[:, 0]
    unusable = one.present[:, 0] & ~(variance > 0)
    if unusable.any():
        return (
            f"the residual variance is 0 at its observation {int(np.argmax(unusable)) + 1}, where the "
            "prediction is 0; leave that row out (MDV = 1) or add an additive error"
        )
    return "no mode of its random effects was found; choose other initial values"


class _Objective:
    """The OFV of some subjects as a function of the free entries of the unconstrained vector."""

    def __init__(self, model, initial: Parameters, lanes, method: str, free: np.ndarray):
        self._problem = model, lanes, method
        self._initial, self.free = initial, free
        self._last: tuple[bytes, Marginal] = b"", None
        self.n_evaluations = 0
        self.n_subjects = lanes.y.shape[1]

    def parameters(self, x) -> Parameters:
        vector = self._initial.to_vector()
        vector[self.free] = x
        return self._initial.from_vector(vector).concrete()

    def at(self, x) -> Marginal:
        """Every subject's OFV and gradient; the optimizer asks twice for the same point."""
        key = np.asarray(x).tobytes()
        if key != self._last[0]:
            self._last = key, self._evaluate(x)
        return self._last[1]

    def slope(self, x) -> tuple[float, Float64[np.ndarray, " free"]]:
        """The OFV and its gradient. Where a subject fails there is no OFV: the search must come back."""
        at = self.at(x)
        value = float(np.sum(at.ofv))
        if not np.isfinite(value):
            return np.inf, np.zeros(len(x))
        return value, at.gradient[self.free].sum(axis=1)

    def hessian(self, x) -> Float64[np.ndarray, "free free"]:
        """Central differences of the exact gradient, each mode followed from where it is at `x`."""
        near = self.at(x).eta

        def gradient(x):
            return self._evaluate(x, near).gradient[self.free].sum(axis=1)

        steps = _STEP * np.eye(len(x))
        rows = np.array([(gradient(x + step) - gradient(x - step)) / (2 * _STEP) for step in steps])
        return (rows + rows.T) / 2

    def _evaluate(self, x, near=None) -> Marginal:
        self.n_evaluations += 1
        model, lanes, method = self._problem
        return marginal(model, self.parameters(x), lanes, method, gradient=True, near=near)


def _minimise(
    objective: _Objective, x, gradient: float, max_iterations: int, report=None, farthest: float = np.inf
):
    """BFGS from `x` until the OFV's gradient is below `gradient` times the root of the number of subjects.

    A trial step that changes a logarithm by more than `farthest` is refused unseen: BFGS knows nothing of the
    OFV there, and modes that do not exist are sought a hundred times longer than others.
    """
    iterations, here = count(1), x
    logarithms = objective.parameters(x).logarithms()[objective.free]

    def slope(trial):
        if np.any(np.abs(trial - here)[logarithms] > farthest):
            return np.inf, np.zeros(len(trial))
        return objective.slope(trial)

    def callback(intermediate_result):
        nonlocal here
        here = intermediate_result.x.copy()
        if report is not None:
            report(next(iterations), float(intermediate_result.fun))

    # Outer products of the subjects' gradients stand in for the Hessian at the start (BHHH).
    scores = objective.at(x).gradient[objective.free]
    guess = scores @ scores.T / 2
    inverse = np.linalg.inv(guess + 1e-3 * np.trace(guess) / len(guess) * np.eye(len(guess)))
    inverse *= min(1.0, 1.0 / max(np.abs(inverse @ scores.sum(axis=1)).max(), 1e-300))
    return minimize(
        slope,
        x,
        jac=True,
        method="BFGS",
        callback=callback,
        options={
            "gtol": gradient * np.sqrt(objective.n_subjects),
            "maxiter": max_iterations,
            "hess_inv0": (inverse + inverse.T) / 2,
        },
    )


def _verdict(slope, hessian, at: Marginal, n_iterations, max_iterations) -> tuple[bool, str]:
    """Whether the fit converged, and why in words."""
    failed = int(np.sum(at.status == Status.FAILED))
    if failed:
        return False, f"not converged: no mode was found for {failed} of {len(at.status)} subjects"
    if n_iterations >= max_iterations:
        return False, f"not converged: stopped after {n_iterations} iterations"
    values = np.linalg.eigvalsh(hessian)
    if values[0] <= 0:
        return (
            False,
            "not converged: the Hessian of the OFV is not positive definite",
        )
    decrement = float(slope @ np.linalg.solve(hessian, slope) / 2)
    if decrement > _DECREMENT_TOLERANCE:
        return False, f"not converged: a Newton step would still lower the OFV by {decrement:.1e}"
    condition = values[-1] / values[0]
    if condition > 1e8:
        return (
            True,
            f"converged, but nearly singular: the condition number is {condition:.0e}",
        )
    return True, f"converged: a Newton step would lower the OFV by {decrement:.1e}"


def _free(parameters: Parameters, fixed: tuple[str, ...]) -> np.ndarray:
    """Which entries of the unconstrained vector are estimated."""
    names = list(parameters.natural())
    if unknown := set(fixed) - set(names):
        raise ValueError(
            f"fixed: there is no parameter {', '.join(sorted(unknown))}; there are {', '.join(names)}"
        )
    return np.array([name not in fixed for name in names])


def _natural_vector(structure: Parameters, vector):
    return jax.numpy.stack(list(structure.from_vector(vector).natural().values()))
