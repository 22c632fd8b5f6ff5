"""A trained posterior network as one file of arrays, which nothing unpickles."""

import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64

from covary.amortised.encoding import Encoder
from covary.amortised.network import PosteriorNetwork
from covary.amortised.train import Familiar, Trained, Training, in_single_precision
from covary.errors import UserError
from covary.files import whole

_SHAPES = ("layers", "width", "summary")


def save(path: Path, trained: Trained, settings: Training, factor: Float64[np.ndarray, "k k"]) -> None:
    """Write the network, how it was made, and the `factor` of its simulator."""
    leaves = jax.tree.leaves(eqx.filter(trained.network, eqx.is_array))  # permutations of the flow too
    made = {name: getattr(settings, name) for name in _SHAPES}
    description = json.dumps({"network": made, "encoder": trained.encoder._asdict(), "k": trained.network.k})
    with whole(path) as partial, partial.open("wb") as file:
        arrays = {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        familiar = trained.familiar._asdict()
        np.savez(file, description=description, factor=factor, **familiar, **arrays)


def load(path: Path) -> tuple[Trained, Float64[np.ndarray, "k k"]]:
    """The network of a file, and the factor of its simulator. Raises UserError if it is another file."""
    try:
        with np.load(path) as stored:
            description = json.loads(str(stored["description"]))
            factor = stored["factor"]
            familiar = Familiar(stored["mean"], stored["whitening"], float(stored["limit"]))
            n_leaves = sum(name.startswith("leaf_") for name in stored.files)
            leaves = [stored[f"leaf_{i}"] for i in range(n_leaves)]
    except (KeyError, ValueError, OSError):
        raise UserError(f"{path}: not a posterior network") from None
    encoder = Encoder(**description["encoder"] | {"times_h": tuple(description["encoder"]["times_h"])})
    return Trained(_network(description, encoder, leaves), encoder, familiar), factor


@in_single_precision
def _network(description: dict, encoder: Encoder, leaves: list[np.ndarray]) -> PosteriorNetwork:
    empty = PosteriorNetwork(
        len(encoder.times_h),
        encoder.n_features,
        description["k"],
        key=jax.random.key(0),
        **description["network"],
    )
    arrays, rest = eqx.partition(empty, eqx.is_array)
    structure = jax.tree.structure(arrays)
    return eqx.combine(jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in leaves]), rest)
