"""Linear algebra of one small symmetric matrix a lane; lanes are the last axes, and there may be none.

Plain arithmetic over lanes, where jax.numpy.linalg calls LAPACK for a batch: there each call waits for other
tasks of the pool of threads that it occupies itself, so that two of them on two cores wait forever.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from covary.nlme.arrays import Array

_UNROLLED = 8  # larger matrices are worked on in a loop, which compiles faster
_SWEEPS = 8  # Jacobi's method converges quadratically


def solve(a: Float[Array, "n n *lane"], b: Float[Array, "n *lane"]) -> Float[Array, "n *lane"]:
    """a⁻¹ b, by Gauss-Jordan elimination without pivoting, as suits positive definite matrices."""
    pivots, x = _eliminate(a, b[:, None])
    return x[:, 0] / pivots


def inverse(a: Float[Array, "n n *lane"]) -> Float[Array, "n n *lane"]:
    """a⁻¹ of a positive definite matrix."""
    n, lanes = len(a), a.shape[2:]
    identity = jnp.broadcast_to(jnp.eye(n).reshape(n, n, *[1] * len(lanes)), a.shape)
    pivots, x = _eliminate(a, identity)
    return x / pivots[:, None]


def log_determinant(a: Float[Array, "n n *lane"]) -> Float[Array, "*lane"]:
    """ln|a| of a positive definite matrix, NaN where it is not."""
    pivots, _ = _eliminate(a, a[:, :0])
    return jnp.sum(jnp.log(pivots), axis=0)


def eigh(a: Float[Array, "n n *lane"]) -> tuple[Float[Array, "n *lane"], Float[Array, "n n *lane"]]:
    """Eigenvalues, in no order, and eigenvectors (in columns), by cyclic Jacobi rotations.

    Source: Golub & Van Loan, Matrix Computations, section 8.5.
    """
    n = len(a)
    lanes = a.shape[2:]
    v = jnp.broadcast_to(jnp.eye(n).reshape(n, n, *[1] * len(lanes)), a.shape)

    def sweep(_, state):
        a, v = state
        for p in range(n - 1):
            for q in range(p + 1, n):
                done = a[p, q] == 0
                ratio = (a[q, q] - a[p, p]) / (2 * jnp.where(done, 1.0, a[p, q]))
                tangent = jnp.where(ratio >= 0, 1.0, -1.0) / (jnp.abs(ratio) + jnp.sqrt(1 + ratio**2))
                tangent = jnp.where(done, 0.0, tangent)
                cosine = 1 / jnp.sqrt(1 + tangent**2)
                sine = tangent * cosine
                a = _rotate(a, p, q, cosine, sine)
                a = jnp.swapaxes(_rotate(jnp.swapaxes(a, 0, 1), p, q, cosine, sine), 0, 1)
                v = jnp.swapaxes(_rotate(jnp.swapaxes(v, 0, 1), p, q, cosine, sine), 0, 1)
        return a, v

    a, v = jax.lax.fori_loop(0, _SWEEPS, sweep, (a, v))
    return jnp.stack([a[i, i] for i in range(n)]), v


def _rotate(rows, p, q, cosine, sine):
    """Turn rows p and q into each other."""
    turned = {p: cosine * rows[p] - sine * rows[q], q: sine * rows[p] + cosine * rows[q]}
    return jnp.stack([turned.get(i, rows[i]) for i in range(len(rows))])


def _eliminate(a: Float[Array, "n n *lane"], b: Float[Array, "n m *lane"]) -> tuple[Array, Array]:
    """The pivots (n, lane), and b after the row operations that make a diagonal."""
    n = len(a)
    row = jnp.arange(n).reshape(n, *[1] * (a.ndim - 2))

    def clear(j, state):
        a, b = state
        factor = jnp.where(row == j, 0.0, a[:, j] / a[j, j])[:, None]
        return a - factor * a[j], b - factor * b[j]

    if n <= _UNROLLED:
        state = (a, b)
        for j in range(n):
            state = clear(j, state)
        a, b = state
    else:
        a, b = jax.lax.fori_loop(0, n, clear, (a, b))
    return jnp.stack([a[i, i] for i in range(n)]), b
