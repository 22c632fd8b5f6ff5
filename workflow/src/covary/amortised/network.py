"""The posterior network: a summary of the record, and a conditional normalising flow.

The summary s(y) gives the location and the triangular scale of an affine map, after which coupling layers
with rational quadratic splines, conditional on s(y), have only the shape of the posterior left to learn:

    φ = m(s) + L(s) u,  u = flow(v; s),  v ~ N(0, I)
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from flowjax.bijections import RationalQuadraticSpline
from flowjax.distributions import StandardNormal
from flowjax.flows import coupling_flow
from jaxtyping import Array, Bool, Float, PRNGKeyArray

Summary = Literal["dense", "residual", "set"]


class Dense(eqx.Module):
    """A summary of visits at regular times: all features enter one network."""

    layers: eqx.nn.MLP

    def __init__(self, n_times: int, n_features: int, size: int, width: int, key: PRNGKeyArray):
        self.layers = eqx.nn.MLP(n_times * n_features, size, width, 2, jax.nn.silu, key=key)

    def __call__(
        self, features: Float[Array, "time feature"], rows: Bool[Array, " time"]
    ) -> Float[Array, " s"]:
        """The summary of one record."""
        return self.layers(features.ravel())


class GatedBlock(eqx.Module):
    """x + D(silu(G h) ⊙ U h), where h is x with mean 0 and variance 1 (Shazeer 2020, arXiv 2002.05202)."""

    norm: eqx.nn.LayerNorm
    gate: eqx.nn.Linear
    up: eqx.nn.Linear
    down: eqx.nn.Linear

    def __init__(self, width: int, key: PRNGKeyArray):
        first, second, third = jax.random.split(key, 3)
        self.norm = eqx.nn.LayerNorm(width)
        self.gate = eqx.nn.Linear(width, 2 * width, key=first)
        self.up = eqx.nn.Linear(width, 2 * width, key=second)
        self.down = eqx.nn.Linear(2 * width, width, key=third)

    def __call__(self, x: Float[Array, " width"]) -> Float[Array, " width"]:
        """The block's output."""
        h = self.norm(x)
        return x + self.down(jax.nn.silu(self.gate(h)) * self.up(h))


class Residual(eqx.Module):
    """A summary of visits at regular times by blocks with gates.

    Frequencies and phases are read from products of linear maps, which layers of `Dense` learn slowly.
    """

    first: eqx.nn.Linear
    blocks: tuple[GatedBlock, ...]
    last: eqx.nn.Linear

    def __init__(self, n_times: int, n_features: int, size: int, width: int, key: PRNGKeyArray):
        first, last, *others = jax.random.split(key, 2 + _BLOCKS)
        self.first = eqx.nn.Linear(n_times * n_features, width, key=first)
        self.blocks = tuple(GatedBlock(width, one) for one in others)
        self.last = eqx.nn.Linear(width, size, key=last)

    def __call__(
        self, features: Float[Array, "time feature"], rows: Bool[Array, " time"]
    ) -> Float[Array, " s"]:
        """The summary of one record."""
        x = self.first(features.ravel())
        for block in self.blocks:
            x = block(x)
        return self.last(x)


class VisitSet(eqx.Module):
    """A summary of visits at irregular times: the mean over visits of one network's outputs, then another.

    Their number enters the second, so that many visits differ from few.
    """

    visit: eqx.nn.MLP
    together: eqx.nn.MLP

    def __init__(self, n_times: int, n_features: int, size: int, width: int, key: PRNGKeyArray):
        first, second = jax.random.split(key)
        self.visit = eqx.nn.MLP(n_features, width, width, 2, jax.nn.silu, key=first)
        self.together = eqx.nn.MLP(width + 1, size, width, 2, jax.nn.silu, key=second)

    def __call__(
        self, features: Float[Array, "time feature"], rows: Bool[Array, " time"]
    ) -> Float[Array, " s"]:
        """The summary of one record."""
        each = jnp.where(rows[:, None], jax.vmap(self.visit)(features), 0.0)
        count = jnp.sum(rows).astype(each.dtype)
        pooled = jnp.sum(each, axis=0) / jnp.maximum(count, 1.0)
        return self.together(jnp.append(pooled, count / len(rows)))


_SUMMARIES = {"dense": Dense, "residual": Residual, "set": VisitSet}
_BLOCKS = 3
_KNOTS, _INTERVAL = 8, 5.0
_MIN_SCALE = 1e-4  # of the prior's standard deviation


class PosteriorNetwork(eqx.Module):
    """q(φ | record), for one record; use `jax.vmap` for many."""

    summary: Dense | Residual | VisitSet
    affine: eqx.nn.Linear
    flow: eqx.Module
    k: int = eqx.field(static=True)

    def __init__(
        self,
        n_times: int,
        n_features: int,
        k: int,
        *,
        summary: Summary,
        layers: int,
        width: int,
        key: PRNGKeyArray,
    ):
        first, second, third = jax.random.split(key, 3)
        size = max(32, 4 * k)
        self.k = k
        self.summary = _SUMMARIES[summary](n_times, n_features, size, 2 * width, first)
        linear = eqx.nn.Linear(size, k + k * (k + 1) // 2, key=second)
        self.affine = eqx.tree_at(lambda one: one.weight, linear, 0.1 * linear.weight)
        if k > 1:
            self.flow = coupling_flow(
                third,
                base_dist=StandardNormal((k,)),
                transformer=RationalQuadraticSpline(knots=_KNOTS, interval=_INTERVAL),
                cond_dim=size,
                flow_layers=layers,
                nn_width=width,
                nn_depth=2,
                nn_activation=jax.nn.silu,
            )
        else:
            raise ValueError("a coupling flow needs two parameters or more")

    def log_density(
        self, phi: Float[Array, " k"], features: Float[Array, "time feature"], rows: Bool[Array, " time"]
    ) -> Float[Array, ""]:
        """log q(φ | record)."""
        s = self.summary(features, rows)
        mean, factor = self._location_and_scale(s)
        u = jax.scipy.linalg.solve_triangular(factor, phi - mean, lower=True)
        return self.flow.log_prob(u, s) - jnp.sum(jnp.log(jnp.diagonal(factor)))

    def sample_and_log_density(
        self,
        v: Float[Array, "draw k"],
        features: Float[Array, "time feature"],
        rows: Bool[Array, " time"],
    ) -> tuple[Float[Array, "draw k"], Float[Array, " draw"]]:
        """Draws of q from standard normal numbers v, and log q of each."""
        s = self.summary(features, rows)
        mean, factor = self._location_and_scale(s)
        u, log_det = jax.vmap(lambda one: self.flow.bijection.transform_and_log_det(one, s))(v)
        log_base = jnp.sum(jax.scipy.stats.norm.logpdf(v), axis=1)
        return mean + u @ factor.T, log_base - log_det - jnp.sum(jnp.log(jnp.diagonal(factor)))

    def _location_and_scale(self, s):
        values = self.affine(s)
        mean, diagonal = values[: self.k], values[self.k : 2 * self.k]
        factor = jnp.diag(jax.nn.softplus(diagonal + 0.5413) + _MIN_SCALE)
        below = jnp.tril_indices(self.k, -1)
        return mean, factor.at[below].set(values[2 * self.k :])
