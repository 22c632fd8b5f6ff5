"""What an image is worth in visits, in one sentence or two."""

import pandas as pd

from covary.evaluate.outcomes import NO_IMAGE
from covary.report.comparisons import NOTHING, carries
from covary.wording import joined, levels, noise_label, predictor_label


def visits_worth_in_words(table: pd.DataFrame, ceiling: pd.DataFrame) -> str:
    """How many first visits forecast as well as the image alone, by the predictor of the lowest mean CRPS.

    `table` is that of `evaluate.visits_worth.visits_worth_table`, `ceiling` that of
    `evaluate.measured_ceiling`. No worth is stated at noise levels where the images carry nothing.
    """
    alone = table[(table["visits"] == 0) & (table["predictor"] != NO_IMAGE)]
    something = carries(alone, ceiling)
    parts = [_worth(alone[something])] if something.any() else []
    if not something.all():
        without = alone[~something].drop_duplicates("noise_variance")
        parts.append(
            f"At {levels(without)} no worth in visits is stated, because the images were measured to carry "
            f"{NOTHING}."
        )
    return " ".join(parts)


def _worth(alone: pd.DataFrame) -> str:
    best = alone.groupby("predictor", sort=False)["crps"].mean().idxmin()
    rows = alone[alone["predictor"] == best]
    worth, nothing = rows[rows["alone_low"] > 0], rows[rows["alone_low"] <= 0]
    who = f"An image alone, as {predictor_label(best)} reads it,"
    parts = []
    if len(worth):
        numbers = joined([_number(row) for row in worth.itertuples()])
        parts.append(f"forecasts later outcomes as well as {numbers}")
    if len(nothing):
        parts.append(f"is not shown to be worth a visit at {levels(nothing)}")
    return f"{who} {'; it '.join(parts)}."


def _number(row) -> str:
    at = f"at {noise_label(row.noise_variance)}"
    if row.beyond:
        plural = "s" * (row.alone != 1)
        return f"more than the first {row.alone:.0f} visit{plural} alone {at}"
    interval = f"95\u00a0% interval {row.alone_low:.1f} to {row.alone_high:.1f}"
    return f"the first {row.alone:.1f} visits alone {at} ({interval})"
