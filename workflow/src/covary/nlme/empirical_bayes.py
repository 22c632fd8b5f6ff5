"""Empirical Bayes estimates: the mode of each subject's posterior p(η | y).

A fixed cloud of points is scanned for the best start; Levenberg-Marquardt with Gauss-Newton curvature gets
close, first with a coarse solver, then with the default one; exact Newton steps finish. Subjects that are
done leave the batch. Where a point of the cloud far from the mode is almost as good, the search starts again
from there.
"""

from enum import IntEnum
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Float64, Int8
from scipy.special import chdtri, ndtri

from covary.nlme import joint
from covary.nlme.arrays import Array
from covary.nlme.blocks import lane_program, map_lanes, take
from covary.nlme.check import check_model
from covary.nlme.design import Records
from covary.nlme.lane_algebra import eigh, inverse
from covary.nlme.lanes import ObservedLanes, observed_lanes_of, predict_program
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.parameters import Parameters
from covary.nlme.solvers.lanes import DEFAULT, Tolerance

GRADIENT_TOLERANCE = 1e-5
_COARSE = Tolerance(1e-3, 1e-4)
_COARSE_ROUNDS, _FINE_ROUNDS, _NEWTON_ROUNDS = 15, 2, 40
_COARSE_DECREMENT = 1e-4  # of Φ; what is left after it is for the default tolerance
_CLOUD_SHARED, _CLOUD_RAGGED = 1024, 64  # a shared design needs the cloud's predictions only once
# A point of the cloud this far from the mode (in standard deviations) and almost as good may belong to a
# better mode.
_RIVAL_DISTANCE, _RIVAL_MARGIN = 1.0, 0.3
_POOR_FIT = 1e-3  # tail probability of the sum of squared weighted residuals below which a mode is suspect
_MAX_STEP = 3.0  # in standard deviations of the random effects


class Status(IntEnum):
    """How an estimation ended."""

    CONVERGED = 0
    LOCAL_MODE_SUSPECTED = 1  # converged, but the record fits worse there than chance allows
    FAILED = 2  # no mode found: the gradient did not vanish, or the curvature there is not positive


class EmpiricalBayes(NamedTuple):
    """The mode of each subject, the Hessian of Φ there, Φ itself and how the search ended."""

    eta: Float64[np.ndarray, "subject k"]
    precision: Float64[np.ndarray, "subject k k"]
    objective: Float64[np.ndarray, " subject"]
    gradient_norm: Float64[np.ndarray, " subject"]
    status: Int8[np.ndarray, " subject"]


class _Search(NamedTuple):
    eta: Float[Array, "k lane"]
    at: joint.Expansion
    damping: Float[Array, " lane"]


def empirical_bayes(
    model: OdeModel | ClosedFormModel, parameters: Parameters, records: Records, *, interaction: bool = True
) -> EmpiricalBayes:
    """Empirical Bayes estimates of every subject.

    `interaction=False` freezes the residual variance at eta = 0, as FOCE does. A converged subject has
    |∇Φ| ≤ 1e-5. Raises ValueError if records, model and parameters do not fit together.
    """
    check_model(model, parameters, records.design)
    lanes = observed_lanes_of(model, records)
    return estimate(model, parameters.concrete(), lanes, interaction)


def estimate(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    lanes: ObservedLanes,
    interaction: bool,
    *,
    goal: float = GRADIENT_TOLERANCE,
    hessian: bool = True,
    near: Float64[np.ndarray, "subject k"] | None = None,
) -> EmpiricalBayes:
    """`empirical_bayes` for subjects that are lanes already.

    The search goes on, within reason, until |∇Φ| ≤ `goal`. Without `hessian` the precision may be
    Gauss-Newton's. `near` are modes under almost the same parameters: the search follows those and looks for
    no others.
    """
    frozen = _frozen(model, parameters, lanes, interaction)
    n = lanes.y.shape[1]
    everyone = np.arange(n)
    if near is not None:
        start = np.ascontiguousarray(near.T)
        found = _minimise(model, parameters, lanes, frozen, everyone, start, goal, hessian, coarse=False)
    else:
        starts = _Starts(model, parameters, lanes, frozen)
        first, cost = starts.best(everyone)
        order = np.argsort(cost, kind="stable")  # subjects that take equally many steps side by side
        found = _minimise(model, parameters, lanes, frozen, order, first[:, order], goal, hessian)
        found = take(found, np.argsort(order))
        rivals, rival_scores = starts.rivals(everyone, found.eta)
        suspects = np.flatnonzero((rival_scores < found.at.value + _RIVAL_MARGIN) | ~_is_mode(found.at))
        if suspects.size:
            start = rivals[:, suspects]
            retried = _minimise(model, parameters, lanes, frozen, suspects, start, goal, hessian)
            found = _keep_better(found, retried, suspects)
    poor = _poorly_fitted(model, parameters, lanes, frozen, found.eta) if hessian else np.zeros(n, dtype=bool)
    status = np.where(
        _is_mode(found.at), np.where(poor, Status.LOCAL_MODE_SUSPECTED, Status.CONVERGED), Status.FAILED
    )
    return EmpiricalBayes(
        found.eta.T.copy(),
        np.moveaxis(found.at.curvature, -1, 0).copy(),
        found.at.value,
        np.linalg.norm(found.at.gradient, axis=0),
        status.astype(np.int8),
    )


def _minimise(
    model, parameters, lanes, frozen, subject, eta, goal, hessian, *, coarse: bool = True
) -> _Search:
    """Search from each start; lane i of the result belongs to `subject[i]`."""
    n = len(subject)
    k = eta.shape[0]
    unknown = joint.Expansion(np.full(n, np.inf), np.zeros((k, n)), np.tile(np.eye(k)[..., None], n))
    search = _Search(eta, unknown, np.full(n, 1e-3))

    def run(rounds, expand, tolerance, finished, active):
        nonlocal search
        if not active.size:
            return
        # The stage before had another tolerance. Its step is still good; its value of Φ cannot be compared.
        search.at.value[active] = np.inf
        for _ in range(rounds):

            def select(index, active=active, search=search):
                chosen = active[index]
                return take(search, chosen), lanes.select(subject[chosen]), take(frozen, subject[chosen])

            update = map_lanes(partial(_advance, expand, model, parameters, tolerance), len(active), select)
            search = jax.tree.map(partial(_put, active), search, update)
            active = active[~finished(take(search, active))]
            if not active.size:
                return

    if coarse:
        run(
            _COARSE_ROUNDS,
            joint.gauss_newton,
            _COARSE,
            lambda s: _decrement(s.at) < _COARSE_DECREMENT,
            np.arange(n),
        )
    search = search._replace(damping=np.full(n, 1e-6))
    run(_FINE_ROUNDS, joint.gauss_newton, DEFAULT, lambda s: _gradient_norm(s.at) <= goal, np.arange(n))
    rest = np.arange(n) if hessian else np.flatnonzero(~_is_mode(search.at, goal))
    run(_NEWTON_ROUNDS, joint.exact, DEFAULT, lambda s: _is_mode(s.at, goal) | _stuck(s), rest)
    return search


@lane_program(n_shared=4, static_argnums=(0,))
def _advance(expand, model, parameters, tolerance, search: _Search, lanes, frozen) -> _Search:
    """One Levenberg-Marquardt round: try a step, keep it if Φ falls."""
    at = search.at
    step = _damped_step(at, search.damping, parameters.omega)
    trial = search.eta + step
    new = expand(model, parameters, trial, lanes, frozen, tolerance)
    gain = at.value - new.value
    expected = -jnp.sum(step * at.gradient, axis=0) - 0.5 * jnp.einsum(
        "il,ijl,jl->l", step, at.curvature, step
    )
    finite = jnp.isfinite(new.value) & jnp.all(jnp.isfinite(new.gradient), axis=0)
    # Below the noise of the solver Φ cannot tell steps apart, but its gradient can.
    level = jnp.abs(gain) <= 1e-7 * (1 + jnp.abs(new.value))
    calmer = jnp.sum(new.gradient**2, axis=0) < jnp.sum(at.gradient**2, axis=0)
    accept = finite & ((gain > 1e-3 * expected) & (gain > 0) | level & calmer)
    ratio = jnp.where(jnp.isfinite(at.value), gain / jnp.maximum(expected, 1e-300), 1.0)
    damping = jnp.where(
        accept,
        search.damping * jnp.where(ratio > 0.75, 0.1, jnp.where(ratio < 0.25, 2.0, 0.5)),
        search.damping * 10,
    )
    choose = partial(jnp.where, accept)
    return _Search(choose(trial, search.eta), jax.tree.map(choose, new, at), jnp.maximum(damping, 1e-12))


def _damped_step(at: joint.Expansion, damping, omega) -> Float[Array, "k lane"]:
    """−(|H| + damping·D)⁻¹ g, with D the diagonal and |H| the curvature with its eigenvalues made
    positive."""
    prior = inverse(omega)
    diagonal = jnp.abs(jnp.diagonal(at.curvature, axis1=0, axis2=1).T)
    scale = jnp.sqrt(jnp.maximum(diagonal, jnp.diag(prior)[:, None]))
    values, vectors = eigh(at.curvature / (scale[:, None] * scale[None]))
    along = jnp.sum(vectors * (at.gradient / scale)[:, None], axis=0) / (
        jnp.maximum(jnp.abs(values), 1e-8) + damping
    )
    step = -jnp.sum(vectors * along, axis=1) / scale
    length = jnp.sqrt(jnp.sum(step * (prior @ step), axis=0))
    return step * jnp.minimum(1.0, _MAX_STEP / jnp.maximum(length, 1e-300))


def _stuck(search: _Search) -> Bool[np.ndarray, " lane"]:
    """Whether no step is accepted any more: at a mode, after a few rejections, this is the noise of the
    solver."""
    return (search.damping > 1e12) | (_is_mode(search.at) & (search.damping > 1e-3))


def _decrement(at: joint.Expansion) -> np.ndarray:
    """How much a full Newton step would lower Φ."""
    curvature = np.moveaxis(at.curvature, -1, 0)
    usable = _positive_definite(curvature)
    # Without a positive curvature there is no Newton step to speak of.
    curvature = np.where(usable[:, None, None], curvature, np.eye(curvature.shape[-1]))
    step = np.linalg.solve(curvature, at.gradient.T[..., None])[..., 0]
    return np.where(usable, 0.5 * np.einsum("il,li->l", at.gradient, step), np.inf)


def _positive_definite(matrices: Float64[np.ndarray, "lane k k"]) -> Bool[np.ndarray, " lane"]:
    """Which matrices are positive definite; those with NaN or infinity are not."""
    finite = np.isfinite(matrices).all(axis=(1, 2))
    safe = np.where(finite[:, None, None], matrices, -np.eye(matrices.shape[-1]))
    return np.linalg.eigvalsh(safe)[:, 0] > 0


def _gradient_norm(at: joint.Expansion) -> np.ndarray:
    return np.linalg.norm(at.gradient, axis=0)


def _is_mode(at: joint.Expansion, goal: float = GRADIENT_TOLERANCE) -> Bool[np.ndarray, " lane"]:
    """Whether the gradient vanishes and the (exact) curvature is positive."""
    positive = _positive_definite(np.moveaxis(at.curvature, -1, 0))
    return np.isfinite(at.value) & (_gradient_norm(at) <= goal) & positive


def _poorly_fitted(model, parameters, lanes, frozen, eta) -> Bool[np.ndarray, " lane"]:
    """Whether the weighted residuals at eta are larger than chance allows."""
    f, _, _ = map_lanes(
        partial(predict_program, model, parameters.theta, DEFAULT),
        eta.shape[1],
        lambda index: (eta[:, index], lanes.select(index)),
    )
    return _squared_residuals(parameters.residual.of(lanes.output), lanes, f, frozen) > chdtri(
        lanes.present.sum(axis=0), _POOR_FIT
    )


def _squared_residuals(residual, lanes, f, frozen) -> np.ndarray:
    f = np.where(lanes.present, f, 1.0)
    r = residual.variance(f if frozen is None else frozen)
    squared = np.square(residual.transform(lanes.y) - residual.transform(f)) / r
    return np.sum(np.where(lanes.present, squared, 0.0), axis=0)


class _Starts:
    """Where to start: points of a fixed cloud over the prior, ranked by Φ for each subject."""

    def __init__(self, model, parameters, lanes, frozen):
        size = _CLOUD_SHARED if lanes.alike else _CLOUD_RAGGED
        self.white = _cloud(size, parameters.omega.shape[0])
        self.factor = np.linalg.cholesky(parameters.omega)
        self.points = self.factor @ self.white
        self.steps = np.zeros(size, dtype=np.int64)
        self._arguments = model, parameters, lanes, frozen
        if lanes.alike:
            plan = lanes.design
            points = self.points
            self._predictions, _, self.steps = map_lanes(
                partial(predict_program, model, parameters.theta, _COARSE),
                size,
                lambda index: (points[:, index], plan),
            )

    def best(self, subjects) -> tuple[Float64[np.ndarray, "k lane"], np.ndarray]:
        """The best point for each subject, and the solver's steps there (0 where unknown)."""
        everywhere = np.full((self.white.shape[0], len(subjects)), np.inf)
        chosen, _ = self._best_away_from(everywhere, subjects)
        return self.points[:, chosen], self.steps[chosen]

    def rivals(self, subjects, modes) -> tuple[Float64[np.ndarray, "k lane"], Float64[np.ndarray, " lane"]]:
        """The best point for each subject away from the mode found, and Φ there."""
        chosen, scores = self._best_away_from(np.linalg.solve(self.factor, modes), subjects)
        return self.points[:, chosen], scores

    def _best_away_from(self, white, subjects):
        model, parameters, lanes, frozen = self._arguments
        n, size = len(subjects), self.points.shape[1]
        if lanes.alike:
            one = None if frozen is None else frozen[:, :1]
            program = partial(_lowest_shared, parameters, self.white, self.points, self._predictions, one)
            return map_lanes(program, n, lambda index: (white[:, index], lanes.select(subjects[index])))

        def select(index):
            subject, point = np.divmod(index, size)
            chosen = subjects[subject]
            return self.points[:, point], lanes.select(chosen), take(frozen, chosen)

        scores = map_lanes(partial(_coarse_joint, model, parameters), size * n, select).reshape(n, size).T
        scores = np.where(np.isfinite(scores), scores, np.inf)
        best = _lowest_away(*map(jnp.asarray, (self.white, white, scores)))
        return tuple(map(np.asarray, best))


@lane_program(n_shared=5)
def _lowest_shared(parameters, white, points, f, frozen, centres, lanes):
    """The best point for each subject away from its centre, where subjects are alike, and Φ there."""
    scores = _shared_scores(parameters, points, f, frozen, lanes)
    return _lowest_away(white, centres, scores)


def _lowest_away(points, centres, scores):
    """For each centre the point with the lowest score among those that are not near it, and that score."""
    squared = jnp.sum(points**2, axis=0)[:, None] + jnp.sum(centres**2, axis=0) - 2 * points.T @ centres
    away = jnp.where(jnp.isfinite(centres).all(axis=0) & ~(squared > _RIVAL_DISTANCE**2), jnp.inf, scores)
    return jnp.argmin(away, axis=0), jnp.min(away, axis=0)


@lane_program(n_shared=2)
def _coarse_joint(model, parameters, eta, lanes, frozen):
    return joint.joint(model, parameters, eta, lanes, frozen, _COARSE)


def _shared_scores(parameters, points, f, frozen, lanes):
    """Φ of every point for every subject: the square expands, so that the sums over time are matrix
    products."""
    y, present, residual = lanes.y, lanes.present, parameters.residual.of(lanes.output)
    r = residual.variance(f) if frozen is None else jnp.broadcast_to(residual.variance(frozen), f.shape)
    usable = jnp.all(jnp.isfinite(f), axis=0)
    u, g = jnp.where(present, residual.transform(y), 0.0), residual.transform(f)
    weight = present.astype(float)
    data = 0.5 * ((1 / r).T @ u**2 - 2 * (g / r).T @ u + (g**2 / r + jnp.log(r)).T @ weight)
    prior = 0.5 * jnp.sum(points * (inverse(parameters.omega) @ points), axis=0)
    scores = data + prior[:, None]
    return jnp.where(usable[:, None] & jnp.isfinite(scores), scores, jnp.inf)


@cache
def _cloud(size: int, k: int) -> Float64[np.ndarray, "k point"]:
    """Quasi-random standard normal points, the first at the origin, slightly wider than the prior."""
    from scipy.stats import qmc  # takes a second, which those who only simulate need not wait for

    uniform = qmc.Halton(k, scramble=False).random(size + 1)[1:]
    points = 1.2 * ndtri(uniform).T
    points[:, 0] = 0.0
    return points


def _frozen(model, parameters, lanes, interaction):
    if interaction or not parameters.residual.interacts:
        return None
    program = partial(_frozen_program, model, parameters)
    return map_lanes(program, lanes.y.shape[1], lambda index: (lanes.select(index),))


@lane_program(n_shared=2)
def _frozen_program(model, parameters, lanes):
    return joint.frozen_prediction(model, parameters, lanes, interaction=False)


def _keep_better(found: _Search, retried: _Search, suspects) -> _Search:
    """For each suspect, the better of the mode found first and that from its rival start."""
    old = np.where(_is_mode(found.at), found.at.value, np.inf)[suspects]
    better = np.flatnonzero(_is_mode(retried.at) & (retried.at.value < old - 1e-9))
    return jax.tree.map(partial(_put, suspects[better]), found, take(retried, better))


def _put(index, leaf, update):
    leaf = np.array(leaf)
    leaf[..., index] = update
    return leaf
