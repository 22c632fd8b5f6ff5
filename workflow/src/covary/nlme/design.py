"""Who was dosed and observed when: designs, records, and the schedule the solver follows.

A `Design` is shared by all subjects (one row, whatever their number) or ragged (one row a subject, padded and
masked). `Records` are a design with observations.
"""

from collections.abc import Sequence

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from covary.errors import UserError
from covary.nlme.arrays import Array


class Design(eqx.Module):
    """Observation times, doses and covariates. All leading axes are `row`: 1 if shared, else one a subject.

    Rows are padded: `observed` marks real observation times, and doses beyond a subject's own have amount 0.
    `doses_before[i, j]` is how many of the row's doses come before observation j in the record.
    """

    n_subjects: int = eqx.field(static=True)
    time_h: Float64[np.ndarray, "row time"]
    observed: Bool[Array, "row time"]
    dose_time_h: Float64[np.ndarray, "row dose"]
    dose_amount: Float64[np.ndarray, "row dose"]
    dose_duration_h: Float64[np.ndarray, "row dose"]  # 0 for a bolus
    dose_compartment: Int[Array, "row dose"]  # counted from 0
    doses_before: Int[Array, "row time"]
    covariates: dict[str, Float64[np.ndarray, " row"]]
    subject_ids: tuple[str, ...] | None = None

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
        dose_time_h: float | int = 0.0,
        duration_h: float | int = 0.0,
        compartment: int = 1,
        covariates: dict[str, float] | None = None,
    ) -> "Design":
        """One design for all subjects: the same times and one dose (none if `dose` is 0).

        An observation at the time of the dose comes after it. Compartments are counted from 1, as in NONMEM
        tables. Raises ValueError if times are missing, not finite or do not increase.
        """
        time = np.asarray(times_h, dtype=np.float64)
        if time.ndim != 1 or time.size == 0:
            raise UserError(f"times_h must be a list of times, got shape {time.shape}")
        if not np.all(np.isfinite(time)) or np.any(np.diff(time) <= 0):
            raise UserError(f"times_h must increase, got {time.tolist()}")
        if n_subjects < 1:
            raise ValueError(f"n_subjects must be ≥ 1, got {n_subjects}")
        n_doses = int(dose != 0)
        return cls(
            n_subjects,
            time[None],
            np.ones((1, time.size), dtype=bool),
            np.full((1, n_doses), float(dose_time_h)),
            np.full((1, n_doses), float(dose)),
            np.full((1, n_doses), float(duration_h)),
            np.full((1, n_doses), compartment - 1),
            np.where(time >= dose_time_h, n_doses, 0)[None],
            {name: np.array([float(value)]) for name, value in (covariates or {}).items()},
        )

    def rows(self, subjects: np.ndarray) -> "Design":
        """The design of some subjects, by index; repeats are allowed."""
        taken = (
            {}
            if self.shared
            else {
                name: getattr(self, name)[subjects]
                for name in (
                    "time_h",
                    "observed",
                    "dose_time_h",
                    "dose_amount",
                    "dose_duration_h",
                    "dose_compartment",
                    "doses_before",
                )
            }
            | {"covariates": {name: values[subjects] for name, values in self.covariates.items()}}
        )
        ids = None if self.subject_ids is None else tuple(self.subject_ids[i] for i in subjects)
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Design(**(fields | taken | {"n_subjects": len(subjects), "subject_ids": ids}))

    def name(self, subject: int | np.integer) -> str:
        """How to call a subject in a message."""
        return str(subject) if self.subject_ids is None else self.subject_ids[subject]


class Records(eqx.Module):
    """A design and what was observed. `present` marks the observations that enter the likelihood."""

    design: Design
    observation: Float[Array, "subject time"]
    present: Bool[Array, "subject time"]

    @classmethod
    def of(
        cls, design: Design, observation: Float[Array, "subject time"], *, missing_as_nan: bool = False
    ) -> "Records":
        """Records of a design. A NaN is an error, or a missing visit if `missing_as_nan`.

        Raises ValueError if shapes disagree, an observation is not finite, or a subject has none.
        """
        observation = np.asarray(observation)
        expected = (design.n_subjects, design.time_h.shape[1])
        if observation.shape != expected:
            raise ValueError(f"observation must have shape {expected}, got {observation.shape}")
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
        if np.any(empty := ~present.any(axis=1)):
            raise UserError(f"subject {design.name(int(np.argmax(empty)))} has no observations")
        return cls(design, observation, present)

    def __getitem__(self, subjects: slice | np.ndarray) -> "Records":
        """The records of some subjects."""
        index = np.arange(self.design.n_subjects)[subjects]
        return Records(self.design.rows(index), self.observation[index], self.present[index])
