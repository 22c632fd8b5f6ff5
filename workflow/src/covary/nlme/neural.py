"""Neural networks inside structural models, and the models with one that ship with Covary.

A model has its network as a field and calls it like a function, for one subject:

    class Growth(nlme.OdeModel):
        network: nlme.MLP = nlme.MLP(2, start=0.0)

        def vector_field(self, t, y, p):
            return (self.network(y[0], p["eta"]),)

The weights are population parameters with a Gaussian prior. They belong to the model, so a fit returns a
model with other weights, and everything that takes a model takes that one: `simulate`, `empirical_bayes`,
`objective`. Random effects among the inputs make one network into a network of each subject (DeepNLME). The
networks of the shipped models have a `skip`: a subject beyond those of the training needs outputs that
saturated units do not give.
"""

import itertools
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float64

from covary import rng
from covary.errors import UserError
from covary.nlme.arrays import Array
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.parameters import Parameters
from covary.nlme.residual import Additive

Range = Literal["real", "positive"] | tuple[float | int, float | int]


class MLP(eqx.Module):
    """A small dense network with tanh units, float64.

    `inputs` and `outputs` are their numbers, `width` and `depth` those of the hidden layers. An output is
    `real`, `positive`, or between two numbers. The last layer has weights 0 and the bias that gives `start`,
    so that an untrained network returns this number: 0 for a correction of a known term, else a plausible
    value. With `skip`, a linear function of the inputs, 0 at first, is added to the last layer: units of tanh
    saturate, and a subject beyond those of the training then still differs from them. Hidden weights are
    drawn by `seed` with variance 1/inputs. `prior_sd` is the standard deviation of
    the Gaussian prior of every weight (L2), infinity for none.

    Raises UserError if a number makes no sense.
    """

    layers: tuple[eqx.nn.Linear, ...]
    skip: eqx.nn.Linear | None
    range: Range = eqx.field(static=True)
    prior_sd: float = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        *,
        outputs: int = 1,
        width: int = 7,
        depth: int = 2,
        range: Range = "real",
        start: float | int = 1.0,
        prior_sd: float | int = 1.0,
        skip: bool = False,
        seed: int = 0,
    ):
        for name, value in (("inputs", inputs), ("outputs", outputs), ("width", width), ("depth", depth)):
            if value < 1:
                raise UserError(f"{name} of a network must be ≥ 1, got {value}")
        if not prior_sd > 0:
            raise UserError(f"prior_sd of a network must be > 0, got {prior_sd:g}")
        self.range, self.prior_sd = range, float(prior_sd)
        random, sizes = rng.generator(seed, "network"), [inputs, *[width] * depth, outputs]
        key = jax.ShapeDtypeStruct((2,), np.uint32)  # of a draw that never happens: only shapes are asked for
        layers = []
        for n_in, n_out in itertools.pairwise(sizes):
            layer = eqx.filter_eval_shape(eqx.nn.Linear, n_in, n_out, key=key)
            weights = random.normal(size=(n_out, n_in)) / np.sqrt(n_in)
            layers.append(eqx.tree_at(lambda at: (at.weight, at.bias), layer, (weights, np.zeros(n_out))))
        bias = np.full(outputs, _before_range(range, float(start)))
        layers[-1] = eqx.tree_at(lambda at: (at.weight, at.bias), layer, (0.0 * weights, bias))
        self.layers = tuple(layers)
        self.skip = None
        if skip:
            linear = eqx.filter_eval_shape(eqx.nn.Linear, inputs, outputs, use_bias=False, key=key)
            self.skip = eqx.tree_at(lambda at: at.weight, linear, np.zeros((outputs, inputs)))

    @property
    def n_weights(self) -> int:
        """How many weights and biases there are."""
        return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(self, eqx.is_inexact_array)))

    def __call__(self, *inputs: Float[Array, ""] | float) -> Any:
        """The output from numbers: one number, or a tuple if there are several `outputs`.

        Raises UserError if the number of inputs is wrong.
        """
        *hidden, last = self.layers
        if len(inputs) != self.layers[0].in_features:
            raise UserError(f"the network takes {self.layers[0].in_features} inputs, got {len(inputs)}")
        values = given = jnp.stack([jnp.asarray(value, dtype=float) for value in inputs])
        for layer in hidden:
            values = jnp.tanh(layer(values))
        values = last(values) if self.skip is None else last(values) + self.skip(given)
        values = _in_range(self.range, values)
        return values[0] if len(values) == 1 else tuple(values)


def _in_range(range: Range, value):
    if range == "real":
        return value
    if range == "positive":
        return jax.nn.softplus(value)
    low, high = range
    return low + (high - low) * jax.nn.sigmoid(value)


def _before_range(range: Range, value: float) -> float:
    """What `_in_range` takes to `value`. Raises UserError if the range does not hold it."""
    low, high = {"real": (-np.inf, np.inf), "positive": (0.0, np.inf)}.get(range, range)  # type: ignore[arg-type]
    if not low < value < high:
        raise UserError(f"start of a network must lie in its range ({low:g}, {high:g}), got {value:g}")
    if range == "real":
        return value
    if range == "positive":
        return float(value + np.log(-np.expm1(-value)))
    share = (value - low) / (high - low)
    return float(np.log(share) - np.log1p(-share))


def networks(model: OdeModel | ClosedFormModel) -> list[MLP]:
    """The networks of a model."""
    nodes = jax.tree.leaves(model, is_leaf=lambda node: isinstance(node, MLP))
    return [node for node in nodes if isinstance(node, MLP)]


def weights_of(model: OdeModel | ClosedFormModel) -> Float64[np.ndarray, " weight"]:
    """All weights of the networks of a model, as one vector; empty if it has no network."""
    leaves = jax.tree.leaves(eqx.filter(model, _weights(model)))
    return np.concatenate([np.zeros(0), *(np.ravel(leaf) for leaf in leaves)])


def with_weights(
    model: OdeModel | ClosedFormModel, weights: Float[Array, " weight"]
) -> OdeModel | ClosedFormModel:
    """The same model with other weights, in the order of `weights_of`; differentiable.

    Raises UserError if their number is wrong.
    """
    own, rest = eqx.partition(model, _weights(model))
    leaves, structure = jax.tree.flatten(own)
    sizes = [leaf.size for leaf in leaves]
    if len(weights) != sum(sizes):
        raise UserError(f"{type(model).__name__} has {sum(sizes)} weights, got {len(weights)}")
    starts = np.concatenate([[0], np.cumsum(sizes)])
    new = [
        weights[a:b].reshape(leaf.shape) for leaf, a, b in zip(leaves, starts[:-1], starts[1:], strict=True)
    ]
    return eqx.combine(jax.tree.unflatten(structure, new), rest)


def prior_precision(model: OdeModel | ClosedFormModel) -> Float64[np.ndarray, " weight"]:
    """1/sd² of the prior of each weight, in the order of `weights_of`; 0 where there is no prior."""
    each = [np.full(network.n_weights, network.prior_sd**-2.0) for network in networks(model)]
    return np.concatenate([np.zeros(0), *each])


def _weights(model) -> Any:
    """Which leaves of a model are weights."""
    return jax.tree.map(
        lambda node: jax.tree.map(eqx.is_inexact_array, node) if isinstance(node, MLP) else False,
        model,
        is_leaf=lambda node: isinstance(node, MLP),
    )


def _numbered(n: int) -> tuple[str, ...]:
    return tuple(f"eta_network_{i + 1}" for i in range(n))


class NeuralIndirectResponse(OdeModel):
    """A drug from an oral depot changes a response in a way that a network learns.

    dD/dt = −Ka D,  dC/dt = Ka D − CL/V C,  dR/dt = NN(C/V, R, η),  R(0) = tvR0 e^(tvSlope η₁). The network
    has `n_effects` random effects among its inputs; Ka and V have one each, log-normal. Both the
    concentration (CMT 1) and the response (CMT 2) are observed. With `n_effects=0` all subjects respond
    alike, R(0) = tvR0.
    """

    outputs: ClassVar = {1: "concentration", 2: "response"}
    n_effects: int = eqx.field(static=True)
    network: MLP

    def __init__(self, n_effects: int = 3, *, width: int = 7, prior_sd: float | int = 1.0, seed: int = 0):
        self.n_effects = n_effects
        self.network = MLP(2 + n_effects, width=width, start=0.0, prior_sd=prior_sd, skip=True, seed=seed)

    @property
    def fixed_effects(self) -> dict[str, str]:  # type: ignore[override]  # depends on `n_effects`
        """The typical values."""
        slope = {"tvSlope": "real"} if self.n_effects else {}
        return {"tvKa": "positive", "tvCL": "positive", "tvV": "positive", "tvR0": "positive"} | slope

    @property
    def random_effects(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of absorption and volume, and those of the network."""
        return ("eta_Ka", "eta_V", *_numbered(self.n_effects))

    def default_parameters(self) -> Parameters:
        """A start for amounts, volumes and responses of order 1."""
        slope = [1.0] if self.n_effects else []
        errors = {"concentration": Additive(0.05), "response": Additive(0.2)}
        return self.parameters([1.0, 1.0, 1.0, 0.5, *slope], omega=0.1, residual=errors)

    def individual(self, theta, eta, covariates):
        """Individual parameters."""
        slope = jnp.exp(theta["tvSlope"] * eta[2]) if self.n_effects else 1.0
        own = {f"eta_{i}": eta[2 + i] for i in range(self.n_effects)}
        return own | {
            "Ka": theta["tvKa"] * jnp.exp(eta[0]),
            "CL": theta["tvCL"],
            "V": theta["tvV"] * jnp.exp(eta[1]),
            "R0": theta["tvR0"] * slope,
        }

    def initial_state(self, p):
        """State before the first dose."""
        return 0.0, 0.0, p["R0"]

    def vector_field(self, t, y, p):
        """Time derivative of the state."""
        depot, central, response = y
        absorption, concentration = p["Ka"] * depot, central / p["V"]
        own = (p[f"eta_{i}"] for i in range(self.n_effects))
        return (
            -absorption,
            absorption - p["CL"] * concentration,
            self.network(concentration, response, *own),
        )

    def prediction(self, t, y, p):
        """What is observed."""
        return {"concentration": y[1] / p["V"], "response": y[2]}


class NeuralElimination(OdeModel):
    """The paper's model with an unknown elimination: dD/dt = −Ka D,  dC/dt = Ka D − C NN(C, η₂, …).

    The rate that the network gives is positive; `n_effects` random effects are among its inputs.
    Ka = tvKa e^η₁.
    """

    fixed_effects: ClassVar = {"tvKa": "positive"}
    n_effects: int = eqx.field(static=True)
    network: MLP

    def __init__(self, n_effects: int = 2, *, width: int = 7, prior_sd: float | int = 1.0, seed: int = 0):
        self.n_effects = n_effects
        self.network = MLP(
            1 + n_effects, width=width, range="positive", prior_sd=prior_sd, skip=True, seed=seed
        )

    @property
    def random_effects(self) -> tuple[str, ...]:  # type: ignore[override]  # depends on `n_effects`
        """That of the absorption, and those of the network."""
        return ("eta_Ka", *_numbered(self.n_effects))

    def default_parameters(self) -> Parameters:
        """A start for amounts of order 1."""
        return self.parameters([1.0], omega=1.0, residual=Additive(0.05))

    def individual(self, theta, eta, covariates):
        """Individual parameters."""
        own = {f"eta_{i}": eta[1 + i] for i in range(self.n_effects)}
        return own | {"Ka": theta["tvKa"] * jnp.exp(eta[0])}

    def initial_state(self, p):
        """State before the first dose."""
        return 0.0, 0.0

    def vector_field(self, t, y, p):
        """Time derivative of the state."""
        depot, central = y
        absorption = p["Ka"] * depot
        rate = self.network(central, *(p[f"eta_{i}"] for i in range(self.n_effects)))
        return -absorption, absorption - rate * central

    def prediction(self, t, y, p):
        """What is observed."""
        return y[1]


class NeuralCompartments(OdeModel):
    """Doses enter a depot D and leave from C; both rates are unknown: dD/dt = −a D,  dC/dt = a D − k C.

    One network gives a and k, both positive, from D, C and `n_effects` random effects. Its bias holds their
    typical values, so there are no fixed effects.
    """

    fixed_effects: ClassVar[dict[str, Literal["real", "positive"]]] = {}
    n_effects: int = eqx.field(static=True)
    network: MLP

    def __init__(self, n_effects: int = 3, *, width: int = 7, prior_sd: float | int = 1.0, seed: int = 0):
        self.n_effects = n_effects
        self.network = MLP(
            2 + n_effects, outputs=2, width=width, range="positive", prior_sd=prior_sd, skip=True, seed=seed
        )

    @property
    def random_effects(self) -> tuple[str, ...]:  # type: ignore[override]  # depends on `n_effects`
        """Those of the network."""
        return _numbered(self.n_effects)

    def default_parameters(self) -> Parameters:
        """A start for amounts of order 1."""
        return self.parameters([], omega=1.0, residual=Additive(0.05))

    def individual(self, theta, eta, covariates):
        """The random effects."""
        return {f"eta_{i}": eta[i] for i in range(self.n_effects)}

    def initial_state(self, p):
        """State before the first dose."""
        return 0.0, 0.0

    def vector_field(self, t, y, p):
        """Time derivative of the state."""
        depot, central = y
        absorbed, eliminated = self.network(depot, central, *(p[f"eta_{i}"] for i in range(self.n_effects)))
        return -absorbed * depot, absorbed * depot - eliminated * central

    def prediction(self, t, y, p):
        """What is observed."""
        return y[1]


class LatentRecord(ClosedFormModel):
    """No equations at all: a network decodes a record from random effects and time, f = NN(t/T, η).

    T, `time_scale_h`, brings times to order 1. Doses play no part.
    """

    fixed_effects: ClassVar = {"tvBase": "real"}
    n_effects: int = eqx.field(static=True)
    time_scale_h: float = eqx.field(static=True)
    network: MLP

    def __init__(
        self,
        n_effects: int = 2,
        *,
        time_scale_h: float | int = 10.0,
        width: int = 7,
        prior_sd: float | int = 1.0,
        seed: int = 0,
    ):
        self.n_effects, self.time_scale_h = n_effects, float(time_scale_h)
        self.network = MLP(1 + n_effects, width=width, start=0.0, prior_sd=prior_sd, skip=True, seed=seed)

    @property
    def random_effects(self) -> tuple[str, ...]:  # type: ignore[override]  # depends on `n_effects`
        """The latent variables."""
        return _numbered(self.n_effects)

    def default_parameters(self) -> Parameters:
        """A start for records of order 1."""
        return self.parameters([0.0], omega=1.0, residual=Additive(0.2))

    def individual(self, theta, eta, covariates):
        """The latent variables and the base line."""
        return {f"eta_{i}": eta[i] for i in range(self.n_effects)} | {"base": theta["tvBase"]}

    def closed_form(self, time_h, doses, p):
        """The decoded record."""
        own = [p[f"eta_{i}"] for i in range(self.n_effects)]
        return p["base"] + jax.vmap(lambda t: self.network(t, *own))(time_h / self.time_scale_h)
