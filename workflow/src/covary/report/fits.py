"""The population fits in words."""

import pandas as pd

from covary.wording import joined, levels, noise_label


def fits_in_words(fits: pd.DataFrame) -> str:
    """How many patients' records were fitted how, and what the fits say of themselves."""
    first = fits.iloc[0]
    text = f"Fitted by {first['method'].upper()} to the records of {first['subjects']:,} training patients "
    least, most = fits["observations"].min(), fits["observations"].max()
    text += f"({least:,} {'' if least == most else f'to {most:,} '}outcomes) at each noise level."
    done, failed = fits[fits["converged"]], fits[~fits["converged"]]
    if len(done):
        text += f" The fit converged at {levels(done)}."
    for row in failed.itertuples():
        text += f" At {noise_label(row.noise_variance)}: {row.verdict.rstrip('.')}."
    return text


def concerns_of_fits(fits: pd.DataFrame, parameters: pd.DataFrame) -> list[str]:
    """Fits that did not converge or ended at an edge, and parameters that stayed where their fit began."""
    notes = [
        f"At {noise_label(row.noise_variance)}, the fit of the longitudinal model did not converge: "
        f"{row.verdict.removeprefix('not converged: ').rstrip('.')}."
        for row in fits[~fits["converged"]].itertuples()
    ]
    notes += [
        f"At {noise_label(row.noise_variance)}, the fit of the longitudinal model {row.verdict.rstrip('.')}."
        for row in fits[fits["converged"]].itertuples()
        if "at the edge" in row.verdict
    ]
    still = parameters[~parameters["moved"] & ~parameters["fixed"]]
    for names, rows in _by_names(still):
        notes.append(
            f"At {levels(rows)}, the fit of the longitudinal model left {names} where it began. The records "
            "may hold no information on it, or the fit may have failed."
        )
    return notes


def _by_names(still: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Noise levels together at which the same parameters stayed."""
    names = still.groupby("noise_variance", sort=False)["parameter"].agg(lambda some: joined(list(some)))
    table = names.rename("names").reset_index()
    return [(str(key), rows) for key, rows in table.groupby("names", sort=False)]
