"""What one row of a table means: a dose, an observation, or neither."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from covary.errors import UserError
from covary.nlme.design import MODELLED_DURATION, MODELLED_RATE, Dose
from covary.nlme.nonmem.clock import DATE_COLUMNS

Censoring = Literal["M1", "M3", "M4"]

# Columns that describe events. Every other column may be a covariate.
EVENT_COLUMNS = frozenset(
    ("ID", "TIME", *DATE_COLUMNS, "EVID", "MDV", "CMT", "DVID", "YTYPE", "DV", "CENS", "BLQ", "LIMIT")
).union(("AMT", "RATE", "DUR", "TINF", "II", "ADDL", "SS"))
_DURATIONS = ("DUR", "TINF")
_OUTPUTS = ("DVID", "YTYPE")  # the second is Monolix's


class DoseEvent(NamedTuple):
    """A dose, or a reset without one, and the line that ordered it."""

    time_h: float
    line: int
    dose: Dose | None
    resets: bool = False

    @property
    def cancels(self) -> bool:
        """Whether what was given before ends here."""
        return self.resets or (self.dose is not None and self.dose.steady_state == 1)


class Observation(NamedTuple):
    """An observation, or the bounds that a censored one lies between."""

    time_h: float
    line: int
    value: float
    output: int  # DVID, YTYPE or CMT of the row, 0 if the table has none
    low: float  # -inf … inf; NaN if the value itself was observed
    high: float
    floor: float  # the value is known to lie above it (M4)


def event_of(
    get: Callable[[str], float], time_h: float, line: int, censoring: Censoring | None
) -> DoseEvent | Observation | None:
    """The event of a row; `get` gives the number in a column, NaN where there is none. Without `censoring`
    an observation has no value.

    Raises UserError if the columns contradict each other or ask for something that is not supported.
    """
    amount, evid, mdv = _or(get("AMT"), 0.0), get("EVID"), get("MDV")
    if evid == evid and evid not in (0, 1, 2, 3, 4):
        raise UserError(f"EVID must be 0, 1, 2, 3 or 4, got {evid:g}")
    if mdv == mdv and mdv not in (0, 1):
        raise UserError(f"MDV must be 0 or 1, got {mdv:g}")
    _check_compartment(get("CMT"))
    if evid != evid:
        evid = float(amount != 0)
        if evid and mdv == 0:
            raise UserError(f"MDV must be 1 in a dose (AMT {amount:g}), got 0")
        if evid and mdv != mdv and censoring and _or(get("DV"), 0.0) != 0:
            raise UserError(f"a dose (AMT {amount:g}) is no observation; give DV {get('DV'):g} its own row")
    if evid in (1, 4):
        if mdv == 0 and censoring and _or(get("DV"), 0.0) != 0:
            raise UserError(f"a dose (EVID {evid:g}) is no observation; give DV {get('DV'):g} its own row")
        return DoseEvent(time_h, line, _dose(get, time_h, amount), resets=evid == 4)
    if amount != 0:
        raise UserError(f"AMT must be 0 or missing unless EVID is 1 or 4, got {amount:g} with EVID {evid:g}")
    if evid == 3:
        return DoseEvent(time_h, line, None, resets=True)
    if evid == 2 or mdv == 1:
        return None
    return _observation(get, time_h, line, censoring)


def _dose(get: Callable[[str], float], time_h: float, amount: float) -> Dose:
    rate, steady_state = _or(get("RATE"), 0.0), _or(get("SS"), 0.0)
    if amount <= 0:
        raise UserError(f"AMT must be > 0 in a dose, got {amount:g}")
    if rate < 0 and rate not in (MODELLED_RATE, MODELLED_DURATION):
        raise UserError(f"RATE must be ≥ 0, −1 or −2, got {rate:g}")
    if steady_state not in (0, 1, 2):
        raise UserError(f"SS must be 0, 1 or 2, got {steady_state:g}")
    duration = 0.0
    for column in _DURATIONS:
        given = _or(get(column), 0.0)
        if given < 0:
            raise UserError(f"{column} must be ≥ 0, got {given:g}")
        if given and rate < 0:
            raise UserError(f"{column} must be 0 where RATE is {rate:g}, got {given:g}")
        if given and rate and not np.isclose(given, amount / rate, rtol=1e-6):
            raise UserError(f"{column} must be AMT / RATE = {amount / rate:g}, got {given:g}")
        duration = duration or given
    if duration:  # it stays where F is not 1, and the rate changes
        rate = 0.0
    additional, interval = _or(get("ADDL"), 0.0), _or(get("II"), 0.0)
    if additional < 0 or additional != int(additional):
        raise UserError(f"ADDL must be a whole number ≥ 0, got {additional:g}")
    for column, wanted in (("ADDL", additional), ("SS", steady_state)):
        if wanted and interval <= 0:
            raise UserError(f"II must be > 0 with {column} {wanted:g}, got {interval:g}")
    compartment = int(_or(get("CMT"), 1.0)) or 1
    return Dose(time_h, amount, duration, compartment, int(additional), interval, rate, int(steady_state))


def _observation(
    get: Callable[[str], float], time_h: float, line: int, censoring: Censoring | None
) -> Observation | None:
    output = int(next((n for n in map(get, (*_OUTPUTS, "CMT")) if n == n), 0.0))
    if censoring is None:
        return Observation(time_h, line, np.nan, output, np.nan, np.nan, -np.inf)
    value, limit = get("DV"), get("LIMIT")
    censored = _or(get("CENS"), 0.0) or _or(get("BLQ"), 0.0)
    if censored not in (0, 1, -1):
        raise UserError(f"CENS must be 0, 1 (below DV) or -1 (above DV), got {censored:g}")
    if value != value:
        if not censored:
            raise UserError("DV must be a number in an observation (or set MDV to 1), got a missing value")
        raise UserError(
            "DV must be the limit of quantification in a censored observation, got a missing value"
        )
    if value == 0 and _or(get("BLQ"), 0.0) == 1 and censoring != "M1":
        raise UserError(
            "DV must be the limit of quantification where BLQ is 1, got 0; if that is the limit, name the "
            "column CENS"
        )
    floor = _or(limit, 0.0) if censoring == "M4" else -np.inf
    if censored != 1 and value <= floor:
        raise UserError(f"DV must lie above its lower limit {floor:g} (M4), got {value:g}")
    if not censored:
        return Observation(time_h, line, value, output, np.nan, np.nan, floor)
    if censoring == "M1":
        return None
    low, high = (floor, value) if censored == 1 else (value, np.inf)
    if low >= high:
        raise UserError(f"LIMIT must be below DV in a censored observation, got {low:g} and {high:g}")
    return Observation(time_h, line, value, output, low, high, floor)


def _check_compartment(compartment: float) -> None:
    if compartment == compartment and (compartment < 0 or compartment != int(compartment)):
        raise UserError(f"CMT must be a whole number ≥ 0, got {compartment:g}")


def _or(value: float, default: float) -> float:
    return default if value != value else value
