"""An amortised encoder: one network gives q(η) of every subject from what was given and seen.

A gated recurrent unit reads the doses and visits of a subject in their order. Its last state and the
covariates give the mean and the Cholesky factor of q, as the encoder of a variational autoencoder does
(Kingma and Welling 2014; for NLME models Rohleff et al. 2025). A subject that the fit did not see gets its q
without a search. Missing visits and padding leave the state as it is.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float64, Int

from covary import rng
from covary.errors import UserError
from covary.nlme.design import Records
from covary.nlme.families import Events, Normal, factor_of, raw_factor


class Scales(NamedTuple):
    """The units in which records enter the network: those of the training subjects."""

    outputs: tuple[int, ...]
    time_h: float
    amount: float
    mean: Float64[np.ndarray, " output"]
    sd: Float64[np.ndarray, " output"]
    covariates: dict[str, tuple[float, float]]  # the mean and the standard deviation of each

    @classmethod
    def of(cls, records: Records) -> "Scales":
        """Scales that bring these records to order 1."""
        design, present, output = records.design, records.present, _output(records)
        outputs = tuple(np.unique(output[present]).tolist())
        seen = [records.observation[present & (output == number)] for number in outputs]
        since_start = np.where(design.observed, design.time_h - design.start_h[:, None], 0.0)
        return cls(
            outputs,
            _unit(since_start.max()),
            _unit(design.dose_amount.max(initial=0.0)),
            np.array([np.mean(values) for values in seen]),
            np.array([_unit(np.std(values)) for values in seen]),
            {name: (float(v.mean()), _unit(v.std())) for name, v in design.covariates.items()},
        )

    def events(self, records: Records) -> Events:
        """Records in these units."""
        design, n = records.design, len(records.observation)

        def wide(rows):
            return np.broadcast_to(rows, (n, *rows.shape[1:]))

        given = wide(design.dose_amount) > 0
        no_dose, no_visit = np.zeros(given.shape), np.zeros(records.present.shape)
        start = wide(design.start_h[:, None])
        censored = no_visit if records.bounds is None else ~np.isnan(records.bounds.low)
        pairs = [
            (wide(design.dose_time_h) - start, wide(design.time_h) - start),
            (wide(design.dose_amount) / self.amount, no_visit),
            (wide(design.dose_compartment), no_visit),
            (no_dose, censored),
        ]
        for number, mean, sd in zip(self.outputs, self.mean, self.sd, strict=True):
            own = _output(records) == number
            pairs += [(no_dose, own), (no_dose, np.where(own, (records.observation - mean) / sd, 0.0))]
        there = np.concatenate([given, records.present], axis=1)
        # Visits come after as many doses as the design says: times may go back.
        place = [wide(2 * np.arange(given.shape[1])[None]), wide(2 * design.doses_before - 1)]
        order = np.argsort(np.where(there, np.concatenate(place, axis=1), np.inf), axis=1, kind="stable")
        columns = [np.concatenate(pair, axis=1) for pair in pairs]
        features = np.take_along_axis(np.stack(columns, axis=2), order[:, :, None], axis=1)
        there = np.take_along_axis(there, order, axis=1)
        features[:, :, 0] /= self.time_h
        about = [
            np.broadcast_to((design.covariates[name] - mean) / sd, (n,))
            for name, (mean, sd) in self.covariates.items()
        ]
        return Events(
            np.where(there[:, :, None], np.nan_to_num(features), 0.0),
            there,
            np.stack(about, axis=1) if about else np.zeros((n, 0)),
        )


class Recurrent(eqx.Module):
    """The network, float64. It starts with the same q for all subjects."""

    cell: eqx.nn.GRUCell
    hidden: eqx.nn.Linear
    last: eqx.nn.Linear
    n_effects: int = eqx.field(static=True)

    @classmethod
    def start(
        cls, events: Events, covariance: Float64[np.ndarray, "k k"], width: int, seed: int
    ) -> "Recurrent":
        """A network of a width for such events, whose q is N(0, `covariance`) at first."""
        cell, hidden, last = jax.random.split(jax.random.key(rng.stream_key(seed, "encoder")), 3)
        k, n_covariates = len(covariance), events.covariates.shape[-1]
        bias = np.concatenate([np.zeros(k), raw_factor(covariance).ravel()])
        same = eqx.nn.Linear(width, k + k * k, key=last)
        return cls(
            eqx.nn.GRUCell(events.features.shape[-1], width, key=cell),
            eqx.nn.Linear(width + n_covariates, width, key=hidden),
            eqx.tree_at(lambda at: (at.weight, at.bias), same, (0.0 * same.weight, jnp.asarray(bias))),
            k,
        )

    def normal(self, events: Events) -> Normal:
        """q of each subject."""
        n, k = len(events.features), self.n_effects

        def read(state, event):
            features, there = event
            return jnp.where(there[:, None], jax.vmap(self.cell)(features, state), state), None

        in_turn = jnp.swapaxes(events.features, 0, 1), jnp.swapaxes(events.there, 0, 1)
        state, _ = lax.scan(read, jnp.zeros((n, self.cell.hidden_size)), in_turn)
        known = jnp.concatenate([state, jnp.asarray(events.covariates)], axis=1)
        values = jax.vmap(lambda x: self.last(jnp.tanh(self.hidden(x))))(known)
        return Normal(values[:, :k], factor_of(values[:, k:].reshape(n, k, k)))


class Encoder(NamedTuple):
    """A trained encoder: `encoder(records)` is q(η) of each subject."""

    network: Recurrent
    scales: Scales

    def __call__(self, records: Records) -> Normal:
        """q of each subject of records of the same kind.

        Raises UserError if they lack a covariate of the training, or are of an output that it did not have.
        """
        design = records.design
        if missing := [name for name in self.scales.covariates if name not in design.covariates]:
            raise UserError(f"the encoder needs the covariate {missing[0]}, which these records do not have")
        if unknown := sorted(set(_output(records)[records.present].tolist()) - set(self.scales.outputs)):
            raise UserError(f"the encoder was not trained on observations of output {unknown[0]}")
        return Normal(*map(np.asarray, _normal(self.network, self.scales.events(records))))


_normal = jax.jit(Recurrent.normal)


def _output(records: Records) -> Int[np.ndarray, "subject time"]:
    """Which output each visit is of."""
    output = records.design.output
    return np.broadcast_to(0 if output is None else output, records.present.shape)


def _unit(value: float | np.floating) -> float:
    """A unit of measurement: 1 in place of 0."""
    return float(value) or 1.0
