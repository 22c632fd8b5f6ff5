"""Maximum-likelihood fit of a population model."""

from typing import NamedTuple

import jax
import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy.optimize import minimize

from covary.nlme.design import Records
from covary.nlme.empirical_bayes import Status
from covary.nlme.marginal import Marginal, check_method, marginal
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.parameters import Parameters
from covary.nlme.predict import check_model, lanes_of

_LOG_2PI = float(np.log(2 * np.pi))
_DECREMENT_TOLERANCE = 1e-4  # of the OFV: how much a Newton step could still lower it
_STEP = 1e-4  # of the finite differences of the exact gradient


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
        that a
        variance has a positive interval. The between-subject CV is that of a log-normal parameter.
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
        kind, or
        if the fit was made without covariance.
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

    `fixed` names entries of `parameters.natural()` that keep their initial value; `covariance=False` saves
    the Hessian;
    `report(iteration, ofv)` is called as the fit goes. Raises ValueError if the arguments do not fit
    together, or the
    OFV cannot be computed at the initial values.
    """
    check_method(method)
    check_model(model, initial, records.design)
    lanes = lanes_of(model, records)
    initial = initial.concrete()
    free = _free(initial, fixed)
    start = initial.to_vector()
    seen: dict[bytes, Marginal] = {}

    def evaluate(x) -> Marginal:
        vector = start.copy()
        vector[free] = x
        key = vector.tobytes()
        if key not in seen:
            seen.clear()
            seen[key] = marginal(model, initial.from_vector(vector).concrete(), lanes, method, gradient=True)
            evaluate.count += 1
        return seen[key]

    def function(x):
        at = evaluate(x)
        value = float(np.sum(at.ofv))
        # A failed subject has no OFV: the line search must come back from there.
        return (
            (value, at.gradient[free].sum(axis=1)) if np.isfinite(value) else (np.inf, np.zeros(free.sum()))
        )

    evaluate.count = 0
    first = evaluate(start[free])
    if not np.all(np.isfinite(first.ofv)):
        subject = records.design.name(int(np.argmax(~np.isfinite(first.ofv))))
        raise ValueError(
            f"the OFV of subject {subject} cannot be computed at the initial values; choose others"
        )
    n = lanes.y.shape[1]
    iterations = [0]

    def callback(intermediate_result):
        iterations[0] += 1
        if report is not None:
            report(iterations[0], float(intermediate_result.fun))

    # Outer products of the subjects' gradients stand in for the Hessian at the start (BHHH).
    scores = first.gradient[free]
    guess = scores @ scores.T / 2
    inverse = np.linalg.inv(guess + 1e-3 * np.trace(guess) / len(guess) * np.eye(len(guess)))
    inverse *= min(1.0, 1.0 / max(np.abs(inverse @ scores.sum(axis=1)).max(), 1e-300))
    result = minimize(
        function,
        start[free],
        jac=True,
        method="BFGS",
        callback=callback,
        options={
            "gtol": 1e-3 * np.sqrt(n),
            "maxiter": max_iterations,
            "hess_inv0": (inverse + inverse.T) / 2,
        },
    )
    at = evaluate(result.x)
    vector = start.copy()
    vector[free] = result.x
    hessian = _hessian(function, result.x) if covariance else None
    slope = at.gradient[free].sum(axis=1)
    ofv = float(at.ofv.sum())
    n_observations = int(lanes.present.sum())
    converged, verdict = _verdict(
        slope, hessian if covariance else np.linalg.inv(result.hess_inv), at, result.nit, max_iterations
    )
    return PopulationFit(
        initial.from_vector(vector).concrete(),
        ofv,
        ofv + n_observations * _LOG_2PI,
        method,
        converged,
        verdict,
        evaluate.count,
        n_observations,
        slope,
        hessian,
        at.gradient,
        at.eta,
        tuple(fixed),
    )


def _hessian(function, x) -> Float64[np.ndarray, "p p"]:
    """Central differences of the exact gradient."""
    steps = _STEP * np.eye(len(x))
    rows = np.array([(function(x + step)[1] - function(x - step)[1]) / (2 * _STEP) for step in steps])
    return (rows + rows.T) / 2


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
