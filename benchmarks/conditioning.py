"""The paper's conditioning beside Covary's, on phantoms: what can be read back from generated images.

    python benchmarks/conditioning.py [--work results/benchmarks/conditioning] [--minutes 4]

Three seeds; for each a VAE, and with its encodings generators of equal size, steps and batches:

    paper      one token (the function of the paper's 77), trained on posterior means
    sample     one token, trained on draws from the posterior
    covary     the demo's: draws from the posterior, refining the VAE's decoding

Each draws images for z ~ N(0, I). Read-back R²: posterior mean of the image against the z it was drawn for,
the three random effects pooled. Prediction R²: a ResNet trained on the generator's images, eta against its
prediction on other subjects. All settings are the demo's. The work is cut into pieces that are kept in
--work: a call does pieces until its minutes are over, and the next call goes on, also inside a training.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd

from covary import diffusion, images, phantom, predict, quality, rng, vae
from covary.config import Config

SEEDS = (1, 2, 3)
ARMS = {
    "paper": {"conditioning": "token", "conditioning_source": "posterior_mean"},
    "sample": {"conditioning": "token", "conditioning_source": "posterior_sample"},
    "covary": {},
}
TRAIN, VALIDATION, TEST = 3200, 400, 1200
PHANTOM_SEED = 20241
DEMO = Config()


def main() -> None:
    """Do pieces until the time is over, then print what is known."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("results/benchmarks/conditioning"))
    parser.add_argument("--minutes", type=float, default=4.0, help="start no piece after so long")
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes
    for name, piece in pieces(arguments.work):
        done = arguments.work / f"{name}.done"
        if done.exists():
            continue
        if time.monotonic() > end:
            print(f"to do: {name} and what follows; call again")
            break
        start = time.monotonic()
        piece()
        done.touch()
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    print(table(arguments.work))


def pieces(work: Path):
    """Name and function of each piece, in the order in which they must be done."""
    yield "phantoms", lambda: draw_phantoms(work)
    for seed in SEEDS:
        yield f"vae_{seed}", lambda seed=seed: train_vae(work, seed)
        for arm in ARMS:
            yield f"generator_{seed}_{arm}", lambda seed=seed, arm=arm: train_generator(work, seed, arm)
            for part in range(PARTS):
                yield (
                    f"images_{seed}_{arm}_{part}",
                    lambda seed=seed, arm=arm, part=part: draw_images(work, seed, arm, part),
                )
            yield f"scores_{seed}_{arm}", lambda seed=seed, arm=arm: score(work, seed, arm)


PARTS = 4  # of the images, drawn in pieces of their own


def draw_phantoms(work: Path) -> None:
    """The demo's images."""
    work.mkdir(parents=True, exist_ok=True)
    phantom.write_dataset(work / "scans", DEMO.images.phantom, seed=PHANTOM_SEED, workers=1)
    images.prepare(
        work / "scans", work / "images", DEMO.images, PHANTOM_SEED, 1, checkpoint_dir=work / "checkpoints"
    )


def train_vae(work: Path, seed: int) -> None:
    """A VAE, its encodings and its ranking."""
    folder = work / f"vae_{seed}"
    prepared = images.load(work / "images")
    model, history = vae.train_vae(
        prepared.train, prepared.test, DEMO.vae, seed, folder / "checkpoints",
        active_variance=DEMO.ranking.active_variance,
    )  # fmt: skip
    model.save(folder)
    history.to_csv(folder / "history.csv", index=False)
    mean, log_variance = vae.encode(model, prepared.train)
    np.savez(folder / "encodings.npz", mean=mean, log_variance=log_variance)
    ranking = vae.rank_latents(model, mean.var(axis=0), DEMO.ranking, seed)
    ranking.to_csv(folder / "ranking.csv", index=False)
    vae.ranking_agreement(ranking).to_csv(folder / "agreement.csv", index=False)


def train_generator(work: Path, seed: int, arm: str) -> None:
    """A generator of one arm."""
    folder = work / f"generator_{seed}_{arm}"
    encodings = np.load(work / f"vae_{seed}" / "encodings.npz")
    generator, history = diffusion.train_generator(
        images.load(work / "images").train,
        encodings["mean"],
        encodings["log_variance"],
        vae.VAE.load(work / f"vae_{seed}"),
        DEMO.images.size_px,
        DEMO.generator.model_copy(update=ARMS[arm]),
        seed,
        folder / "checkpoints",
    )
    generator.save(folder)
    history.to_csv(folder / "history.csv", index=False)


def subjects(seed: int) -> np.ndarray:
    """z of all subjects; the same for each arm."""
    return rng.normal(seed, "z", 0, TRAIN + VALIDATION + TEST, (DEMO.vae.latent_dim,)).astype(np.float32)


def draw_images(work: Path, seed: int, arm: str, part: int) -> None:
    """The images of some of the subjects."""
    folder = work / f"generator_{seed}_{arm}"
    own = np.array_split(np.arange(TRAIN + VALIDATION + TEST), PARTS)[part]
    generator = diffusion.ImageGenerator.load(folder)
    drawn = diffusion.generate(generator, subjects(seed)[own], own, DEMO.sampling, seed)
    np.save(folder / f"images_{part}.npy", drawn)


def score(work: Path, seed: int, arm: str) -> None:
    """Read-back and prediction of the random effects."""
    folder = work / f"generator_{seed}_{arm}"
    drawn = np.concatenate([np.load(folder / f"images_{part}.npy") for part in range(PARTS)])
    ranking = pd.read_csv(work / f"vae_{seed}" / "ranking.csv")
    chosen = ranking[ranking["random_effect"] >= 0].sort_values("random_effect")["latent"].to_numpy()
    eta = subjects(seed)[:, chosen]
    train, validation = slice(0, TRAIN), slice(TRAIN, TRAIN + VALIDATION)
    test = slice(TRAIN + VALIDATION, None)
    network, _ = predict.train_predictor(
        drawn[train], eta[train], drawn[validation], eta[validation], DEMO.predictor, seed,
        folder / "predictor_checkpoints",
    )  # fmt: skip
    read = quality.read_back(vae.VAE.load(work / f"vae_{seed}"), drawn[test])[:, chosen]
    result = {
        "seed": seed,
        "arm": arm,
        "active_latents": int(ranking["active"].sum()),
        "readback_r2": r2(eta[test], read),
        "predicted_r2": r2(eta[test], predict.predict(network, drawn[test])),
    }
    (folder / "scores.json").write_text(json.dumps(result))


def r2(true: np.ndarray, found: np.ndarray) -> float:
    """Pooled over random effects, as the paper's."""
    return float(1 - np.square(true - found).sum() / np.square(true - true.mean()).sum())


def table(work: Path) -> str:
    """Scores known so far, by seed and as means."""
    found = [json.loads(path.read_text()) for path in sorted(work.glob("generator_*/scores.json"))]
    if not found:
        return "no scores yet"
    scores = pd.DataFrame(found).pivot(index="seed", columns="arm", values=["readback_r2", "predicted_r2"])
    scores.loc["mean"] = scores.mean()
    return scores.round(3).to_string()


if __name__ == "__main__":
    main()
