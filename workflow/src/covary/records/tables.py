"""The design of a simulated study out of a NONMEM table: who is observed and dosed when, and covariates."""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64

from covary import nlme
from covary.errors import UserError


def design_of_table(path: Path) -> nlme.Design:
    """The design of every subject of a table on one schedule, which has all times at which any is observed.

    `observed` marks the visits of each subject. DV and censoring do not count, and TIME is in hours. A
    covariate that changes within a subject cannot be used.

    Raises UserError, in one line, if the table cannot be read, or holds what a dataset does not keep: steady
    states, resets, rates that the model describes, observations of several outputs, or two observations of
    a subject at one time.
    """
    try:
        design = nlme.read_design(path)
    except OSError as error:
        raise UserError(f"longitudinal.design: {path}: {error.strerror}") from None
    except UserError as error:
        raise UserError(f"longitudinal.design: {' '.join(str(error).split())}") from None
    _refuse_what_is_not_kept(path, design)
    changing = (
        {} if design.varying is None else dict.fromkeys(design.varying.value, "changes within a subject")
    )
    times_h, observed, doses_before = _on_one_schedule(path, design)
    return dataclasses.replace(
        design,
        time_h=np.tile(times_h, (design.n_subjects, 1)),
        observed=observed,
        doses_before=doses_before,
        dose_rate=None,  # positive rates are durations already
        output=None,
        observation_line=None,
        dose_line=None,
        varying=None,
        unusable=design.unusable | changing,
        subject_ids=None,
    )


def _refuse_what_is_not_kept(path: Path, design: nlme.Design) -> None:
    observed_outputs = set() if design.output is None else set(np.asarray(design.output)[design.observed])
    for present, what in (
        (design.dose_run_in is not None, "doses at steady state (SS)"),
        (design.dose_resets is not None, "resets (EVID 3 or 4)"),
        (design.dose_rate is not None and (design.dose_rate < 0).any(), "rates −1 or −2"),
        (len(observed_outputs) > 1, "observations of several outputs (CMT or DVID)"),
    ):
        if present:
            raise UserError(f"longitudinal.design: {path} has {what}, which a dataset does not keep")


def _on_one_schedule(
    path: Path, design: nlme.Design
) -> tuple[Float64[np.ndarray, " time"], Bool[np.ndarray, "subject time"], Int64[np.ndarray, "subject time"]]:
    """All times, which of them each subject has, and how many of its doses come before each."""
    times = np.unique(design.time_h[design.observed])
    n = design.n_subjects
    observed = np.zeros((n, len(times)), dtype=bool)
    before = np.empty((n, len(times)), dtype=np.int64)
    for i in range(n):
        own = np.asarray(design.observed)[i]
        at = np.searchsorted(times, design.time_h[i, own])
        if (twice := np.flatnonzero(np.diff(at) == 0)).size:
            raise UserError(
                f"longitudinal.design: {path}: subject {design.name(i)} has two observations at "
                f"{times[at[twice[0]]]:g} h"
            )
        given = design.dose_time_h[i, design.dose_amount[i] > 0]
        before[i] = np.searchsorted(given, times, side="right")
        before[i, at] = np.asarray(design.doses_before)[i, own]
        observed[i, at] = True
    return times, observed, before
