"""The association ledger, calibration, learning curves and power."""

from pathlib import Path

import pandas as pd

from covary import figures
from covary.jobs.job import job

with job(snakemake.log[0]):
    ledger, calibration, curve, power = (
        pd.read_csv(snakemake.input[name])
        for name in ("association_ledger", "calibration", "learning_curve", "power")
    )
    drawn = {
        "association_ledger": figures.association_ledger(ledger),
        "calibration": figures.calibration(calibration),
        "learning_curve": figures.learning_curve(curve, power),
    }
    for name, figure in drawn.items():
        figures.save(figure, Path(snakemake.output[name]))
