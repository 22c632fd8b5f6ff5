"""The scripts in examples/, as a user runs them."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covary import rng

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


@pytest.mark.slow
def test_fit(dataset):
    printed = run("fit.py", dataset, "--subjects", 32)
    assert "-2 log L" in printed and re.search(r"\bka\b.*\n.*\bk\b", printed)


def test_real_study(tmp_path):
    """Forty patients whose clearance is in the brightness of a disc; their volume is in nothing."""
    n, times_h = 40, np.array([0.5, 1, 2, 4, 8, 12, 24])
    draw = rng.generator(1, "real_study")
    eta, weight = draw.normal(0, 0.3, (n, 2)), draw.normal(70, 12, n)
    cl = 3 * (weight / 70) ** 0.75 * np.exp(eta[:, 0])
    v = 30 * weight / 70 * np.exp(eta[:, 1])
    rows = ["ID,TIME,AMT,EVID,DV,WT"]
    (tmp_path / "images").mkdir()
    y, x = np.mgrid[:40, :48]
    for i in range(n):
        name, last = 100 + i, f"{weight[i]:.1f}"
        rows.append(f"{name},0,300,1,.,{last}")
        for time_h in times_h:
            concentration = 300 / v[i] * np.exp(-cl[i] / v[i] * time_h) * (1 + 0.05 * draw.normal())
            rows.append(f"{name},{time_h},.,0,{concentration:.4f},{last}")
        disc = np.hypot(x - draw.uniform(18, 30), y - draw.uniform(15, 25)) < 12
        grey = 30 + disc * (110 + 200 * eta[i, 0]) + draw.normal(0, 5, disc.shape)
        Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(tmp_path / "images" / f"{name}.png")
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    printed = run("real_study.py", tmp_path / "table.csv", tmp_path / "images", "--epochs", "40")
    found = {name: list(map(float, numbers)) for name, *numbers in map(str.split, printed.splitlines()[-3:])}
    r2, low, high = found["eta_cl"]
    assert 0 < low <= r2 <= high <= 1
    assert found["eta_v"][0] < 0.3 and found["eta_v"][1] < 0  # what is not there is not found
    fitted = dict(line.split() for line in printed.splitlines() if re.match(r" *(cl|v) ", line))
    assert float(fitted["cl"]) == pytest.approx(3, rel=0.15) and float(fitted["v"]) == pytest.approx(
        30, rel=0.15
    )


def test_every_example_is_described():
    readme = (EXAMPLES / "README.md").read_text()
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    assert scripts == set(re.findall(r"^\| `(\w+\.py)`", readme, re.MULTILINE))


def test_sites(tmp_path):
    """Six hospitals differ by more than any feature tells."""
    draw = rng.generator(1, "hospitals")
    hospital, x = np.repeat([f"hospital {i}" for i in range(6)], 40), draw.normal(size=(240, 2))
    y = x[:, 0] + np.repeat(np.linspace(-2, 2, 6), 40) + 0.3 * draw.normal(size=240)
    rows = [f"{h},{a:.4f},{b:.4f},{c:.4f}" for h, (a, b), c in zip(hospital, x, y, strict=True)]
    (tmp_path / "table.csv").write_text("\n".join(["hospital,age,dose,y", *rows]) + "\n")
    printed = run("sites.py", tmp_path / "table.csv", "--target", "y", "--site", "hospital", "--epochs", 40)
    found = {
        name: float(seen) for name, seen in re.findall(r"^(\w+) +R² at seen sites +(\S+),", printed, re.M)
    }
    assert found["armed"] > found["plain"] + 0.1 and set(found) >= {"site_input", "domain_adversarial"}
    effects = [float(value) for value in re.findall(r"hospital \d +0 +(\S+)", printed)]
    assert effects == sorted(effects) and len(effects) == 4
