"""Who was dosed and observed when: designs, records, and the schedule the solver follows.

A `Design` is shared by all subjects (one row, whatever their number) or ragged (one row per subject, padded
and masked). `Records` are a design with observations.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from covary.errors import UserError
from covary.nlme.arrays import Array

_ROWS = (
    "start_h",
    "time_h",
    "observed",
    "dose_time_h",
    "dose_amount",
    "dose_duration_h",
    "dose_compartment",
    "doses_before",
    "output",
    "dose_resets",
    "dose_rate",
    "dose_run_in",
    "observation_line",
    "dose_line",
)
MODELLED_RATE, MODELLED_DURATION = -1.0, -2.0  # NONMEM's RATE of infusions that the model describes
RUN_IN = 200  # doses before one at steady state


class Dose(NamedTuple):
    """A dose, and the doses that repeat it.

    The amount enters `compartment` (counted from 1, as in NONMEM tables) at once, or over `duration_h`, or at
    a constant `rate`. A rate of −1 or −2 leaves the rate or the duration to the model's `dosing`. It is
    repeated `additional` times, `interval_h` apart (ADDL and II). `steady_state` 1 says that it was given
    every `interval_h` for ever, and nothing else was; 2 adds such a steady state to what is there (SS).
    """

    time_h: float
    amount: float
    duration_h: float = 0.0
    compartment: int = 1
    additional: int = 0
    interval_h: float = 0.0
    rate: float = 0.0
    steady_state: int = 0

    def repeated(self) -> list["Dose"]:
        """This dose and its repetitions as single doses; the first keeps its steady state.

        Raises UserError if a number makes no sense.
        """
        for name in ("time_h", "amount", "duration_h", "interval_h", "rate"):
            if not np.isfinite(value := getattr(self, name)):
                raise UserError(f"{name} of a dose must be finite, got {value}")
        if self.amount <= 0:
            raise UserError(f"amount of a dose must be > 0, got {self.amount:g}")
        if self.duration_h < 0:
            raise UserError(f"duration_h of a dose must be ≥ 0, got {self.duration_h:g}")
        if self.rate < 0 and self.rate not in (MODELLED_RATE, MODELLED_DURATION):
            raise UserError(f"rate of a dose must be ≥ 0, −1 or −2, got {self.rate:g}")
        if self.rate and self.duration_h:
            raise UserError("give duration_h or rate of a dose, not both")
        for name, least in (("compartment", 1), ("additional", 0)):
            value = getattr(self, name)
            if value != int(value) or value < least:
                raise UserError(f"{name} of a dose must be a whole number ≥ {least}, got {value:g}")
        if self.steady_state not in (0, 1, 2):
            raise UserError(f"steady_state of a dose must be 0, 1 or 2, got {self.steady_state}")
        if (self.additional or self.steady_state) and self.interval_h <= 0:
            kind = "repeated dose" if self.additional else "dose at steady state"
            raise UserError(f"interval_h of a {kind} must be > 0, got {self.interval_h:g}")
        first = self._replace(compartment=int(self.compartment), additional=0)
        later = first._replace(interval_h=0.0, steady_state=0)
        times = [self.time_h + i * self.interval_h for i in range(1, int(self.additional) + 1)]
        if not self.steady_state:
            first = later
        return [first, *(later._replace(time_h=time) for time in times)]


class SingleDose(NamedTuple):
    """A dose as a column of a design."""

    time_h: float
    amount: float
    duration_h: float
    compartment: int  # counted from 0
    rate: float
    resets: bool
    run_in: int  # how many doses, from this one, bring the one after them to steady state
    line: int = 0  # of a table, if it comes from one


def single_doses(dose: Dose, resets: bool = False) -> list[SingleDose]:
    """A dose that is not repeated, after the doses that bring it to steady state if it is at one."""
    duration = dose.amount / dose.rate if dose.rate > 0 else dose.duration_h
    own = SingleDose(dose.time_h, dose.amount, duration, dose.compartment - 1, dose.rate, resets, 0)
    if not dose.steady_state:
        return [own]
    alone = resets or dose.steady_state == 1
    times = [dose.time_h - i * dose.interval_h for i in range(RUN_IN, 0, -1)]
    first, *rest = (own._replace(time_h=time, resets=False) for time in times)
    return [first._replace(resets=alone, run_in=RUN_IN), *rest, own._replace(resets=False)]


def dose_columns(rows: Sequence[Sequence[SingleDose]]) -> dict[str, Any]:
    """The fields of a design that hold its doses: arrays, or None where no dose needs the field."""
    table = np.zeros((len(rows), max(map(len, rows)), len(SingleDose._fields)))
    for values, doses in zip(table, rows, strict=True):
        for column, dose in zip(values, doses, strict=False):
            column[:] = dose
    time, amount, duration, compartment, rate, resets, run_in, line = np.moveaxis(table, -1, 0)
    return {
        "dose_time_h": time,
        "dose_amount": amount,
        "dose_duration_h": duration,
        "dose_compartment": compartment.astype(np.int64),
        "dose_resets": resets.astype(bool) if resets.any() else None,
        "dose_rate": rate if rate.any() else None,
        "dose_run_in": run_in.astype(np.int64) if run_in.any() else None,
        "dose_line": line.astype(np.int64) if line.any() else None,
    }


class Varying(eqx.Module):
    """Covariates that change within a subject.

    Row by row, `value[name]` holds one value per epoch, and `change_h` the times that part them, padded with
    infinity. At the time of a change the new value holds, or still the old one if `backward`.
    """

    change_h: Float64[np.ndarray, "row change"]
    value: dict[str, Float64[np.ndarray, "row epoch"]]
    backward: bool = eqx.field(static=True)

    def epoch(self, row: int, time_h: float) -> int:
        """The epoch at a time."""
        changes = self.change_h[row]
        passed = changes < time_h if self.backward else changes <= time_h
        return int(np.count_nonzero(passed))


class Design(eqx.Module):
    """Observation times, doses and covariates. All leading axes are `row`: 1 if shared, else one per subject.

    Rows are padded: `observed` marks real observation times, and doses beyond a subject's own have amount 0.
    `doses_before[i, j]` is how many of the row's doses come before observation j in the record. A dose that
    resets may have amount 0. Time may go back at a reset.

    The initial state of a model is its state at `start_h`. A closed form counts its time from there, or from
    the last reset.
    A covariate has one value for all subjects or one per subject, whether the rest is shared or not.
    """

    n_subjects: int = eqx.field(static=True)
    start_h: Float64[np.ndarray, " row"]
    time_h: Float64[np.ndarray, "row time"]
    observed: Bool[Array, "row time"]
    dose_time_h: Float64[np.ndarray, "row dose"]
    dose_amount: Float64[np.ndarray, "row dose"]
    dose_duration_h: Float64[np.ndarray, "row dose"]  # 0 for a bolus
    dose_compartment: Int[Array, "row dose"]  # counted from 0
    doses_before: Int[Array, "row time"]
    covariates: dict[str, Float64[np.ndarray, " _"]]
    subject_ids: tuple[str, ...] | None = None
    output: Int[Array, "row time"] | None = None  # which output is observed: CMT or DVID, 0 if not said
    dose_resets: Bool[Array, "row dose"] | None = None  # whether the initial state comes back first
    # As given, where it was; −1 and −2: a modelled rate or duration.
    dose_rate: Float64[np.ndarray, "row dose"] | None = None
    dose_run_in: Int[Array, "row dose"] | None = None  # how many doses, from here, lead to a steady state
    observation_line: Int[Array, "row time"] | None = None  # of the table that the design comes from
    dose_line: Int[Array, "row dose"] | None = None
    varying: Varying | None = None
    unusable: dict[str, str] = eqx.field(default_factory=dict)  # why a column of a table is no covariate

    @property
    def shared(self) -> bool:
        """Whether one row serves all subjects."""
        return self.time_h.shape[0] == 1

    @classmethod
    def regular(
        cls,
        times_h: Sequence[float | int] | Float64[np.ndarray, " time"],
        *,
        n_subjects: int,
        dose: float | int = 0.0,
        doses: Sequence[Dose] = (),
        outputs: Sequence[int] = (),
        covariates: Mapping[str, float | int | Sequence[float | int] | Float[np.ndarray, " subject"]]
        | None = None,
    ) -> "Design":
        """One design for all subjects: the same times and the same doses.

        `dose` is short for `doses=[Dose(0.0, dose)]`. An observation at the time of a dose comes after it.
        A covariate is one number for all subjects, or one per subject. Of a model with several outputs those
        in `outputs` are observed at each time, in this order, by the numbers that the model gives them.
        Time starts at 0, or at the first dose or observation if that comes before 0.

        Raises UserError if times are missing, not finite or do not increase, or if a dose or a covariate
        makes no sense.
        """
        time = np.asarray(times_h, dtype=np.float64)
        if time.ndim != 1 or time.size == 0:
            raise UserError(f"times_h must be a list of times, got shape {time.shape}")
        if not np.all(np.isfinite(time)) or np.any(np.diff(time) <= 0):
            raise UserError(f"times_h must increase, got {time.tolist()}")
        if n_subjects < 1:
            raise UserError(f"n_subjects must be ≥ 1, got {n_subjects}")
        if dose and doses:
            raise UserError("give dose or doses, not both")
        ordered = sorted(
            (d for one in (doses or [Dose(0.0, dose)] if dose or doses else ()) for d in one.repeated()),
            key=lambda d: d.time_h,
        )
        single = [(d.time_h, s) for d in ordered for s in single_doses(d)]
        dose_time = np.array([time_h for time_h, _ in single], dtype=np.float64)
        output = np.tile(np.array(outputs, dtype=np.int64), time.size) if outputs else None
        time = np.repeat(time, max(len(outputs), 1))
        columns = dose_columns([[s for _, s in single]])
        return cls(
            n_subjects,
            np.array([min(0.0, time[0], *dose_time[:1])]),
            time[None],
            np.ones((1, time.size), dtype=bool),
            columns.pop("dose_time_h"),
            columns.pop("dose_amount"),
            columns.pop("dose_duration_h"),
            columns.pop("dose_compartment"),
            np.searchsorted(dose_time, time, side="right")[None],
            {name: _covariate(name, value, n_subjects) for name, value in (covariates or {}).items()},
            output=None if output is None else output[None],
            **columns,
        )

    def rows(self, subjects: np.ndarray) -> "Design":
        """The design of some subjects, by index; repeats are allowed."""
        rows = {name: getattr(self, name) for name in _ROWS}
        taken = {} if self.shared else {n: v[subjects] for n, v in rows.items() if v is not None}
        varying = self.varying
        if varying is not None and not self.shared:
            changes, values = jax.tree.map(lambda v: v[subjects], (varying.change_h, varying.value))
            varying = Varying(changes, values, varying.backward)
        own = {n: v if len(v) == 1 else v[subjects] for n, v in self.covariates.items()}
        ids = None if self.subject_ids is None else tuple(self.subject_ids[i] for i in subjects)
        return dataclasses.replace(
            self, **taken, n_subjects=len(subjects), covariates=own, varying=varying, subject_ids=ids
        )

    def refined(self, points: int) -> "Design":
        """The same with about `points` times per row, spread evenly, besides those that are observed.

        No time is added where the record resets.
        """
        rows = [_refined(self, row, points) for row in range(len(self.time_h))]
        width = max(len(columns[0]) for columns in rows)
        time, before, output = (
            np.stack([np.pad(columns[i], (0, width - len(columns[i])), mode="edge") for columns in rows])
            for i in range(3)
        )
        observed = np.stack([np.arange(width) < len(columns[0]) for columns in rows])
        return dataclasses.replace(
            self,
            time_h=time,
            observed=observed,
            doses_before=before,
            output=None if self.output is None else output,
            observation_line=None,
        )

    def name(self, subject: int | np.integer) -> str:
        """How to call a subject in a message."""
        return str(subject) if self.subject_ids is None else self.subject_ids[subject]


def in_table(lines: Int[Array, "row _"] | None, row: int | np.integer, column: int | np.integer) -> str:
    """` (line 7 of the table)`, for a message about a dose or an observation; empty if there is no table."""
    return "" if lines is None else f" (line {lines[row, column]} of the table)"


class Bounds(eqx.Module):
    """Between which values censored observations lie.

    `low` and `high` are NaN where the value itself was observed. Every observation is known to lie above
    `floor`, -inf where nothing is known.
    """

    low: Float64[Array, "subject time"]
    high: Float64[Array, "subject time"]
    floor: Float64[Array, "subject time"]


class Records(eqx.Module):
    """A design and what was observed. `present` marks the observations that enter the likelihood.

    The observation of a censored value is its limit of quantification; what is known of it is in `bounds`.
    """

    design: Design
    observation: Float[Array, "subject time"]
    present: Bool[Array, "subject time"]
    bounds: Bounds | None = None

    @classmethod
    def of(
        cls,
        design: Design,
        observation: Float[Array, "subject time"],
        *,
        missing_as_nan: bool = False,
        bounds: Bounds | None = None,
    ) -> "Records":
        """Records of a design. A NaN is an error, or a missing visit if `missing_as_nan`.

        Raises UserError if shapes disagree, an observation is not finite, or a subject has none although no
        visit may be missing.
        """
        observation = np.asarray(observation)
        expected = (design.n_subjects, design.time_h.shape[1])
        if observation.shape != expected:
            raise UserError(f"observation must have shape {expected}, got {observation.shape}")
        present = np.broadcast_to(design.observed, expected)
        finite = np.isfinite(observation)
        if missing_as_nan:
            present = present & ~np.isnan(observation)
        if np.any(bad := present & ~finite):
            subject, time = np.argwhere(bad)[0]
            at = design.time_h[0 if design.shared else subject, time]
            raise UserError(
                f"subject {design.name(subject)}: observation at {at:g} h must be a finite number, "
                f"got {observation[subject, time]}"
            )
        empty = ~present.any(axis=1)
        if np.any(empty) and not missing_as_nan:
            raise UserError(f"subject {design.name(int(np.argmax(empty)))} has no observations")
        return cls(design, observation, present, bounds)

    def __getitem__(self, subjects: slice | np.ndarray) -> "Records":
        """The records of some subjects."""
        index = np.arange(self.design.n_subjects)[subjects]
        bounds = jax.tree.map(lambda values: values[index], self.bounds)
        return Records(self.design.rows(index), self.observation[index], self.present[index], bounds)


def _refined(design: Design, row: int, points: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times of a row with a fine grid between them, how many doses come before each, and its output."""
    own = np.flatnonzero(design.observed[row])
    doses = design.dose_time_h[row].copy()
    if design.dose_run_in is not None:  # what leads to a steady state is given with it
        for m in np.flatnonzero(design.dose_run_in[row]):
            doses[m : m + design.dose_run_in[row, m]] = doses[m + design.dose_run_in[row, m]]
    resets = np.zeros(len(doses), dtype=bool) if design.dose_resets is None else design.dose_resets[row]
    output = np.zeros(design.time_h.shape[1], dtype=np.int64) if design.output is None else design.output[row]
    step = np.ptp([design.start_h[row], *design.time_h[row, own]]) / points
    now, before = design.start_h[row], 0
    times: list[float] = []
    counts: list[int] = []
    outputs: list[int] = []
    for j in own:
        end, after = design.time_h[row, j], design.doses_before[row, j]
        if step > 0 and end > now and not resets[before:after].any():
            grid = np.arange(1, int(np.ceil((end - now) / step))) * step + now
            if not times:
                grid = np.concatenate([[now], grid])
            times += list(grid)
            counts += [before + int(np.sum(doses[before:after] <= t)) for t in grid]
            outputs += [output[j]] * len(grid)
        times.append(end)
        counts.append(after)
        outputs.append(output[j])
        now, before = end, after
    return np.array(times), np.array(counts, dtype=np.int64), np.array(outputs, dtype=np.int64)


def _covariate(name: str, value, n_subjects: int) -> Float64[np.ndarray, " _"]:
    values = np.atleast_1d(np.asarray(value, dtype=np.float64))
    if values.shape not in ((1,), (n_subjects,)):
        raise UserError(
            f"covariate {name} must be one number or {n_subjects}, one per subject, got shape {values.shape}"
        )
    if np.any(bad := ~np.isfinite(values)):
        raise UserError(f"covariate {name} must be finite, got {values[bad][0]} (number {np.argmax(bad)})")
    return values
