"""What the engine's annotations mean by an array: one of NumPy or of JAX, since both go through the same
code."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

if TYPE_CHECKING:
    # The two have no protocol in common that a static checker knows. Tests check kinds and shapes.
    Array = Any
else:
    Array = jax.Array | np.ndarray
