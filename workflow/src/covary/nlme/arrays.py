"""What the engine's annotations mean by an array: one of NumPy or of JAX, since both go through the same
code."""

import jax
import numpy as np

Array = jax.Array | np.ndarray
