"""The likelihood of observations of which only bounds are known.

On the scale of the residual error model an observation is normal around its prediction f with variance R. Its
probability to lie between two bounds is Φ(b) − Φ(a) with b = (high − f)/√R and a = (low − f)/√R. Source: Beal
(2001), Journal of Pharmacokinetics and Pharmacodynamics 28:481-504, methods M3 and M4.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr
from jaxtyping import Float

from covary.nlme.arrays import Array
from covary.nlme.design import Bounds
from covary.nlme.residual import ResidualError

Values = Float[Array, "time lane"]


def censored_terms(residual: ResidualError, bounds: Bounds, f: Values, r: Values, terms: Values) -> Values:
    """Each observation's −ln likelihood, where `terms` are those of exact observations without bounds."""
    low, high, floor = _standardised(residual, bounds, f, r)
    terms = jnp.where(_censored(bounds), -_log_probability(residual, bounds, low, high), terms)
    return terms + jnp.where(_floored(residual, bounds), log_ndtr(-floor), 0.0)


def censored_information(
    residual: ResidualError, bounds: Bounds, f: Values, frozen: Values | None, information: Values
) -> Values:
    """Each observation's curvature about its prediction, where `information` is that of exact observations.

    As in a Gauss-Newton method the bounds count as linear in f: the curvature of M3 is never negative.
    """

    def standardised(f):
        return _standardised(residual, bounds, f, residual.variance(f if frozen is None else frozen))

    ones = jnp.ones_like(f)
    at, slopes = jax.jvp(standardised, (f,), (ones,))

    def curvature(function):
        def along(s):
            return function(*(z + s * slope for z, slope in zip(at, slopes, strict=True)))

        zeros = jnp.zeros_like(f)
        return jax.jvp(lambda s: jax.jvp(along, (s,), (ones,))[1], (zeros,), (ones,))[1]

    between = curvature(lambda low, high, floor: -_log_probability(residual, bounds, low, high))
    above = curvature(lambda low, high, floor: log_ndtr(-floor))
    information = jnp.where(_censored(bounds), between, information)
    return information + jnp.where(_floored(residual, bounds), above, 0.0)


def _censored(bounds: Bounds):
    return ~jnp.isnan(bounds.low)


def _floored(residual: ResidualError, bounds: Bounds):
    """Where the floor says something: a log-normal value lies above 0 anyway."""
    return jnp.isfinite(residual.transform(bounds.floor))


def _standardised(residual, bounds, f, r):
    """(bound − f)/√R of the three bounds; any finite number where a bound says nothing."""
    g, sd = residual.transform(f), jnp.sqrt(r)

    def standardise(bound):
        transformed = residual.transform(bound)
        return (jnp.where(jnp.isfinite(transformed), transformed, g) - g) / sd

    return standardise(bounds.low), standardise(bounds.high), standardise(bounds.floor)


def _log_probability(residual: ResidualError, bounds: Bounds, low: Values, high: Values) -> Values:
    """ln(Φ(high) − Φ(low)), in the tail that loses no digits."""
    open_below, open_above = (~jnp.isfinite(residual.transform(b)) for b in (bounds.low, bounds.high))
    interval = ~open_below & ~open_above
    upper = low > 0  # both bounds in the upper tail
    near, far = jnp.where(upper, -low, high), jnp.where(upper, -high, low)
    first = log_ndtr(jnp.where(interval, near, jnp.where(open_below, high, -low)))
    apart = jnp.where(interval, log_ndtr(jnp.where(interval, far, 0.0)) - first, -1.0)
    return first + jnp.where(interval, jnp.log1p(-jnp.exp(apart)), 0.0)
