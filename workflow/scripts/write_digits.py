"""Write scikit-learn's handwritten digits as a folder of PNG files."""

from pathlib import Path

from covary.images.digits import write_digits
from covary.jobs.job import job

with job(snakemake.log[0]):
    write_digits(Path(snakemake.output.labels).parent)
