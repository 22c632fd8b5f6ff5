"""What a posterior network is trained on: a prior over parameters φ, and a simulator of records."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64

from covary import nlme, rng
from covary.config.visits import Missing
from covary.errors import UserError
from covary.records.visits import visits_that_take_place


@runtime_checkable
class Simulator(Protocol):
    """Records given parameters φ, which are N(0, I) under the prior of the training.

    `times_h` are the visits. No likelihood is needed.
    """

    times_h: Float64[np.ndarray, " time"]
    n_parameters: int

    def simulate(
        self, phi: Float64[np.ndarray, "subject k"], *, seed: int, stream: str, start: int
    ) -> Float64[np.ndarray, "subject time"]:
        """Records of the subjects `start …`, keyed by (seed, stream, subject); NaN is a missing visit."""
        ...


class EngineSimulator:
    """Records of a structural model with the study's own missing visits.

    φ are the random effects of `parameters` in units of their standard deviation in the training, `width`
    times the population's: η = width · L φ with Ω = L L'. A wide prior lets draws be weighted to populations
    other than that of the training.
    """

    def __init__(
        self,
        model: nlme.OdeModel | nlme.ClosedFormModel,
        parameters: nlme.Parameters,
        design: nlme.Design,
        missing: Sequence[Missing] = (),
        width: float = 1.0,
    ):
        if width <= 0:
            raise UserError(f"the prior of the training must have a width > 0, got {width:g}")
        if not design.shared:
            raise UserError("a posterior network needs a design that all subjects share")
        own = [name for name, values in design.covariates.items() if len(values) > 1]
        if own:
            raise UserError(f"a posterior network needs subjects with the same covariates; {own[0]} differs")
        self.model, self.parameters, self.missing = model, parameters.concrete(), list(missing)
        self.design = design
        self.times_h = design.time_h[0]
        self.n_parameters = len(model.random_effects)
        self.factor = width * np.linalg.cholesky(self.parameters.omega)

    def simulate(
        self, phi: Float64[np.ndarray, "subject k"], *, seed: int, stream: str, start: int
    ) -> Float64[np.ndarray, "subject time"]:
        """Records; a subject whose differential equation cannot be solved has NaN alone."""
        n = len(phi)
        eta = phi @ self.factor.T
        design = self.design.rows(np.zeros(n, dtype=np.int64))
        simulation = nlme.simulate(
            self.model, self.parameters, eta, design, seed, stream=stream, subjects=range(start, start + n)
        )
        return self.observed(simulation.observation, eta, seed=seed, stream=stream, start=start)

    def observed(
        self,
        y: Float64[np.ndarray, "subject time"],
        eta: Float64[np.ndarray, "subject k"],
        *,
        seed: int,
        stream: str,
        start: int,
    ) -> Float64[np.ndarray, "subject time"]:
        """What is observed of the subjects `start …`: NaN where a visit does not take place."""
        # The numbers of visits are keyed by seed; another seed keeps them apart from those of the study.
        present = visits_that_take_place(
            self.missing, self.times_h[None], np.ones((1, y.shape[1]), dtype=bool), y, eta,
            self.model.random_effects,
            seed=rng.stream_key(seed, stream), start=start,
        )  # fmt: skip
        return np.where(present, y, np.nan)


class FunctionSimulator:
    """Records y = f(φ) + ε with missing visits drawn by a function of (φ, uniform numbers).

    `mean` maps φ (subject, k) to (subject, time); `present` maps φ and u (subject, time + 1) to who is
    observed when, by default everyone always.
    """

    def __init__(
        self,
        times_h: Float[np.ndarray, " time"],
        n_parameters: int,
        mean: Callable[[np.ndarray], np.ndarray],
        sd: float,
        present: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    ):
        self.times_h, self.n_parameters = np.asarray(times_h, dtype=np.float64), n_parameters
        self.mean, self.sd, self._present = mean, sd, present

    def simulate(
        self, phi: Float64[np.ndarray, "subject k"], *, seed: int, stream: str, start: int
    ) -> Float64[np.ndarray, "subject time"]:
        """Records with normal errors."""
        n, n_times = len(phi), len(self.times_h)
        noise = rng.normal(seed, f"{stream}/error", start, start + n, (n_times,))
        y = self.mean(phi) + self.sd * noise
        if self._present is None:
            return y
        u = rng.uniform(seed, f"{stream}/missing", start, start + n, (n_times + 1,))
        return np.where(self._present(phi, u), y, np.nan)


def uniform_number_missing(most: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Up to `most` visits are missing; their number is uniform, and so are their places."""

    def present(phi: np.ndarray, u: np.ndarray) -> np.ndarray:
        count = np.floor(u[:, :1] * (most + 1))
        return np.argsort(np.argsort(u[:, 1:], axis=1), axis=1) >= count

    return present


def simulated(
    simulator: Simulator, start: int, stop: int, *, seed: int, stream: str
) -> tuple[Float64[np.ndarray, "subject k"], Float64[np.ndarray, "subject time"]]:
    """Parameters from the prior and their records, for the simulations `start … stop - 1`.

    Raises UserError if the simulator returns another shape, an infinite number, or nothing but NaN.
    """
    phi = rng.normal(seed, f"{stream}/prior", start, stop, (simulator.n_parameters,))
    y = np.asarray(simulator.simulate(phi, seed=seed, stream=stream, start=start))
    name, expected = type(simulator).__name__, (stop - start, len(simulator.times_h))
    if y.shape != expected:
        raise UserError(f"{name}.simulate must return shape {expected} (subjects, visits), got {y.shape}")
    if np.isinf(y).any():
        raise UserError(f"{name}.simulate must return finite numbers, or NaN for a missing visit, got inf")
    if not np.isfinite(y).any():
        raise UserError(f"{name}.simulate returned NaN at every visit of {stop - start} subjects")
    return phi, y.astype(np.float64)
