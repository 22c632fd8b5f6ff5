"""Population parameters: fixed effects θ, covariance Ω of the random effects, residual error.

A fit works on an unconstrained vector: fixed effects as they are or as logarithms, each block of Ω as a
Cholesky factor with the logarithm of its diagonal, residual standard deviations as logarithms.
"""

import dataclasses
import json

import numpy as np
from jaxtyping import Bool, Float, Int

from covary.errors import UserError
from covary.nlme.arrays import STATIC, Array, namespace, pytree
from covary.nlme.residual import RESIDUAL_ERRORS, PerOutput, ResidualError

Blocks = tuple[tuple[int, ...], ...]


@pytree
class Parameters:
    """Population parameters; make them with `model.parameters(...)`, which checks them."""

    theta: dict[str, Float[Array, ""] | float]
    omega: Float[Array, "k k"]
    residual: ResidualError
    domains: tuple[tuple[str, str], ...] = dataclasses.field(metadata=STATIC)
    random_effects: tuple[str, ...] = dataclasses.field(metadata=STATIC)
    blocks: Blocks = dataclasses.field(metadata=STATIC)
    # (m, n): the last m · n random effects are m for each of n occasions, which share one block of Ω. Only
    # the first occasion is in `blocks`.
    occasions: tuple[int, int] | None = dataclasses.field(metadata=STATIC, default=None)

    @classmethod
    def checked(
        cls,
        theta: dict[str, float],
        domains: dict[str, str],
        omega: np.ndarray,
        random_effects: tuple[str, ...],
        residual: ResidualError,
    ) -> "Parameters":
        """Parameters whose values are known to make sense.

        Raises UserError if a value is outside its range or Ω is not a positive definite matrix of the
        right size.
        """
        for name, domain in domains.items():
            if domain not in ("real", "positive"):
                raise UserError(f"the range of fixed effect {name} must be real or positive, got {domain!r}")
        for name, value in theta.items():
            if not np.isfinite(value) or (domains[name] == "positive" and value <= 0):
                raise UserError(f"fixed effect {name} must be a {domains[name]} number, got {value:g}")
        for field, value in residual.standard_deviations().items():
            if not (np.isfinite(value) and value > 0):
                raise UserError(f"residual {field} must be > 0, got {value:g}")
        k = len(random_effects)
        if omega.shape != (k, k):
            raise UserError(f"Ω must be {k} × {k} ({', '.join(random_effects)}), got shape {omega.shape}")
        if not np.array_equal(omega, omega.T):
            raise UserError(f"Ω must be symmetric, got {omega.tolist()}")
        if not np.all(np.isfinite(omega)) or np.linalg.eigvalsh(omega).min(initial=np.inf) <= 0:
            raise UserError(f"Ω must be positive definite, got {omega.tolist()}")
        return cls(theta, omega, residual, tuple(domains.items()), tuple(random_effects), _connected(omega))

    def shared_between_occasions(self, effects: int, occasions: int) -> "Parameters":
        """The same, where the last random effects are `effects` for each of so many occasions."""
        last = len(self.random_effects) - effects * (occasions - 1)
        blocks = tuple(block for block in self.blocks if block[0] < last)
        return dataclasses.replace(self, blocks=blocks, occasions=(effects, occasions))

    def to_vector(self) -> np.ndarray:
        """The parameters on the unconstrained scale, in the order of `vector_names`."""
        # The order is that of `domains`: JAX sorts the keys of a dictionary that passes through it.
        values = [np.log(self.theta[n]) if d == "positive" else self.theta[n] for n, d in self.domains]
        for block in self.blocks:
            factor = np.linalg.cholesky(np.asarray(self.omega)[np.ix_(block, block)])
            values += [
                np.log(factor[i, i]) if i == j else factor[i, j]
                for i in range(len(block))
                for j in range(i + 1)
            ]
        values += [np.log(v) for v in self.residual.standard_deviations().values()]
        return np.array(values, dtype=np.float64)

    def logarithms(self) -> Bool[np.ndarray, " p"]:
        """Which entries of `to_vector` are logarithms."""
        fixed = [domain == "positive" for _, domain in self.domains]
        omega = [i == j for block in self.blocks for i in range(len(block)) for j in range(i + 1)]
        return np.array([*fixed, *omega, *(True for _ in self.residual.standard_deviations())])

    def from_vector(self, vector: Float[Array, " p"]) -> "Parameters":
        """Parameters of this structure from an unconstrained vector; differentiable."""
        xp = namespace(vector)
        place = self._places_in_factor()
        diagonal = np.eye(len(place), dtype=bool)
        entries = xp.where(place < 0, 0.0, vector[np.maximum(place, 0)])
        factor = xp.where(diagonal, xp.exp(xp.where(diagonal, entries, 0.0)), entries)
        names = list(self.residual.standard_deviations())
        sds = dict(zip(names, xp.exp(vector[len(vector) - len(names) :]), strict=True))
        return dataclasses.replace(
            self,
            theta=self.theta_from(vector[: len(self.domains)]),
            omega=factor @ factor.T,
            residual=self.residual.with_standard_deviations(sds),
        )

    def _places_in_factor(self) -> Int[np.ndarray, "k k"]:
        """Where in the vector the entries of the Cholesky factor of Ω are; -1 where the factor is 0."""
        k = self.omega.shape[0]
        place = np.full((k, k), -1)
        pairs = [
            (row, column) for block in self.blocks for i, row in enumerate(block) for column in block[: i + 1]
        ]
        for at, (row, column) in enumerate(pairs, start=len(self.domains)):
            place[row, column] = at
        if self.occasions is not None:
            m, n = self.occasions
            first = k - m * n
            for start in range(first + m, k, m):
                place[start : start + m, start : start + m] = place[first : first + m, first : first + m]
        return place

    def theta_from(
        self, unconstrained: Float[Array, "fixed *lane"]
    ) -> dict[str, Float[Array, "*lane"] | float]:
        """Fixed effects by name from their values on the unconstrained scale."""
        xp = namespace(unconstrained)
        return {
            name: xp.exp(value) if domain == "positive" else value
            for (name, domain), value in zip(self.domains, unconstrained, strict=True)
        }

    def natural(self) -> dict[str, Float[Array, ""] | float]:
        """Every estimated quantity by name on its natural scale: fixed effects, entries of Ω, residual sd."""
        entries = {}
        for block in self.blocks:
            for i, row in enumerate(block):
                for column in block[: i + 1]:
                    entries[f"omega({self.random_effects[row]},{self.random_effects[column]})"] = self.omega[
                        row, column
                    ]
        residual = {f"residual {name}": value for name, value in self.residual.standard_deviations().items()}
        return {n: self.theta[n] for n, _ in self.domains} | entries | residual

    def concrete(self) -> "Parameters":
        """The same with plain floats and a NumPy matrix."""
        sds = {name: float(value) for name, value in self.residual.standard_deviations().items()}
        return dataclasses.replace(
            self,
            theta={n: float(self.theta[n]) for n, _ in self.domains},
            omega=np.asarray(self.omega, dtype=np.float64),
            residual=self.residual.with_standard_deviations(sds),
        )


def parameters_to_json(parameters: Parameters) -> str:
    """Parameters as JSON text; `parameters_from_json` gives back the same numbers to the last bit."""
    concrete = parameters.concrete()
    return json.dumps(
        {
            "theta": concrete.theta,
            "domains": dict(concrete.domains),
            "random_effects": list(concrete.random_effects),
            "omega": concrete.omega.tolist(),
            "residual": _residual_to_json(concrete.residual),
        }
        | ({} if concrete.occasions is None else {"occasions": list(concrete.occasions)}),
        indent=2,
    )


def parameters_from_json(text: str) -> Parameters:
    """Parameters from the text that `parameters_to_json` wrote.

    Raises UserError if the text is something else.
    """
    try:
        raw = json.loads(text)
        error = _residual_from_json(raw["residual"])
        parameters = Parameters.checked(
            raw["theta"], raw["domains"], np.array(raw["omega"]), tuple(raw["random_effects"]), error
        )
        occasions = raw.get("occasions")
        return parameters if occasions is None else parameters.shared_between_occasions(*occasions)
    except (KeyError, TypeError, json.JSONDecodeError) as fault:
        raise UserError(
            f"population parameters must be JSON written by parameters_to_json: {fault!r}"
        ) from None


def _residual_to_json(residual: ResidualError) -> dict:
    if isinstance(residual, PerOutput):
        return {"outputs": dict(zip(residual.names, map(_residual_to_json, residual.errors), strict=True))}
    options = {f.name: getattr(residual, f.name) for f in dataclasses.fields(residual)}
    return {"error": type(residual).__name__} | options


def _residual_from_json(raw: dict) -> ResidualError:
    if "outputs" in raw:
        return PerOutput(tuple(raw["outputs"]), tuple(map(_residual_from_json, raw["outputs"].values())))
    options = dict(raw)
    return RESIDUAL_ERRORS[options.pop("error")](**options)


def _connected(omega: np.ndarray) -> Blocks:
    """Groups of random effects that are correlated, as index tuples."""
    k = omega.shape[0]
    reach = np.linalg.matrix_power((omega != 0).astype(int) + np.eye(k, dtype=int), k) > 0
    return tuple(sorted({tuple(int(i) for i in np.flatnonzero(row)) for row in reach}))
