"""The scripts in examples/, as a user runs them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, *arguments):
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def dataset(finished):
    return finished.results / "dataset.zarr"


def test_load(dataset):
    printed = run("load.py", dataset)
    assert "128 images of 32 x 32 pixels, channels grey" in printed and "test: 32 subjects" in printed
    assert "noise_0: 100.0 % of eta_hat is in the image" in printed


def test_train(dataset):
    printed = run("train.py", dataset, "--noise", 9, "--epochs", 1)
    (r2,) = re.findall(r"R² of eta_hat on test subjects (\S+); an image can explain 0.100", printed)
    assert -1 < float(r2) < 1


def test_fit(dataset):
    printed = run("fit.py", dataset, "--subjects", 32)
    assert "-2 log L" in printed and re.search(r"\bka\b.*\n.*\bk\b", printed)


def test_every_example_is_described():
    readme = (EXAMPLES / "README.md").read_text()
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    assert scripts == set(re.findall(r"^\| `(\w+\.py)`", readme, re.MULTILINE))
