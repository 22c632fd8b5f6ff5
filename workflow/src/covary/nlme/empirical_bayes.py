"""Empirical Bayes estimates: the mode of each subject's posterior p(η | y).

A fixed cloud of points is scanned for the best start; Levenberg-Marquardt with Gauss-Newton curvature gets
close, first with a coarse solver, then with the default one; exact Newton steps finish. Subjects that are
done leave the batch.

A posterior may have several modes. Where all subjects are alike, the search starts again from a point of the
cloud that is far from the mode and almost as good, and again where the record fits badly at the mode. Else
the cloud is sparse, and three searches start side by side from points that are far from each other.
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
from covary.nlme.blocks import FEW, lane_program, map_lanes, take
from covary.nlme.check import check_records
from covary.nlme.design import Records
from covary.nlme.lane_algebra import eigh, inverse, log_determinant, solve
from covary.nlme.lanes import ObservedLanes, observed_lanes_of, predict_program
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.parameters import Parameters
from covary.nlme.solvers.lanes import DEFAULT, Tolerance

GRADIENT_TOLERANCE = 1e-5
# Of Φ. The gradient of a precise record has noise from the solver, which may exceed the tolerance above.
_DECREMENT_TOLERANCE = 1e-9
_COARSE = Tolerance(1e-3, 1e-4)
_COARSE_ROUNDS, _FINE_ROUNDS, _NEWTON_ROUNDS = 15, 2, 40
_NEVER = -1.0  # a goal that nothing reaches
_COARSE_DECREMENT = 1e-4  # of Φ; what is left after it is for the default tolerance
_CLOUD_SHARED, _CLOUD_RAGGED = 1024, 64  # a shared design needs the cloud's predictions only once
# A point of the cloud this far from the mode (in standard deviations) and almost as good may belong to a
# better mode.
_RIVAL_DISTANCE, _RIVAL_MARGIN = 1.0, 0.3
_STARTS_RAGGED = 3
_TRIES = 3  # more, for a subject without a mode or a record that fits badly
_SAME_MODE = 0.01  # in standard deviations: two coarse searches that end closer have found one mode
_COARSE_MARGIN = 3.0  # of Φ: a coarse search that ends higher above another cannot end lower after it
_POOR_FIT = 1e-3  # tail probability of the sum of squared weighted residuals below which a mode is suspect
_MAX_STEP = 3.0  # in standard deviations of the random effects


class Status(IntEnum):
    """How an estimation ended."""

    CONVERGED = 0
    LOCAL_MODE_SUSPECTED = 1  # converged, but the record fits worse there than chance allows
    FAILED = 2  # no mode found: the gradient did not vanish, or the curvature there is not positive
    NO_RECORD = 3  # nothing was observed: the estimate is that of the prior, 0


class EmpiricalBayes(NamedTuple):
    """The mode of each subject, the Hessian of Φ there, Φ itself and how the search ended.

    `gradient_norm` is that of ∇Φ per standard deviation of the random effects.
    """

    eta: Float64[np.ndarray, "subject k"]
    precision: Float64[np.ndarray, "subject k k"]
    objective: Float64[np.ndarray, " subject"]
    gradient_norm: Float64[np.ndarray, " subject"]
    status: Int8[np.ndarray, " subject"]

    def __repr__(self) -> str:
        counts = ", ".join(f"{int(np.sum(self.status == s))} {s.name.lower()}" for s in Status)
        return f"EmpiricalBayes({len(self.eta)} subjects: {counts})"


class _Search(NamedTuple):
    eta: Float[Array, "k lane"]
    at: joint.Expansion
    damping: Float[Array, " lane"]


class _Goal(NamedTuple):
    """A search ends where a Newton step would lower Φ by less than `decrement`, or |L'∇Φ| ≤ `gradient`."""

    decrement: float
    gradient: float


def empirical_bayes(
    model: OdeModel | ClosedFormModel, parameters: Parameters, records: Records, *, interaction: bool = True
) -> EmpiricalBayes:
    """Empirical Bayes estimates of every subject.

    `interaction=False` freezes the residual variance at eta = 0, as FOCE does. A converged subject has
    |L'∇Φ| ≤ 1e-5 with Ω = L L', or is so near its mode that a Newton step would lower Φ by less than
    1e-9. Raises ValueError if records, model and parameters do not fit together.
    """
    check_records(model, parameters, records)
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

    The search goes on, within reason, until |L'∇Φ| ≤ `goal`. Without `hessian` the precision may be
    Gauss-Newton's. `near` are modes under almost the same parameters: the search follows those and looks for
    no others.
    """
    frozen = _frozen(model, parameters, lanes, interaction)
    n = lanes.y.shape[1]
    everyone = np.arange(n)
    factor = np.linalg.cholesky(parameters.omega)
    if near is not None:
        start = _unsearched(np.ascontiguousarray(near.T))
        found = _finish(model, parameters, lanes, frozen, everyone, start, goal, hessian)
    elif lanes.alike:
        starts = _Starts(model, parameters, lanes, frozen)
        first, cost = starts.best()
        order = np.argsort(cost, kind="stable")  # subjects that take equally many steps side by side
        found = _approach(model, parameters, lanes, frozen, order, first[:, order])
        found = _finish(model, parameters, lanes, frozen, order, found, goal, hessian)
        found = take(found, np.argsort(order))
        rivals, scores = starts.away_from(found.eta)
        suspects = np.flatnonzero((scores < found.at.value + _RIVAL_MARGIN) | ~_is_mode(found.at, factor))
        if suspects.size:
            tried = _approach(model, parameters, lanes, frozen, suspects, rivals[:, suspects])
            tried = _finish(model, parameters, lanes, frozen, suspects, tried, goal, hessian)
            found = _keep_better(found, tried, suspects, factor)
        found = _further_tries(model, parameters, lanes, frozen, starts, first, found, goal, hessian)
    else:
        starts = _Starts(model, parameters, lanes, frozen)
        found = _best_of_several(model, parameters, lanes, frozen, starts, goal, hessian)
    poor = _poorly_fitted(model, parameters, lanes, frozen, found.eta) if hessian else np.zeros(n, dtype=bool)
    status = np.where(
        _is_mode(found.at, factor) | _is_at_a_mode(found.at),
        np.where(poor, Status.LOCAL_MODE_SUSPECTED, Status.CONVERGED),
        Status.FAILED,
    )
    status = np.where(lanes.present.any(axis=0), status, Status.NO_RECORD)
    return EmpiricalBayes(
        found.eta.T.copy(),
        np.moveaxis(found.at.curvature, -1, 0).copy(),
        found.at.value,
        _gradient_norm(found.at, factor),
        status.astype(np.int8),
    )


def _further_tries(
    model, parameters, lanes, frozen, starts: "_Starts", first, found, goal, hessian
) -> _Search:
    """Search again for subjects without a mode, and for those whose record fits badly at theirs.

    Each try starts at the best point of the cloud that is near no start and no mode so far: the best point
    for precise observations, or for a few visits, may lead to a poor mode.
    """
    centres = [first, found.eta]
    for _ in range(_TRIES):
        poor = _poorly_fitted(model, parameters, lanes, frozen, found.eta)
        suspects = np.flatnonzero(poor | ~(_is_mode(found.at, starts.factor) | _is_at_a_mode(found.at)))
        if not suspects.size:
            break
        start = starts.away_from(*centres)[0]
        tried = _approach(model, parameters, lanes, frozen, suspects, start[:, suspects])
        tried = _finish(model, parameters, lanes, frozen, suspects, tried, goal, hessian)
        found = _keep_better(found, tried, suspects, starts.factor)
        centres += [start, found.eta]
    return found


def _best_of_several(model, parameters, lanes, frozen, starts: "_Starts", goal, hessian) -> _Search:
    """The best mode of several searches from each subject's best points far from each other."""
    n, m, factor = lanes.y.shape[1], _STARTS_RAGGED, starts.factor
    points = [starts.best()[0]]
    while len(points) < m:
        points.append(starts.away_from(*points)[0])
    everyone = np.arange(n)
    subject = np.tile(everyone, m)
    tried = _approach(model, parameters, lanes, frozen, subject, np.concatenate(points, axis=1))
    value = np.where(np.isfinite(tried.at.value), tried.at.value, np.inf).reshape(m, n)
    first = np.argmin(value, axis=0)
    best = take(tried, first * n + everyone)
    found = _finish(model, parameters, lanes, frozen, everyone, best, goal, hessian)
    for j in range(m):
        other = take(tried, j * n + everyone)
        apart = np.linalg.norm(np.linalg.solve(factor, other.eta - best.eta), axis=0)
        promising = ~(apart <= _SAME_MODE) & (value[j] < value.min(axis=0) + _COARSE_MARGIN)
        left = np.flatnonzero((first != j) & (promising | ~_is_mode(found.at, factor)))
        if left.size:
            other = _finish(model, parameters, lanes, frozen, left, take(other, left), goal, hessian)
            found = _keep_better(found, other, left, factor)
    return found


def _unsearched(eta: Float64[np.ndarray, "k lane"]) -> _Search:
    """A search that has not begun."""
    k, n = eta.shape
    unknown = joint.Expansion(np.full(n, np.inf), np.zeros((k, n)), np.tile(np.eye(k)[..., None], n))
    return _Search(eta, unknown, np.full(n, 1e-3))


def _approach(model, parameters, lanes, frozen, subject, eta) -> _Search:
    """Come close to a mode from each start with a coarse solver; lane i is one of `subject[i]`."""
    goal = _Goal(_COARSE_DECREMENT, _NEVER)
    advance = partial(_advance, joint.gauss_newton, model, parameters, _COARSE, goal)
    start, everyone = _unsearched(eta), np.arange(len(subject))
    return _rounds(_COARSE_ROUNDS, advance, lanes, frozen, subject, start, everyone)


def _finish(model, parameters, lanes, frozen, subject, search, goal, hessian) -> _Search:
    """Go on to the mode with the default solver."""
    n = len(subject)
    search = search._replace(damping=np.full(n, 1e-6))
    factor = np.linalg.cholesky(parameters.omega)
    calm = _Goal(_NEVER, goal)
    advance = partial(_advance, joint.gauss_newton, model, parameters, DEFAULT, calm)
    search = _rounds(_FINE_ROUNDS, advance, lanes, frozen, subject, search, np.arange(n))
    rest = np.arange(n) if hessian else np.flatnonzero(~_is_mode(search.at, factor, goal))
    advance = partial(_advance, joint.exact, model, parameters, DEFAULT, calm)
    return _rounds(_NEWTON_ROUNDS, advance, lanes, frozen, subject, search, rest)


def _rounds(rounds, advance, lanes, frozen, subject, search: _Search, active) -> _Search:
    """Advance the active lanes of a search until they are finished, at most so many rounds."""
    if not active.size:
        return search
    # The stage before had another tolerance. Its step is still good; its value of Φ cannot be compared.
    search = search._replace(at=search.at._replace(value=_put(active, search.at.value, np.inf)))
    most = _STARTS_RAGGED * lanes.y.shape[1]  # of all searches, so that they share a compiled program
    while rounds and active.size:
        # Of many lanes those that are finished leave after each round; few are not worth a call each time.
        at_once = rounds if len(active) <= FEW else 1

        def select(index, active=active, search=search):
            chosen = active[index]
            return take(search, chosen), lanes.select(subject[chosen]), take(frozen, subject[chosen])

        program = partial(advance, np.int64(at_once))
        update, finished = map_lanes(program, len(active), select, of=most)
        search = jax.tree.map(partial(_put, active), search, update)
        active = active[~finished]
        rounds -= at_once
    return search


@lane_program(n_shared=6, static_argnums=(0,))
def _advance(
    expand, model, parameters, tolerance, goal: _Goal, rounds, search: _Search, lanes, frozen
) -> tuple[_Search, Bool[Array, " lane"]]:
    """So many Levenberg-Marquardt rounds, or until every lane has reached the goal; also which lanes have.

    The result of a lane does not depend on how many rounds the others take.
    """

    def unfinished(state):
        done, _, finished = state
        return (done < rounds) & ~jnp.all(finished)

    def advance(state):
        done, search, finished = state
        tried = _round(expand, model, parameters, tolerance, search, lanes, frozen)
        search = jax.tree.map(partial(jnp.where, finished), search, tried)
        return done + 1, search, finished | _reached(expand, search, parameters.omega, goal)

    nobody = jnp.zeros(search.damping.shape, dtype=bool)
    _, search, finished = jax.lax.while_loop(unfinished, advance, (jnp.zeros_like(rounds), search, nobody))
    return search, finished


def _reached(expand, search: _Search, omega, goal: _Goal) -> Bool[Array, " lane"]:
    """Which lanes have reached the goal, or cannot come closer to it."""
    at = search.at
    positive = jnp.isfinite(log_determinant(at.curvature))
    squared = _squared_length(omega, at.gradient)
    calm = squared <= jnp.sign(goal.gradient) * jnp.square(goal.gradient)
    if expand is joint.gauss_newton:
        decrement = 0.5 * jnp.sum(at.gradient * solve(at.curvature, at.gradient), axis=0)
        return positive & (decrement < goal.decrement) | calm
    mode = jnp.isfinite(at.value) & positive
    # After a few rejections at a mode, what is left is the noise of the solver.
    stuck = (search.damping > 1e12) | (mode & (squared <= GRADIENT_TOLERANCE**2) & (search.damping > 1e-3))
    return (mode & calm) | stuck


def _round(expand, model, parameters, tolerance, search: _Search, lanes, frozen) -> _Search:
    """One Levenberg-Marquardt round: try a step, keep it if Φ falls."""
    at = search.at
    step = _damped_step(at, search.damping, parameters.omega, positive=expand is joint.gauss_newton)
    trial = search.eta + step
    new = expand(model, parameters, trial, lanes, frozen, tolerance)
    gain = at.value - new.value
    expected = -jnp.sum(step * at.gradient, axis=0) - 0.5 * jnp.einsum(
        "il,ijl,jl->l", step, at.curvature, step
    )
    finite = jnp.isfinite(new.value) & jnp.all(jnp.isfinite(new.gradient), axis=0)
    # Below the noise of the solver Φ cannot tell steps apart, but its gradient can.
    level = jnp.abs(gain) <= 1e-7 * (1 + jnp.abs(new.value))
    calmer = _squared_length(parameters.omega, new.gradient) < _squared_length(parameters.omega, at.gradient)
    accept = finite & ((gain > 1e-3 * expected) & (gain > 0) | level & calmer)
    ratio = jnp.where(jnp.isfinite(at.value), gain / jnp.maximum(expected, 1e-300), 1.0)
    damping = jnp.where(
        accept,
        search.damping * jnp.where(ratio > 0.75, 0.1, jnp.where(ratio < 0.25, 2.0, 0.5)),
        search.damping * 10,
    )
    choose = partial(jnp.where, accept)
    return _Search(choose(trial, search.eta), jax.tree.map(choose, new, at), jnp.maximum(damping, 1e-12))


def _squared_length(omega, gradient) -> Float[Array, " lane"]:
    """g'Ωg: the squared gradient per standard deviation of the random effects."""
    return jnp.sum(gradient * (omega @ gradient), axis=0)


def _damped_step(at: joint.Expansion, damping, omega, *, positive: bool) -> Float[Array, "k lane"]:
    """−(|H| + damping·D)⁻¹ g, with D the diagonal and |H| the curvature with its eigenvalues made
    positive, unless it is known to be positive definite."""
    prior = inverse(omega)
    diagonal = jnp.abs(jnp.diagonal(at.curvature, axis1=0, axis2=1).T)
    scale = jnp.sqrt(jnp.maximum(diagonal, jnp.diag(prior)[:, None]))
    scaled = at.curvature / (scale[:, None] * scale[None])
    slope = at.gradient / scale
    if positive:
        step = -solve(scaled + damping * jnp.eye(len(scale))[:, :, None], slope) / scale
    else:
        values, vectors = eigh(scaled)
        along = jnp.sum(vectors * slope[:, None], axis=0) / (jnp.maximum(jnp.abs(values), 1e-8) + damping)
        step = -jnp.sum(vectors * along, axis=1) / scale
    length = jnp.sqrt(jnp.sum(step * (prior @ step), axis=0))
    return step * jnp.minimum(1.0, _MAX_STEP / jnp.maximum(length, 1e-300))


def _positive_definite(matrices: Float64[np.ndarray, "lane k k"]) -> Bool[np.ndarray, " lane"]:
    """Which matrices are positive definite; those with NaN or infinity are not."""
    finite = np.isfinite(matrices).all(axis=(1, 2))
    safe = np.where(finite[:, None, None], matrices, -np.eye(matrices.shape[-1]))
    return np.linalg.eigvalsh(safe)[:, 0] > 0


def _gradient_norm(at: joint.Expansion, factor: Float64[np.ndarray, "k k"]) -> np.ndarray:
    """|L'∇Φ| with Ω = L L', the gradient per standard deviation of the random effects."""
    return np.linalg.norm(factor.T @ at.gradient, axis=0)


def _is_mode(at: joint.Expansion, factor, goal: float = GRADIENT_TOLERANCE) -> Bool[np.ndarray, " lane"]:
    """Whether the gradient vanishes and the (exact) curvature is positive."""
    positive = _positive_definite(np.moveaxis(at.curvature, -1, 0))
    return np.isfinite(at.value) & (_gradient_norm(at, factor) <= goal) & positive


def _is_at_a_mode(at: joint.Expansion) -> Bool[np.ndarray, " lane"]:
    """Whether a Newton step would change next to nothing, and the curvature is positive."""
    curvature, gradient = np.moveaxis(at.curvature, -1, 0), at.gradient.T
    near = np.isfinite(at.value) & np.isfinite(gradient).all(axis=1) & _positive_definite(curvature)
    solvable = np.where(near[:, None, None], curvature, np.eye(len(at.gradient)))
    step = np.linalg.solve(solvable, gradient[..., None])
    return near & (0.5 * np.einsum("nk,nk->n", gradient, step[..., 0]) <= _DECREMENT_TOLERANCE)


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
        self._arguments = model, parameters, lanes, frozen
        points, n = self.points, lanes.y.shape[1]
        if lanes.alike:
            plan = lanes.design
            self._predictions, _, self._steps = map_lanes(
                partial(predict_program, model, parameters.theta, _COARSE),
                size,
                lambda index: (points[:, index], plan),
            )
            return

        def select(index):
            subject, point = np.divmod(index, size)
            return points[:, point], lanes.select(subject), take(frozen, subject)

        scores = map_lanes(partial(_coarse_joint, model, parameters), size * n, select).reshape(n, size).T
        self._scores = np.where(np.isfinite(scores), scores, np.inf)
        self._steps = np.zeros(size, dtype=np.int64)

    def best(self) -> tuple[Float64[np.ndarray, "k lane"], np.ndarray]:
        """The best point for each subject, and the solver's steps there (0 where unknown)."""
        chosen, _ = self._lowest()
        return self.points[:, chosen], self._steps[chosen]

    def away_from(
        self, *centres: Float64[np.ndarray, "k lane"]
    ) -> tuple[Float64[np.ndarray, "k lane"], Float64[np.ndarray, " lane"]]:
        """The best point for each subject that is near none of its centres, and Φ there."""
        chosen, scores = self._lowest(*(np.linalg.solve(self.factor, centre) for centre in centres))
        return self.points[:, chosen], scores

    def _lowest(self, *white):
        """For each subject the best point that is near none of the centres, and Φ there."""
        _, parameters, lanes, frozen = self._arguments
        if lanes.alike:
            n = lanes.y.shape[1]
            centres = white or (np.full((len(self.white), n), np.inf),)
            one = None if frozen is None else frozen[:, :1]
            program = partial(_lowest_shared, parameters, self.white, self.points, self._predictions, one)
            return map_lanes(program, n, lambda index: (take(centres, index), lanes.select(index)))
        scores = self._scores
        for centre in white:
            scores = np.where(_near(self.white, centre), np.inf, scores)
        chosen = np.argmin(scores, axis=0)
        return chosen, scores[chosen, np.arange(scores.shape[1])]


@lane_program(n_shared=5)
def _lowest_shared(parameters, white, points, f, frozen, centres, lanes):
    """The best point for each subject away from its centres, where subjects are alike, and Φ there."""
    away = _shared_scores(parameters, points, f, frozen, lanes)
    for centre in centres:
        away = jnp.where(_near(white, centre), jnp.inf, away)
    return jnp.argmin(away, axis=0), jnp.min(away, axis=0)


def _near(points, centres):
    """Which points (point, lane) are near the centre of each lane; none is near infinity."""
    squared = (points**2).sum(axis=0)[:, None] + (centres**2).sum(axis=0) - 2 * points.T @ centres
    return (abs(centres) < np.inf).all(axis=0) & ~(squared > _RIVAL_DISTANCE**2)


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


def _keep_better(found: _Search, retried: _Search, suspects, factor) -> _Search:
    """For each suspect, the better of the mode found first and that from its rival start."""
    old = np.where(_is_mode(found.at, factor), found.at.value, np.inf)[suspects]
    better = np.flatnonzero(_is_mode(retried.at, factor) & (retried.at.value < old - 1e-9))
    return jax.tree.map(partial(_put, suspects[better]), found, take(retried, better))


def _put(index, leaf, update):
    leaf = np.array(leaf)
    leaf[..., index] = update
    return leaf
