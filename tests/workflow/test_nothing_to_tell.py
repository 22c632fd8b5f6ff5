"""A whole run on images that carry the random effects, and two in which there is nothing to tell.

In one of them z is shuffled between training images and their encodings, so its generator learns that z says
nothing of an image. In the other doses wipe out the outcome, so records are noise.
"""

import json
import re
from shutil import copytree

import numpy as np
import pandas as pd
import pytest
import yaml
from checkout import Project, block
from claims import CLAIMS, plain, sentences
from PIL import Image

from covary import rng, store

pytestmark = pytest.mark.slow

SIZE_PX, N_TRAIN, N_TEST = 16, 320, 64
OF_IMAGES = re.compile(r"carry \d|Every random effect can be read back|the highest")  # claims without records
OPEN = {"vae": None, "generator": None}
SETTINGS = {
    "experiment": "spots",
    "images": {"source": "folder", "folder": "spots", "size_px": SIZE_PX},
    "vae": {
        **{"latent_dim": 3, "base_channels": 8, "epochs": 30, "batch_size": 16, "learning_rate": 5e-3},
        "horizontal_flip": False,
    },
    "ranking": {"readback_draws": 1000, "sensitivity_draws": 32},
    "generator": {"patch_px": 2, "block_channels": [32, 32], "steps": 250, "learning_rate": 3e-3},
    "quality": {"counterfactuals": 16},
    "subjects": {"train": 512, "validation": 128, "test": 256},
    "store": {"shard_subjects": 1024, "chunk_subjects": 128},
    "association": {"noise_variances": [0, 1]},
    "longitudinal": {"fit": {"subjects": 48}},
    "predictors": [
        {"objective": "ebe_mse", "width": 8},
        {"objective": "marginal_likelihood", "width": 8},
    ],
    "evaluation": {"bootstrap_resamples": 200},
}


def draw_spots(folder) -> None:
    """Pictures of a spot whose place and size differ, in grey."""
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX]
    for split, n in (("train", N_TRAIN), ("test", N_TEST)):
        (folder / split / "spots").mkdir(parents=True)
        for i in range(n):
            down, right, size = rng.generator(1, split, i).normal(size=3)
            distance = np.hypot(y - 7.5 - 1.5 * down, x - 7.5 - 1.5 * right)
            spot = np.exp(-((distance / (3 * np.exp(0.25 * size))) ** 2))
            Image.fromarray(np.round(255 * spot).astype(np.uint8)).save(folder / split / "spots" / f"{i}.png")


def run(project: Project, **changed) -> str:
    """What a run said that failed, or nothing."""
    (project.folder / "config" / "spots.yaml").write_text(yaml.safe_dump(SETTINGS | changed))
    done = project.snakemake(config="config/spots.yaml")
    return done.stdout + done.stderr if done.returncode else ""


def shuffle(encodings) -> None:
    """Give each training image the encoding of another."""
    with np.load(encodings) as stored:
        arrays = dict(stored)
    order = np.random.default_rng(1).permutation(N_TRAIN)
    for moment in ("train_mean", "train_log_variance"):
        arrays[moment] = arrays[moment][order]
    np.savez(encodings, **arrays)


@pytest.fixture(scope="module")
def carrying(tmp_path_factory):
    """A run whose images carry the random effects; both gates let it pass."""
    project = Project(tmp_path_factory.mktemp("carrying"))
    draw_spots(project.folder / "spots")
    assert run(project) == ""
    return project


def copied(project: Project, folder) -> Project:
    """A project that goes on from what another has computed."""
    other = Project(folder)
    for part in ("results", ".snakemake", "spots"):
        copytree(project.folder / part, folder / part)
    return other


@pytest.fixture(scope="module")
def empty(carrying, tmp_path_factory):
    """The same run with z shuffled; what its gates said, and its results with open gates."""
    project = copied(carrying, tmp_path_factory.mktemp("empty"))
    shuffle(project.folder / "results" / "spots" / "vae" / "encodings.npz")
    stopped = run(project)
    assert run(project, gates=OPEN) == ""
    return stopped, project.folder / "results" / "spots"


def test_where_images_carry_the_random_effects_report_and_card_say_so(carrying):
    results = carrying.folder / "results" / "spots"
    claimed = {match.group() for text in sentences((results / "report.html").read_text(encoding="utf-8"))
               for match in CLAIMS.finditer(text)}  # fmt: skip
    assert len(claimed) >= 5, claimed
    card = (results / "README.md").read_text(encoding="utf-8")
    assert "| 0 | 100 % | nothing |" not in card.replace("\u00a0", " ")


def test_a_gate_stops_the_run_on_images_that_carry_nothing(empty):
    stopped, _ = empty
    (line,) = set(re.findall(r"error: (gates\.generator: .*)", stopped))
    assert re.match(r"gates\.generator: a share of 0\.5 of each random effect", line), line
    assert line.count("(latent ") == 3 and "`gates: {generator: null}`" in line
    assert "Traceback" not in stopped


def test_with_open_gates_no_sentence_of_report_card_or_metadata_claims_an_association(empty):
    _, results = empty
    page = (results / "report.html").read_text(encoding="utf-8")
    for sentence in sentences(page):
        assert not CLAIMS.search(sentence), sentence
    for file in ("README.md", "croissant.json"):
        text = (results / file).read_text(encoding="utf-8")
        assert not CLAIMS.search(text), (file, CLAIMS.search(text))


def test_with_open_gates_the_ceiling_is_nothing(empty):
    _, results = empty
    words = plain((results / "report.html").read_text(encoding="utf-8"))
    assert "measured to carry nothing of them that can be told from chance" in words
    assert "this run shows no association between these images and these records" in words
    card = (results / "README.md").read_text(encoding="utf-8").replace("\u00a0", " ")
    assert "| 0 | 100 % | nothing |" in card and "| 1 | 50 % | nothing |" in card
    metadata = json.loads((results / "croissant.json").read_text(encoding="utf-8"))
    assert "the images were measured to carry nothing" in json.dumps(metadata, ensure_ascii=False)
    read = pd.read_csv(results / "gates" / "generator.csv")["readback_r2"]
    assert (read < 0.2).all(), read


def test_a_dose_of_100_at_days_0_and_7_ends_in_a_report_that_finds_nothing(carrying, tmp_path):
    """README's TumourGrowth: these doses take the tumour to 1e-7 of its size and less within one day."""
    project = copied(carrying, tmp_path)
    model = block("python", "OdeModel").replace("    fixed_effects", '    time_unit = "d"\n    fixed_effects')
    (tmp_path / "my_model.py").write_text(model)
    longitudinal = {
        "model": "my_model.py:TumourGrowth",
        "regimen": [{"time_h": day, "amount": 100} for day in (0, 7)],
        **{"last_time_h": 14, "interval_h": 1, "fit": {"subjects": 48}},
    }
    assert run(project, longitudinal=longitudinal) == ""
    results = tmp_path / "results" / "spots"
    records = store.read(results / "dataset.zarr", "longitudinal/noise_0")["observation"].values
    assert records.shape[1] == 15 and 0.045 < records[:, 1:].std() < 0.055
    estimates = store.read(results / "dataset.zarr", "estimates/noise_0")["eta_approx"].values
    assert np.isfinite(estimates).all()
    page = (results / "report.html").read_text(encoding="utf-8")
    for sentence in sentences(page):
        claimed = {match.group() for match in CLAIMS.finditer(sentence)}
        assert all(OF_IMAGES.match(claim) for claim in claimed), sentence
    words = plain(page)
    assert words.count("no signal found") == 4  # the verdict on two predictors at two noise levels
    for told in (
        "15 outcomes over 14 days",
        "found nothing that can be told from chance",
        "the variance of eta_kill is 0 as far as the records tell",
        "is not shown to be worth a visit at σ² = 0 and 1",
        "80 % power: cannot be said, at least 512 at σ² = 0 and 1",
    ):
        assert told in words, told
