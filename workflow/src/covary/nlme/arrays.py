"""What the engine's annotations mean by an array: one of NumPy or of JAX, since both go through the same
code."""

from types import ModuleType
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    # The two have no protocol in common that a static checker knows. Tests check kinds and shapes.
    Array = Any
else:
    Array = jax.Array | np.ndarray


def namespace(values: Array) -> ModuleType:
    """The library that works on `values`: NumPy for its own arrays, which compiles nothing, else JAX."""
    return np if isinstance(values, np.ndarray) else jnp
