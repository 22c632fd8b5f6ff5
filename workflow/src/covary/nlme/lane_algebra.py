"""Linear algebra of one small symmetric matrix a lane; lanes are the last axes, and there may be none.

Plain arithmetic over lanes, where jax.numpy.linalg calls LAPACK for a batch: there each call waits for other
tasks of the pool of threads that it occupies itself, so that two of them on two cores wait forever.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from covary.nlme.arrays import Array

_UNROLLED = 8  # larger matrices are worked on in a loop, which compiles faster
_SWEEPS = 8  # Jacobi's method converges quadratically


def solve(a: Float[Array, "n n *lane"], b: Float[Array, "n *lane"]) -> Float[Array, "n *lane"]:
    """a⁻¹ b, by Gauss-Jordan elimination without pivoting, as suits positive definite matrices."""
    pivots, x = _eliminate(a, b[:, None])
    return x[:, 0] / pivots


# Derivatives by formula: those of each step of an elimination are several times as much to compile.
@jax.custom_jvp
def inverse(a: Float[Array, "n n *lane"]) -> Float[Array, "n n *lane"]:
    """a⁻¹ of a positive definite matrix."""
    pivots, x = _eliminate(a, _identity(a))
    return x / pivots[:, None]


@inverse.defjvp
def _inverse_slope(primals, tangents):
    """d(a⁻¹) = −a⁻¹ da a⁻¹."""
    x, (slope,) = inverse(*primals), tangents
    return x, -jnp.einsum("ij...,jk...,kl...->il...", x, slope, x)


@jax.custom_jvp
def log_determinant(a: Float[Array, "n n *lane"]) -> Float[Array, "*lane"]:
    """ln|a| of a positive definite matrix, NaN where it is not."""
    pivots, _ = _eliminate(a, a[:, :0])
    return jnp.sum(jnp.log(pivots), axis=0)


@log_determinant.defjvp
def _log_determinant_slope(primals, tangents):
    """d ln|a| = tr(a⁻¹ da)."""
    (a,), (slope,) = primals, tangents
    return log_determinant(a), jnp.sum(inverse(a) * jnp.swapaxes(slope, 0, 1), axis=(0, 1))


def eigh(a: Float[Array, "n n *lane"]) -> tuple[Float[Array, "n *lane"], Float[Array, "n n *lane"]]:
    """Eigenvalues, in no order, and eigenvectors (in columns), by cyclic Jacobi rotations.

    Source: Golub & Van Loan, Matrix Computations, section 8.5.
    """
    n = len(a)
    if n == 1:
        return a[0], jnp.ones_like(a)
    pairs = jnp.asarray(np.array(np.triu_indices(n, 1)))
    n_pairs = pairs.shape[1]

    def rotate(i, state):
        a, v = state
        p, q = pairs[:, i % n_pairs]
        done = a[p, q] == 0
        ratio = (a[q, q] - a[p, p]) / (2 * jnp.where(done, 1.0, a[p, q]))
        tangent = jnp.where(ratio >= 0, 1.0, -1.0) / (jnp.abs(ratio) + jnp.sqrt(1 + ratio**2))
        tangent = jnp.where(done, 0.0, tangent)
        cosine = 1 / jnp.sqrt(1 + tangent**2)
        sine = tangent * cosine
        rows = _turn(a, p, q, cosine, sine)
        columns = _turn(
            jnp.concatenate([jnp.swapaxes(rows, 0, 1), jnp.swapaxes(v, 0, 1)], axis=1), p, q, cosine, sine
        )
        return tuple(jnp.swapaxes(part, 0, 1) for part in (columns[:, :n], columns[:, n:]))

    a, v = jax.lax.fori_loop(0, _SWEEPS * n_pairs, rotate, (a, _identity(a)))
    return _diagonal(a), v


def _turn(rows, p, q, cosine, sine):
    """Turn rows p and q into each other."""
    turned = jnp.stack([cosine * rows[p] - sine * rows[q], sine * rows[p] + cosine * rows[q]])
    return rows.at[jnp.stack([p, q])].set(turned)


def _identity(a: Float[Array, "n n *lane"]) -> Float[Array, "n n *lane"]:
    return jnp.broadcast_to(jnp.eye(len(a)).reshape(*a.shape[:2], *[1] * (a.ndim - 2)), a.shape)


def _diagonal(a: Float[Array, "n n *lane"]) -> Float[Array, "n *lane"]:
    return a[np.arange(len(a)), np.arange(len(a))]


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
    return _diagonal(a), b
