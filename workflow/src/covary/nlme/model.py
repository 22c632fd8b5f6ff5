"""Structural models: from fixed effects, random effects and covariates to a prediction over time.

A model is a small class. It derives from `OdeModel` (initial state, vector field, prediction) or from
`ClosedFormModel` (the prediction as a formula). Every method is written for one subject in `jax.numpy`; the
engine batches and differentiates it.
"""

import abc
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from covary.errors import UserError
from covary.nlme.arrays import Array
from covary.nlme.dosing import Dosing
from covary.nlme.parameters import Parameters
from covary.nlme.residual import PerOutput, ResidualError

State = Sequence[Float[Array, ""] | float] | Float[Array, " state"]


class Doses(eqx.Module):
    """The doses of one subject, in the order of the record, as a closed form sees them."""

    amount: Float[Array, "dose *lane"]
    duration_h: Float[Array, "dose *lane"]  # 0 for a bolus
    compartment: Int[Array, "dose *lane"]  # counted from 0
    elapsed_h: Float[Array, "time dose *lane"]  # time since the dose at each observation
    given: Bool[Array, "time dose *lane"]  # whether the dose comes before the observation in the record


class StructuralModel(eqx.Module):
    """What every structural model declares. Derive from `OdeModel` or `ClosedFormModel` instead.

    `fixed_effects` names the typical values and the range each lives in; `random_effects` names the entries
    of eta. A model with several outputs names them in `outputs` by their CMT or DVID in a table; its
    prediction is then a dictionary of all of them, and its residual error one error model per output.
    `time_unit` and `outcome_unit` are words for axes and datasets; nothing is converted.
    """

    fixed_effects: ClassVar[dict[str, Literal["real", "positive"]]]
    random_effects: ClassVar[tuple[str, ...]]
    outputs: ClassVar[dict[int, str]] = {}
    time_unit: ClassVar[str] = "h"
    outcome_unit: ClassVar[str] = "dose unit"
    occasion_effects: ClassVar[tuple[str, ...]] = ()  # of `with_occasions`
    occasions: ClassVar[tuple[int, str] | None] = None  # their number, and the covariate that tells them

    @abc.abstractmethod
    def individual(self, theta: dict, eta: Float[Array, " k"], covariates: Mapping) -> dict:
        """Individual parameters of one subject from fixed effects, random effects and covariates, all by
        name."""

    def dosing(self, p: dict) -> dict[int, Dosing]:
        """How doses enter, by compartment (counted from 1): lag time, bioavailability, and the rate or
        duration of infusions whose RATE is −1 or −2. Compartments that are not named take doses as they are
        given."""
        return {}

    def choose(self, f, output: Int[Array, "time *lane"] | None) -> Float[Array, "*time lane"]:
        """Of the predictions of all outputs, each (time, lane) or (lane,), the one that is observed."""
        if output is None:
            return f
        output = output if output.ndim > 1 else output[:, None]
        values = [f[name] for name in self.outputs.values()]
        return jnp.select([output == i for i in range(len(values))], values)

    def default_parameters(self) -> Parameters:
        """Population parameters of a sensible example. Raises UserError if the model has none."""
        raise UserError(f"{type(self).__name__} has no default_parameters(); give the parameters")

    def initial_fixed_effects(self) -> dict[str, float]:
        """The fixed effects from which a fit starts unless told otherwise: those of `default_parameters`."""
        return self.default_parameters().theta

    def parameters(
        self, fixed_effects: dict[str, float] | Sequence[float | int], omega, residual
    ) -> Parameters:
        """Checked population parameters of this model.

        `fixed_effects` by name, or in the order of the model's own; `omega` a number (times the identity),
        the diagonal, or the matrix, whose non-zero off-diagonal entries are the ones a fit estimates;
        `residual` an error model such as `Additive(0.1)`, or one per output by name.

        Raises UserError if a name is missing or unknown, a value is outside its range, or Ω is not a
        positive definite matrix of the right size.
        """
        if isinstance(self.random_effects, str):
            raise UserError(
                f"{type(self).__name__}.random_effects must be a tuple of names, got {self.random_effects!r}"
            )
        names = list(self.fixed_effects)
        if not isinstance(fixed_effects, dict):
            if len(fixed_effects) != len(names):
                raise UserError(
                    f"fixed effects must be {len(names)} numbers ({', '.join(names)}), "
                    f"got {len(fixed_effects)}"
                )
            fixed_effects = dict(zip(names, fixed_effects, strict=True))
        if set(fixed_effects) != set(names):
            raise UserError(f"fixed effects must be {', '.join(names)}, got {', '.join(fixed_effects)}")
        omega = np.asarray(omega, dtype=np.float64)
        if omega.ndim == 0:
            omega = omega * np.eye(len(self.random_effects))
        elif omega.ndim == 1:
            omega = np.diag(omega)
        return Parameters.checked(
            {name: float(fixed_effects[name]) for name in names},
            dict(self.fixed_effects),
            omega,
            tuple(self.random_effects),
            self._residual(residual),
        )

    def _residual(self, residual) -> ResidualError:
        """The residual error of all outputs."""
        example = "an error model such as nlme.Additive(0.1)"
        if not self.outputs:
            if not isinstance(residual, ResidualError):
                raise UserError(f"residual must be {example}, got {residual!r}")
            return residual
        names = tuple(self.outputs.values())
        if not isinstance(residual, dict) or set(residual) != set(names):
            raise UserError(f"residual must be a dictionary of {', '.join(names)}, got {residual!r}")
        for name, error in residual.items():
            if not isinstance(error, ResidualError):
                raise UserError(f"residual of {name} must be {example}, got {error!r}")
        return PerOutput(names, tuple(residual[name] for name in names))


class OdeModel(StructuralModel):
    """A structural model given by ordinary differential equations.

    A state is a tuple of numbers, one per compartment, also where there is only one: unpack it, take
    `y[0]`, or stack it if a vector is wanted.
    """

    @abc.abstractmethod
    def initial_state(self, p: dict) -> State:
        """State at the start of the record (`Design.start_h`), before the first dose."""

    @abc.abstractmethod
    def vector_field(self, t: Float[Array, ""], y: State, p: dict) -> State:
        """Time derivative of each state; infusions are added by the engine."""

    @abc.abstractmethod
    def prediction(self, t: Float[Array, ""], y: State, p: dict) -> Float[Array, ""] | dict:
        """What is observed, without residual error; by name if there are several `outputs`."""


class ClosedFormModel(StructuralModel):
    """A structural model whose prediction is a formula.

    `compartments` says into how many compartments doses may go. A formula that does not say so takes doses
    into any, as long as it tells them apart.
    """

    compartments: ClassVar[int | None] = None

    @abc.abstractmethod
    def closed_form(
        self, time_h: Float[Array, " time"], doses: Doses, p: dict
    ) -> Float[Array, " time"] | dict:
        """What is observed at each time since the start of the record, without residual error; by name if
        there are several `outputs`."""
