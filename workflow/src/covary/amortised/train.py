"""Training of a posterior network on simulations that are made as it goes.

The loss is the mean of -log q(φ | record) over simulations, whose minimum is the exact posterior under the
prior of the training. No simulation is used twice.
"""

import hashlib
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial, wraps
from pathlib import Path
from typing import NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from jaxtyping import Bool, Float64

from covary import rng
from covary.amortised.encoding import Encoder, Encoding
from covary.amortised.network import PosteriorNetwork, Summary
from covary.amortised.problem import Simulator, simulated
from covary.config.inference import PosteriorNetwork as PosteriorNetworkSettings
from covary.errors import UserError
from covary.files import whole
from covary.jobs.progress import progress
from covary.jobs.resumable import Journal

log = logging.getLogger(__name__)
Result = TypeVar("Result")
_VALIDATION, _SCALING = 4096, 4096  # simulations
_WARM_UP = 0.02  # of the steps, with a rising learning rate
_CLIP = 5.0  # norm of a gradient


def in_single_precision(function: Callable[..., Result]) -> Callable[..., Result]:
    """The same function with JAX in 32 bits, in which networks are made and used; the engine needs 64."""

    @wraps(function)
    def narrow(*args, **kwargs) -> Result:
        with jax.enable_x64(False):
            return function(*args, **kwargs)

    return narrow


@dataclass(frozen=True)
class Training:
    """How a posterior network is made and trained.

    A round is `steps` batches of new simulations and one validation. The learning rate falls to 0 along a
    cosine over all rounds; the training ends early after `patience` rounds without a new best.
    """

    encoding: Encoding = "augment"
    summary: Summary = "dense"
    layers: int = 6
    width: int = 64
    batch: int = 512
    steps: int = 100
    rounds: int = 100
    learning_rate: float = 2e-3
    patience: int = 20
    constant: float = -5.0

    @classmethod
    def of(cls, settings: PosteriorNetworkSettings, *, blind: bool = False) -> "Training":
        """The training that a configuration describes; the control is `blind` to what is missing.

        It is given the mean of the data, 0 in standard units, at a missing visit.
        """
        encoding = "insert" if blind else settings.encoding
        return cls(
            encoding=encoding,
            summary="set" if encoding == "time_labels" else settings.summary,
            layers=settings.layers,
            width=settings.width,
            batch=settings.batch_size,
            steps=settings.steps,
            rounds=settings.control_rounds if blind else settings.rounds,
            learning_rate=settings.learning_rate,
            patience=settings.patience_rounds,
            constant=0.0 if blind else -5.0,
        )


class Familiar(NamedTuple):
    """Where the summaries of simulated records lie, so that a record unlike all of them is noticed.

    A summary s has the distance |whitening (s − mean)|. `limit` is the largest among simulations that did not
    enter `mean` and `whitening`.
    """

    mean: Float64[np.ndarray, " s"]
    whitening: Float64[np.ndarray, "s s"]
    limit: float

    @classmethod
    def of(cls, summary: Float64[np.ndarray, "subject s"]) -> "Familiar":
        """From the summaries of simulations: half of them for mean and whitening, half for the limit."""
        first, second = np.array_split(summary, 2)
        mean, covariance = first.mean(axis=0), np.cov(first.T)
        ridge = 1e-6 * np.trace(covariance) / len(covariance) + 1e-12
        factor = np.linalg.cholesky(covariance + ridge * np.eye(len(covariance)))
        found = cls(mean, np.linalg.inv(factor), np.inf)
        return found._replace(limit=float(found.distance(second).max()))

    def distance(self, summary: Float64[np.ndarray, "subject s"]) -> Float64[np.ndarray, " subject"]:
        """How far each summary lies from the middle of the simulations."""
        return np.linalg.norm((summary - self.mean) @ self.whitening.T, axis=1)


class Trained(eqx.Module):
    """A posterior network with the encoder that it was trained with."""

    network: PosteriorNetwork
    encoder: Encoder = eqx.field(static=True)
    familiar: Familiar

    def log_density(
        self, phi: Float64[np.ndarray, "subject k"], y: Float64[np.ndarray, "subject time"]
    ) -> Float64[np.ndarray, " subject"]:
        """log q(φ | record) of each subject."""
        features, rows = self.encoder(y)
        found = _log_density(self.network, phi.astype(np.float32), features, rows)
        return np.asarray(found, dtype=np.float64)

    def unfamiliar(self, y: Float64[np.ndarray, "subject time"]) -> Bool[np.ndarray, " subject"]:
        """Which records are unlike those of the training; about 1 of 2,000 simulations is, too."""
        summary = np.asarray(_summary(self.network, *self.encoder(y)), dtype=np.float64)
        return ~(self.familiar.distance(summary) <= self.familiar.limit)

    def sample(
        self,
        y: Float64[np.ndarray, "subject time"],
        draws: int,
        *,
        seed: int,
        stream: str,
        start: int = 0,
        wide: float = 0.0,
    ) -> tuple[Float64[np.ndarray, "subject draw k"], Float64[np.ndarray, "subject draw"]]:
        """Draws for the subjects `start …`, keyed by (seed, stream, subject), and the log density of each.

        A share `wide` of them, the first ones, starts from N(0, 2² I) in place of N(0, I). It reaches the
        tails where q is too narrow; the density is that of the mixture.
        """
        features, rows = self.encoder(y)
        v = rng.normal(seed, stream, start, start + len(y), (draws, self.network.k))
        n_wide = round(wide * draws)
        v[:, :n_wide] *= _WIDE
        excess = 0.5 * np.sum(v**2, axis=2) * (1 - _WIDE**-2) - self.network.k * np.log(_WIDE)
        mixture = np.log1p(n_wide / draws * np.expm1(excess))
        v = v.astype(np.float32)
        parts = [
            _sample(self.network, v[some], features[some], rows[some])
            for some in (slice(i, i + _AT_ONCE) for i in range(0, len(y), _AT_ONCE))
        ]
        phi, log_q = (np.concatenate([np.asarray(p) for p in of]) for of in zip(*parts, strict=True))
        return phi.astype(np.float64), log_q.astype(np.float64) + mixture


_AT_ONCE = 1024  # subjects
_WIDE = 2.0


@in_single_precision
@eqx.filter_jit
def _summary(network, features, rows):
    return jax.vmap(network.summary)(features, rows)


@in_single_precision
@eqx.filter_jit
def _log_density(network, phi, features, rows):
    return jax.vmap(network.log_density)(phi, features, rows)


@in_single_precision
@eqx.filter_jit
def _sample(network, v, features, rows):
    return jax.vmap(network.sample_and_log_density)(v, features, rows)


def train(
    simulator: Simulator, settings: Training, *, seed: int, folder: Path, identity: str = ""
) -> tuple[Trained, pd.DataFrame]:
    """Train a posterior network; returns it and a table with one row per round.

    The columns are round, loss, validation_loss, best. `identity` says what the simulator is, for the
    checkpoint in `folder`: a training that was killed goes on from it and ends with the same weights, and one
    with another identity, other settings or another seed starts afresh. The network of the best round is
    returned. Raises UserError if simulations make no sense or the loss is not finite.
    """
    _, y = simulated(simulator, 0, _SCALING, seed=seed, stream="amortised/scaling")
    encoder = Encoder.fitted(settings.encoding, simulator.times_h, y, settings.constant)
    weights, rest = _start(simulator, encoder, settings, seed)
    total = settings.steps * settings.rounds
    rate = optax.warmup_cosine_decay_schedule(
        0.0, settings.learning_rate, max(1, int(_WARM_UP * total)), total, 0.0
    )
    optimiser = optax.chain(optax.clip_by_global_norm(_CLIP), optax.adam(rate))
    state = (weights, in_single_precision(optimiser.init)(weights), weights)  # of the best round last
    checkpoint = _Checkpoint(folder, _identity(settings, seed, identity, y))
    state, history = checkpoint.resume(state)
    held_out = _encoded(simulator, encoder, 0, _VALIDATION, seed, "amortised/validation")
    validate = in_single_precision(eqx.filter_jit(partial(_loss, rest)))
    per_round = settings.steps * settings.batch
    with progress(settings.rounds, len(history), "train posterior network (rounds)") as bar:
        for number in range(len(history), settings.rounds):
            if _rounds_since_best(history) >= settings.patience:
                break
            span = (number * per_round, (number + 1) * per_round)
            examples = _encoded(simulator, encoder, *span, seed, "amortised/training")
            batches = jax.tree.map(lambda v: v.reshape(settings.steps, -1, *v.shape[1:]), examples)
            weights, moments, loss = _round(optimiser, rest, state[0], state[1], batches)
            validation = float(validate(weights, *held_out))
            best = validation < min((row["validation_loss"] for row in history), default=math.inf)
            state = (weights, moments, weights if best else state[2])
            history.append(
                {"round": number + 1, "loss": float(loss), "validation_loss": validation, "best": best}
            )
            if not math.isfinite(validation):
                raise UserError(
                    f"training of the posterior network diverged in round {number + 1}: the loss is "
                    f"{validation}; a smaller learning_rate may help"
                )
            checkpoint.write(state, history)
            bar.set_postfix(loss=f"{validation:.3f}")
            bar.update()
    network = eqx.combine(state[2], rest)
    summary = np.asarray(_summary(network, *held_out[1:]), dtype=np.float64)
    return Trained(network, encoder, Familiar.of(summary)), pd.DataFrame(history)


@in_single_precision
def _start(simulator, encoder, settings, seed):
    """Weights before the training, and the rest of the network."""
    network = PosteriorNetwork(
        len(simulator.times_h),
        encoder.n_features,
        simulator.n_parameters,
        summary=settings.summary,
        layers=settings.layers,
        width=settings.width,
        key=jax.random.key(rng.stream_key(seed, "amortised/weights")),
    )
    return eqx.partition(network, eqx.is_inexact_array)


def _encoded(simulator, encoder, start, stop, seed, stream):
    """Simulations as (φ, features, rows); those without any finite value are kept: all visits are missing."""
    phi, y = simulated(simulator, start, stop, seed=seed, stream=stream)
    features, rows = encoder(y)
    return phi.astype(np.float32), features, rows


def _loss(rest, weights, phi, features, rows):
    network = eqx.combine(weights, rest)
    return -jnp.mean(jax.vmap(network.log_density)(phi, features, rows))


@in_single_precision
@eqx.filter_jit
def _round(optimiser, rest, weights, moments, batches):
    """One step per batch."""

    def step(carry, batch):
        weights, moments = carry
        loss, gradient = jax.value_and_grad(partial(_loss, rest))(weights, *batch)
        update, moments = optimiser.update(gradient, moments, weights)
        return (optax.apply_updates(weights, update), moments), loss

    (weights, moments), losses = jax.lax.scan(step, (weights, moments), batches)
    return weights, moments, jnp.mean(losses)


def _rounds_since_best(history: Sequence[dict]) -> int:
    best = [row["round"] for row in history if row["best"]]
    return history[-1]["round"] - best[-1] if best else 0


def _identity(settings: Training, seed: int, identity: str, y: np.ndarray) -> str:
    """Digest of all that decides the outcome; first simulations stand for the simulator's numbers."""
    digest = hashlib.sha256(f"{asdict(settings)}/{seed}/{identity}/".encode())
    digest.update(np.ascontiguousarray(y).tobytes())
    return digest.hexdigest()


class _Checkpoint:
    """The state of a training: its arrays in one file, replaced as a whole, and its history in a journal."""

    def __init__(self, folder: Path, identity: str):
        folder.mkdir(parents=True, exist_ok=True)
        self._identity = identity
        self._arrays = folder / "state.npz"
        self._journal = Journal(folder / "history.json", identity)

    def resume(self, state):
        """The state and history of an earlier run of the same training, or what is given and []."""
        history = self._journal.read()
        if not history or not self._arrays.exists():
            return state, []
        leaves, structure = jax.tree.flatten(state)
        with np.load(self._arrays) as stored:
            if str(stored["identity"]) != self._identity:
                return state, []
            completed = int(stored["completed"])
            found = [jnp.asarray(stored[f"leaf_{i}"], leaf.dtype) for i, leaf in enumerate(leaves)]
        log.info("training goes on from %s after round %d", self._arrays, completed)
        return jax.tree.unflatten(structure, found), history[:completed]

    def write(self, state, history) -> None:
        """Keep the history first: the arrays say how much of it belongs to them."""
        self._journal.write(history)
        leaves = {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
        with whole(self._arrays) as partial_file, partial_file.open("wb") as file:
            np.savez(file, identity=self._identity, completed=len(history), **leaves)
