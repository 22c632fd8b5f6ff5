"""Write scikit-learn's handwritten digits as a folder of PNG files."""

from pathlib import Path

from covary.images import digits
from covary.jobs.run import run


def write_digits(labels: Path) -> None:
    """Write the images beside the table of their labels."""
    digits.write_digits(labels.parent)


if __name__ == "__main__":
    run(write_digits)
