"""What happened to the images before anything was learned from them, in words."""

import pandas as pd

from covary.images.sources import OK
from covary.wording import joined

_NAMED = 3


def concerns_of_preparation(index: pd.DataFrame) -> list[str]:
    """Images that were converted or left out; `index` has a row per image with `status` and `conversion`."""
    used = index[index["status"] == OK]
    kinds = used["conversion"].fillna("").str.split("; ").explode()
    counts = kinds[kinds != ""].value_counts(sort=False)
    notes = []
    if len(counts):
        parts = joined([f"{kind} ({n:,} of {len(used):,})" for kind, n in counts.items()])
        notes.append(f"Images were changed before use: {parts}.")
    left_out = index[index["status"] != OK]
    if len(left_out):
        reasons = [f"{row.file} ({row.status})" for row in left_out.head(_NAMED).itertuples()]
        more = "" if len(left_out) <= _NAMED else f" and {len(left_out) - _NAMED:,} more"
        were = "image was" if len(left_out) == 1 else "images were"
        notes.append(f"{len(left_out):,} of {len(index):,} {were} left out: {', '.join(reasons)}{more}.")
    return notes
