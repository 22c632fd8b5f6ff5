"""Variational fits: a lower bound of log p(records) is raised instead of an approximation of it.

Each subject has a Gaussian q(η) = N(μ, L L') of full rank: its own numbers, or those that an encoder gives
(`encoder`; this is a variational autoencoder whose decoder is the structural model). The bound is

    ELBO = Σ_i E_q[ln p(y_i | η) + ln p(η) − ln q(η)] ≤ Σ_i ln p(y_i),

and the gap is the Kullback-Leibler divergence from q to the posterior. First Adam climbs with fresh draws and
path-derivative gradients (Roeder, Wu and Duvenaud 2017, "Sticking the landing"); then L-BFGS finishes on many
fixed draws whose mean and covariance are exactly 0 and I, so that the bound of a linear model is exact. Ω is
the mean of S + μμ' over subjects, in closed form. Network weights carry their Gaussian prior: the population
parameters are those of the largest penalised bound.
"""

import dataclasses
import logging
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, Float64, Int
from scipy.optimize import minimize

from covary import rng
from covary.errors import UserError
from covary.nlme import joint
from covary.nlme.arrays import Array
from covary.nlme.check import check_records
from covary.nlme.design import Records
from covary.nlme.encoder import Encoder, Recurrent, Scales
from covary.nlme.families import Events, Free, Normal
from covary.nlme.grid import fine_grid
from covary.nlme.lane_algebra import log_determinant, solve
from covary.nlme.lanes import Accuracy, ObservedLanes, observed_lanes_of
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.neural import prior_precision, weights_of, with_weights
from covary.nlme.parameters import Parameters

log = logging.getLogger(__name__)

METHODS = {"elbo": None, "vae": 32}  # of `fit_population`, with the width of their encoder
_LOG_2PI = float(np.log(2 * np.pi))
_CHUNK = 100  # steps of Adam in one program
_FIRST_SPREAD = 0.3  # of Ω: the covariance of q at the start
_WARM_UP = 0.1  # of the steps, in which Ω keeps its initial value
_DRAWS_AT_ONCE = 64
_CHECK_EVERY = 5  # chunks, after which the grid is tried again
_ROUND = 200  # steps of L-BFGS, after which it is tried too
_WATCHED_ROUND, _PATIENCE = 50, 2  # where subjects are held out: steps, and rounds without a new best
_LOOK, _LOOK_DRAWS = 200, 4  # steps of Adam with which held-out subjects follow a round, and their draws
_FIRST_LOOKS = 4  # as many times of these before the first round, from N(0, Ω)
_GRADIENT, _MEMORY = 1e-4, 30  # of L-BFGS: the gradient per √subject that ends it, and its pairs
_MOST_OPTIMISM = 0.5  # nats per subject: the bound on the draws of the search, less that on other draws
_FLAT = 1e-9  # a relative gain of the bound that ends the search


class Bound(NamedTuple):
    """How well q bounds log p(y) of each subject, from independent draws.

    IWAE, the logarithm of the mean weight, lies between the ELBO and log p(y) in expectation. Errors are
    standard errors of Monte Carlo.
    """

    elbo: Float64[np.ndarray, " subject"]
    elbo_error: Float64[np.ndarray, " subject"]
    iwae: Float64[np.ndarray, " subject"]
    iwae_error: Float64[np.ndarray, " subject"]
    n_draws: int

    def __repr__(self) -> str:
        error = float(np.sqrt(np.sum(self.elbo_error**2)))
        return (
            f"Bound({len(self.elbo)} subjects, ELBO {self.elbo.sum():.2f} ± {error:.2f}, IWAE of "
            f"{self.n_draws} draws {self.iwae.sum() - self.elbo.sum():.2f} above it)"
        )


class VariationalFit(NamedTuple):
    """A population model fitted by its variational bound. It has no OFV: the bound is no likelihood."""

    model: OdeModel | ClosedFormModel  # with the fitted weights
    parameters: Parameters
    posterior: Normal
    bound: Bound
    penalty: float  # −ln of the prior of the weights, constants apart
    history: Float64[np.ndarray, " step"]  # the bound of each step of Adam, from its few draws
    converged: bool
    verdict: str
    accuracy: Accuracy  # the grid of the solver
    encoder: Encoder | None  # that gives q of other subjects, where the fit trained one

    def __repr__(self) -> str:
        return f"VariationalFit({type(self.model).__name__}, {self.bound!r}; {self.verdict})"

    def table(self) -> pd.DataFrame:
        """One row per parameter, in the columns of `PopulationFit.table`. A bound gives no standard errors;
        shrinkage is that of the means of q."""
        natural = self.parameters.natural()
        unknown = dict.fromkeys(("se", "rse_percent", "ci_low", "ci_high", "bsv_cv_percent"), np.nan)
        table = pd.DataFrame({"parameter": list(natural), "estimate": [float(v) for v in natural.values()]})
        spread = np.std(self.posterior.mean, axis=0, ddof=1) / np.sqrt(np.diag(self.parameters.omega))
        shrinkage = {
            f"omega({name},{name})": 100 * (1 - float(share))
            for name, share in zip(self.parameters.random_effects, spread, strict=True)
        }
        return table.assign(
            **unknown, shrinkage_percent=table["parameter"].map(shrinkage), fixed=[False] * len(table)
        )


class _Population(NamedTuple):
    """What the gradient moves, besides q."""

    theta: Float[Array, " fixed"]  # on the unconstrained scale
    log_sd: Float[Array, " residual"]
    weights: Float[Array, " weight"]


class _Problem(NamedTuple):
    """What stays the same during a fit."""

    model: OdeModel | ClosedFormModel
    structure: Parameters
    lanes: ObservedLanes
    constant: Float[Array, " subject"]  # what Φ leaves out of −ln p(y, η): the factors 2π
    precision: Float[Array, " weight"]  # of the prior of the weights
    events: Events | None  # what an encoder reads

    @property
    def shape(self) -> tuple[int, int]:
        """Subjects and random effects."""
        return self.lanes.y.shape[1], len(self.structure.random_effects)


_State = tuple[_Population, Free | Recurrent]


def fit_variational(
    model: OdeModel | ClosedFormModel,
    records: Records,
    initial: Parameters,
    *,
    seed: int = 0,
    steps: int = 2000,
    draws: int = 4,
    batch: int | None = None,
    rate: float = 0.01,
    final_draws: int = 32,
    final_steps: int = 200,
    evaluation_draws: int = 256,
    encoder_width: int | None = None,
    held_out: Records | None = None,
    report=None,
) -> VariationalFit:
    """Raise the bound over the population parameters, the network weights and q, from `initial`.

    With `encoder_width`, q of every subject comes from one encoder of that width (`encoder.Recurrent`), which
    the fit trains and returns. Without, each subject has a q of its own.

    `steps` of Adam take `draws` per subject and the subjects of one `batch` (default: all); its rate falls
    from `rate` to 0. At most `final_steps` of L-BFGS follow on `final_draws` fixed draws. Draws are keyed by
    (seed, step, subject). `report(step, bound)` is called as the fit goes.

    L-BFGS ends early where the bound of subjects `held_out` rises no more, and what was best for them is
    returned. Their posteriors follow the population; nothing else learns from them.

    Raises UserError if the arguments do not fit together, the model has no random effects or some per
    occasion, nothing was observed, or the bound cannot be computed at the initial values.
    """
    scales = None if encoder_width is None else Scales.of(records)
    problem = _problem(model, initial, records, scales)
    n = problem.lanes.y.shape[1]
    weights = len(problem.precision)
    if np.any(problem.precision == 0) and weights > (observed := int(problem.lanes.present.sum())):
        log.warning(
            "%s: %d weights without a prior are more than the %d observations; set prior_sd",
            type(model).__name__, weights, observed,
        )  # fmt: skip
    state = _start(problem, encoder_width, seed)
    accuracy = _fine(problem, state, None)
    state, accuracy, history = _climb(
        problem, state, accuracy, seed, steps, draws, min(batch or n, n), rate, report, learn=True
    )
    return _finish(
        problem, state, accuracy, history, seed, final_draws, final_steps, evaluation_draws, records, scales,
        None if held_out is None else _HeldOut(_problem(model, initial, held_out), seed),
    )  # fmt: skip


def variational_posterior(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    records: Records,
    *,
    seed: int = 0,
    steps: int = 0,
    draws: int = 4,
    final_draws: int = 32,
    final_steps: int = 500,
    evaluation_draws: int = 256,
    mean_field: bool = False,
) -> VariationalFit:
    """The best q of each subject under given population parameters, and its bound: the evidence of subjects
    that the fit did not see. With `mean_field` the random effects are independent in q, which costs
    −ln(1 − r²)/2 of the bound for two of them whose posterior correlates by r.

    Raises UserError as `fit_variational` does."""
    problem = _problem(model, parameters, records)
    n, state = problem.lanes.y.shape[1], _start(problem, mean_field=mean_field)
    accuracy = _fine(problem, state, None)
    state, accuracy, history = _climb(
        problem, state, accuracy, seed, steps, draws, n, 0.05, None, learn=False
    )
    return _finish(
        problem,
        state,
        accuracy,
        history,
        seed,
        final_draws,
        final_steps,
        evaluation_draws,
        records,
        learn=False,
    )


def bound_of(
    model: OdeModel | ClosedFormModel,
    parameters: Parameters,
    records: Records,
    posterior: Normal,
    *,
    n_draws: int = 256,
    seed: int = 0,
    accuracy: Accuracy | None = None,
) -> Bound:
    """ELBO and IWAE of each subject with a given q, from `n_draws` draws keyed by (seed, subject)."""
    problem = _problem(model, parameters, records)
    (n, k), population = posterior.mean.shape, _start(problem)[0]
    if accuracy is None:
        accuracy = fine_grid(model, problem.structure, problem.lanes, _one_draw(posterior))
    log_weight = []
    for start in range(0, n_draws, _DRAWS_AT_ONCE):
        noise = rng.normal(seed, f"bound/{start}", 0, n, (_DRAWS_AT_ONCE, k))
        log_weight.append(
            np.asarray(_log_weights(accuracy, problem, population, posterior, jnp.asarray(noise)))
        )
    w = np.nan_to_num(np.concatenate(log_weight, axis=1)[:, :n_draws], nan=-np.inf)
    top = w.max(axis=1)
    share = np.exp(w - top[:, None])
    mean = share.mean(axis=1)
    root = np.sqrt(n_draws)
    elbo_error, iwae_error = w.std(axis=1, ddof=1) / root, share.std(axis=1, ddof=1) / root / mean
    return Bound(w.mean(axis=1), elbo_error, top + np.log(mean), iwae_error, n_draws)


def _problem(model, parameters: Parameters, records: Records, scales: Scales | None = None) -> _Problem:
    check_records(model, parameters, records)
    if not parameters.random_effects:
        raise UserError(f"{type(model).__name__} has no random effects, so there is no posterior to fit")
    if parameters.occasions is not None:
        raise UserError("a variational fit takes no random effects per occasion; use focei")
    lanes = observed_lanes_of(model, records)
    if not lanes.present.any():
        raise UserError("no subject has an observation, so there is nothing to fit")
    exact = lanes.present if lanes.bounds is None else lanes.present & np.isnan(lanes.bounds.low)
    constant = 0.5 * _LOG_2PI * (exact.sum(axis=0) + len(parameters.random_effects))
    events = None if scales is None else scales.events(records)
    return _Problem(model, parameters.concrete(), lanes, constant, prior_precision(model), events)


def _start(
    problem: _Problem, encoder_width: int | None = None, seed: int = 0, *, mean_field: bool = False
) -> _State:
    structure = problem.structure
    vector, residual = structure.to_vector(), len(structure.residual.standard_deviations())
    population = _Population(
        vector[: len(structure.domains)], vector[len(vector) - residual :], weights_of(problem.model)
    )
    spread = _FIRST_SPREAD * structure.omega
    if problem.events is None or encoder_width is None:
        return population, Free.start(problem.shape[0], spread, mean_field)
    return population, Recurrent.start(problem.events, spread, encoder_width, seed)


def _parameters(structure: Parameters, population: _Population, omega) -> Parameters:
    """The parameters in the middle of a fit; differentiable."""
    sds = dict(zip(structure.residual.standard_deviations(), jnp.exp(population.log_sd), strict=True))
    return dataclasses.replace(
        structure,
        theta=structure.theta_from(population.theta),
        omega=omega,
        residual=structure.residual.with_standard_deviations(sds),
    )


def _omega(structure: Parameters, q: Normal) -> Float[Array, "k k"]:
    """The Ω of the largest bound: the mean of S + μμ' within each block."""
    k = structure.omega.shape[0]
    mask = np.zeros((k, k))
    for block in structure.blocks:
        mask[np.ix_(block, block)] = 1.0
    return mask * jnp.mean(q.covariance() + q.mean[:, :, None] * q.mean[:, None, :], axis=0)


def _log_joint(accuracy, problem: _Problem, population, omega, eta, index) -> Float[Array, "subject draw"]:
    """ln p(y, η) of some subjects at several points (subject, draw, k)."""
    subjects, draws, k = eta.shape
    parameters = _parameters(problem.structure, population, omega)
    lanes = problem.lanes.select(jnp.repeat(index, draws))
    points = eta.reshape(subjects * draws, k).T
    model = with_weights(problem.model, population.weights)
    phi = joint.joint(model, parameters, points, lanes, None, accuracy)
    value = -phi - 0.5 * log_determinant(omega)
    return value.reshape(subjects, draws) - jnp.asarray(problem.constant)[index][:, None]


def _log_q(q: Normal, noise) -> Float[Array, "subject draw"]:
    """ln q at the points that standard normal noise (subject, draw, k) gives."""
    k = noise.shape[-1]
    determinant = jnp.sum(jnp.log(jnp.diagonal(q.factor, axis1=1, axis2=2)), axis=1)
    return -0.5 * (jnp.sum(noise**2, axis=-1) + k * _LOG_2PI) - determinant[:, None]


def _points(q: Normal, noise) -> Float[Array, "subject draw k"]:
    return q.mean[:, None] + jnp.einsum("sij,sdj->sdi", q.factor, noise)


@partial(jax.jit, static_argnames="accuracy")
def _log_weights(accuracy, problem: _Problem, population, q: Normal, noise) -> Float[Array, "subject draw"]:
    """ln p(y, η) − ln q(η) at draws of q."""
    index = jnp.arange(len(noise))
    omega = jnp.asarray(problem.structure.omega)
    return _log_joint(accuracy, problem, population, omega, _points(q, noise), index) - _log_q(q, noise)


def _path_bound(accuracy, problem, state: _State, omega, noise, index) -> Float[Array, ""]:
    """The bound of some subjects whose gradient goes through the draws alone, not through ln q."""
    population, family = state
    q = Normal(*(part[index] for part in family.normal(problem.events)))
    eta = _points(q, noise)
    covariance = jnp.moveaxis(q.covariance(), 0, -1)
    spread = jnp.moveaxis(jnp.einsum("sij,sdj->sdi", q.factor, noise), 2, 0)  # (k, subject, draw)
    pull = jax.vmap(lambda b: solve(covariance, b), -1, -1)(spread)  # −∇ ln q
    pull, entropy = lax.stop_gradient((jnp.moveaxis(pull, 0, 2), -_log_q(q, noise)))
    entropy = entropy + jnp.sum((eta - lax.stop_gradient(eta)) * pull, axis=2)
    return jnp.sum(jnp.mean(_log_joint(accuracy, problem, population, omega, eta, index) + entropy, axis=1))


def _penalty(problem, population) -> Float[Array, ""]:
    return 0.5 * jnp.sum(problem.precision * population.weights**2)


def _of_what_moves(gradient: _State, learn) -> _State:
    """The gradient, 0 for a population that keeps its values."""
    population, family = gradient
    return jax.tree.map(lambda g: jnp.where(learn, g, 0.0), population), family


def _optimizer(rate: float, steps: int):
    return optax.chain(
        optax.clip_by_global_norm(100.0), optax.adam(optax.cosine_decay_schedule(rate, max(steps, 1)))
    )


@partial(jax.jit, static_argnames=("accuracy", "steps"))
def _chunk(accuracy, steps, rate, problem, state, moments, noise, index, learn, learn_omega):
    """Some steps of Adam: the state, the moments, and the bound before each step."""
    n = problem.shape[0]
    optimizer = _optimizer(1.0, steps)

    def loss(state, noise, index):
        given = jnp.asarray(problem.structure.omega)
        best = _omega(problem.structure, state[1].normal(problem.events))
        omega = jnp.where(learn_omega, lax.stop_gradient(best), given)
        bound = _path_bound(accuracy, problem, state, omega, noise[index], index) * (n / len(index))
        return _penalty(problem, state[0]) - bound, bound

    def step(carry, now):
        state, moments = carry
        (_, bound), gradient = jax.value_and_grad(loss, has_aux=True)(state, *now)
        gradient = _of_what_moves(gradient, learn)
        usable = jnp.all(jnp.stack([jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves((gradient, bound))]))
        gradient = jax.tree.map(lambda g: jnp.where(usable, g, 0.0), gradient)
        updates, new = optimizer.update(gradient, moments, state)
        updates = jax.tree.map(lambda u: rate * u, updates)
        moved = optax.apply_updates(state, updates)
        kept = jax.tree.map(lambda a, b: jnp.where(usable, a, b), (moved, new), carry)
        return kept, jnp.where(usable, bound, jnp.nan)

    (state, moments), bounds = lax.scan(step, (state, moments), (noise, index))
    return state, moments, bounds


def _climb(problem, state, accuracy, seed, steps, draws, batch, rate, report, *, learn):
    """Adam: the state, the grid that it needed last, and the bound of each step."""
    name, (n, k) = type(problem.model).__name__, problem.shape
    state = jax.tree.map(jnp.asarray, state)
    moments, history = _optimizer(1.0, steps).init(state), []
    for start in range(0, steps, _CHUNK):
        noise = rng.normal(seed, f"elbo/{start}", 0, n, (_CHUNK, draws, k)).swapaxes(0, 1)
        index = _batches(seed, start, n, batch)
        state, moments, bounds = _chunk(
            accuracy, steps, rate, problem, state, moments, jnp.asarray(noise), jnp.asarray(index),
            learn, learn and start >= _WARM_UP * steps,
        )  # fmt: skip
        bounds = np.asarray(bounds)
        if not np.isfinite(bounds).any():
            where = f"after {start} steps" if start else "at the initial values"
            raise UserError(
                f"{name}: the bound is not a finite number {where}: look at the vector field there"
            )
        history.append(bounds)
        if learn and (start // _CHUNK) % _CHECK_EVERY == _CHECK_EVERY - 1:
            accuracy = _fine(problem, state, accuracy)
        if report is not None:
            report(start + _CHUNK, float(np.nanmean(bounds[-20:])))
    return state, accuracy, np.concatenate([np.zeros(0), *history])


def _fine(problem, state: _State, accuracy: Accuracy | None) -> Accuracy:
    """The grid, or a finer one if the equations became faster while the fit went on, at a draw of each q."""
    population, family = jax.tree.map(np.asarray, state)
    model = with_weights(problem.model, population.weights)
    parameters = _parameters(problem.structure, population, problem.structure.omega)
    q = family.normal(problem.events)
    return fine_grid(model, parameters, problem.lanes, _one_draw(q), start=accuracy)


def _one_draw(q: Normal) -> Float64[np.ndarray, "k subject"]:
    n, k = q.mean.shape
    noise = jnp.asarray(rng.normal(0, "elbo/grid", 0, n, (1, k)))
    return np.asarray(_points(Normal(jnp.asarray(q.mean), jnp.asarray(q.factor)), noise)[:, 0].T)


def _batches(seed: int, start: int, n: int, batch: int) -> Int[np.ndarray, "step subject"]:
    """The subjects of each of the steps from `start`: in a random order, each as often as any other."""
    if batch == n:
        return np.broadcast_to(np.arange(n), (_CHUNK, n)).copy()
    rounds = -(-_CHUNK * batch // n)
    random = rng.generator(seed, "elbo/batch", start)
    return np.concatenate([random.permutation(n) for _ in range(rounds)])[: _CHUNK * batch].reshape(-1, batch)


@partial(jax.jit, static_argnames="accuracy")
def _fixed_draws(accuracy, problem, state, noise, learn):
    """The penalised loss on fixed draws and its gradient: Ω is optimal, so its own derivative is 0."""

    def loss(state):
        population, q = state[0], state[1].normal(problem.events)
        best = lax.stop_gradient(_omega(problem.structure, q))
        omega = jnp.where(learn, best, jnp.asarray(problem.structure.omega))
        index = jnp.arange(len(noise))
        value = _log_joint(accuracy, problem, population, omega, _points(q, noise), index) - _log_q(q, noise)
        return _penalty(problem, population) - jnp.sum(jnp.mean(value, axis=1))

    value, gradient = jax.value_and_grad(loss)(state)
    return value, _of_what_moves(gradient, learn)


class _HeldOut:
    """Subjects that the population does not learn from, and where they were best."""

    def __init__(self, problem: _Problem, seed: int):
        n, k = problem.shape
        self.problem, self.family = problem, _start(problem)[1]
        noise = rng.normal(seed, "elbo/held_out", 0, n, (_LOOK, _LOOK_DRAWS, k))
        self.noise = jnp.asarray(noise.swapaxes(0, 1))
        self.accuracy: Accuracy | None = None
        self.bound, self.x, self.steps, self.looks_since = -np.inf, np.zeros(0), 0, 0

    def look(self, population: _Population, omega, x: Float64[np.ndarray, " p"], steps: int) -> None:
        """Bring their posteriors to a population, and keep `x` if their bound is the best so far."""
        structure = dataclasses.replace(self.problem.structure, omega=np.asarray(omega))
        problem, n = self.problem._replace(structure=structure), self.problem.shape[0]
        state = jax.tree.map(jnp.asarray, (population, self.family))
        self.accuracy = _fine(problem, state, self.accuracy)
        index = jnp.asarray(np.broadcast_to(np.arange(n), (_LOOK, n)))
        for _ in range(1 if self.x.size else _FIRST_LOOKS):
            moments = _optimizer(1.0, _LOOK).init(state)
            state, _, bounds = _chunk(
                self.accuracy, _LOOK, 0.05, problem, state, moments, self.noise, index, False, False
            )
        self.family = state[1]
        self.looks_since += 1
        if (bound := float(np.mean(np.asarray(bounds)[-_LOOK // 4 :]))) > self.bound:
            self.bound, self.x, self.steps, self.looks_since = bound, x, steps, 0


def _finish(
    problem, state, accuracy, history, seed, draws, steps, evaluation_draws, records,
    scales: Scales | None = None, held_out: _HeldOut | None = None, *, learn=True,
) -> VariationalFit:  # fmt: skip
    """L-BFGS on fixed draws, and the bound from others."""
    n, k = problem.shape
    noise = jnp.asarray(_matched(rng.normal(seed, "elbo/final", 0, n, (draws, k))))
    vector, back = ravel_pytree(jax.tree.map(jnp.asarray, state))
    x, taken, done, stopped = np.asarray(vector), 0, False, False

    def slope(x):
        value, gradient = _fixed_draws(accuracy, problem, back(jnp.asarray(x)), noise, learn)
        slope = np.asarray(ravel_pytree(gradient)[0])
        usable = np.isfinite(value) and np.isfinite(slope).all()
        return (float(value), slope) if usable else (np.inf, np.zeros_like(slope))

    def look(held_out: _HeldOut):
        population, family = back(jnp.asarray(x))
        held_out.look(population, _omega(problem.structure, family.normal(problem.events)), x, taken)

    if held_out is not None:
        look(held_out)
    # The grid is tried again in between: where the search goes, the equations may be faster.
    while taken < steps and not done:
        options = {
            "maxiter": min(steps - taken, _ROUND if held_out is None else _WATCHED_ROUND),
            "ftol": _FLAT,
            "gtol": _GRADIENT * np.sqrt(n),
            "maxcor": _MEMORY,
        }
        found = minimize(slope, x, jac=True, method="L-BFGS-B", options=options)
        x, taken = found.x, taken + found.nit
        finer = _fine(problem, back(jnp.asarray(x)), accuracy)
        done, accuracy = bool(found.success) and finer == accuracy, finer
        if held_out is not None:
            look(held_out)
            stopped = held_out.looks_since >= _PATIENCE
            done = done or stopped
        if found.nit == 0 and not done:
            break
    if held_out is not None:
        x, taken = held_out.x, held_out.steps
    population, family = jax.tree.map(np.asarray, back(jnp.asarray(x)))
    posterior = Normal(*map(np.asarray, family.normal(problem.events)))
    omega = np.asarray(_omega(problem.structure, posterior)) if learn else problem.structure.omega
    parameters = _parameters(problem.structure, population, omega).concrete()
    model = with_weights(problem.model, population.weights)
    bound = bound_of(
        model, parameters, records, posterior, n_draws=evaluation_draws, seed=seed, accuracy=accuracy
    )
    penalty = float(_penalty(problem, population))
    optimism = penalty - slope(x)[0] - float(np.sum(bound.elbo))
    how = "stopped where held-out subjects are best" if stopped else "converged" if done else "not converged"
    verdict = f"{how}: {taken} steps of L-BFGS on {draws} draws"
    if not optimism <= _MOST_OPTIMISM * n:  # q fits these draws, not the posterior
        done = False
        verdict = (
            f"not converged: on other draws the bound is lower by {optimism:,.0f} than on the {draws} of the "
            "search; take more final_draws"
        )
    encoder = None if scales is None else Encoder(family, scales)
    return VariationalFit(
        model, parameters, posterior, bound, penalty, history, done, verdict, accuracy, encoder
    )


def _matched(noise: Float64[np.ndarray, "subject draw k"]) -> Float64[np.ndarray, "subject draw k"]:
    """Draws of each subject with mean exactly 0 and covariance exactly I. Raises UserError if they are too
    few for it."""
    draws, k = noise.shape[1:]
    if draws <= k:
        raise UserError(f"final_draws must be more than the {k} random effects, got {draws}")
    noise = noise - noise.mean(axis=1, keepdims=True)
    factor = np.linalg.cholesky(np.einsum("sdi,sdj->sij", noise, noise) / draws)
    return np.linalg.solve(factor, noise.swapaxes(1, 2)).swapaxes(1, 2)
