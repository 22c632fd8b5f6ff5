"""The paper's conditioning beside Covary's, on phantoms: what can be read back from generated images.

    python benchmarks/conditioning.py [--work results/benchmarks/conditioning] [--size-px 32] [--seeds 1 2 3]
                                      [--minutes 8]

Three seeds; for each a VAE, and with its encodings generators of equal size, steps and batches:

    paper      one token (the function of the paper's 77), trained on posterior means
    covary     the demo's: draws from the posterior, refining the VAE's decoding
    sample     (with --ablation) one token, trained on draws from the posterior

Each draws images for z ~ N(0, I). Read-back R²: posterior mean of the image against the z it was drawn for,
the three random effects pooled. Prediction R²: a ResNet trained on the generator's images, eta against its
prediction on other subjects. Networks and phantoms are the demo's; images are smaller, and epochs, steps and
subjects fewer, so that all of it takes minutes. The work is cut into pieces that are kept in --work: a call
does pieces until its minutes are over, and the next call goes on, also inside a training. Calls for different
seeds may run side by side once the phantoms are drawn.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from covary import diffusion, images, phantom, predict, quality, rng, vae
from covary.config.experiment import Config

SEEDS = (1, 2, 3)
ARMS = {
    "paper": {"conditioning": "token", "conditioning_source": "posterior_mean"},
    "covary": {},
}
ABLATION = {"sample": {"conditioning": "token", "conditioning_source": "posterior_sample"}}
TRAIN, VALIDATION, TEST = 1200, 150, 600
PHANTOM_SEED = 20241
DEMO = Config()
VAE = DEMO.vae.model_copy(update={"epochs": 12})
GENERATOR = DEMO.generator.model_copy(update={"steps": 400})


def main() -> None:
    """Do pieces until the time is over, then print what is known."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("results/benchmarks/conditioning"))
    parser.add_argument("--size-px", type=int, default=32, help="side of the images (demo: 64)")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    parser.add_argument("--ablation", action="store_true")
    parser.add_argument("--minutes", type=float, default=8.0, help="start no piece after so long")
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes
    arms = ARMS | (ABLATION if arguments.ablation else {})
    for done, piece in pieces(arguments.work, arguments.size_px, arguments.seeds, arms):
        if done.exists():
            continue
        if time.monotonic() > end:
            print(f"to do: {done.parent.name} {done.stem} and what follows; call again")
            break
        start = time.monotonic()
        piece()
        done.touch()
        print(f"{done.parent.name} {done.stem}: {time.monotonic() - start:.0f} s", flush=True)
    print(table(arguments.work))


def pieces(
    work: Path, size_px: int, seeds: list[int], arms: dict[str, dict]
) -> Iterator[tuple[Path, Callable[[], None]]]:
    """The file that says that a piece is done, and its function, in the order in which they must be done."""
    yield work / "phantoms.done", partial(draw_phantoms, work, size_px)
    for seed in seeds:
        yield work / f"seed_{seed}" / "vae.done", partial(train_vae, work, seed)
    for seed in seeds:
        for arm, settings in arms.items():
            folder = work / f"seed_{seed}" / arm
            yield folder / "generator.done", partial(train_generator, work, seed, arm, settings)
            yield folder / "scores.done", partial(score, work, seed, arm)


def draw_phantoms(work: Path, size_px: int) -> None:
    """The demo's images, at a size of their own."""
    work.mkdir(parents=True, exist_ok=True)
    config = DEMO.images.model_copy(update={"size_px": size_px})
    phantom.write_dataset(work / "scans", DEMO.images.phantom, seed=PHANTOM_SEED, workers=1)
    images.prepare(
        work / "scans", work / "images", config, PHANTOM_SEED, 1, checkpoint_dir=work / "checkpoints"
    )


def train_vae(work: Path, seed: int) -> None:
    """A VAE, its encodings and its ranking."""
    folder = work / f"seed_{seed}" / "vae"
    prepared = images.load(work / "images")
    model, history = vae.train_vae(
        prepared.train, prepared.test, VAE, seed, folder / "checkpoints",
        active_variance=DEMO.ranking.active_variance,
    )  # fmt: skip
    model.save(folder)
    history.to_csv(folder / "history.csv", index=False)
    mean, log_variance = vae.encode(model, prepared.train)
    np.savez(folder / "encodings.npz", mean=mean, log_variance=log_variance)
    vae.rank_latents(model, mean.var(axis=0), DEMO.ranking, seed).to_csv(
        folder / "latent_ranking.csv", index=False
    )


def train_generator(work: Path, seed: int, arm: str, settings: dict) -> None:
    """A generator of one arm."""
    folder, of_seed = work / f"seed_{seed}" / arm, work / f"seed_{seed}" / "vae"
    encodings = np.load(of_seed / "encodings.npz")
    prepared = images.load(work / "images")
    generator, history = diffusion.train_generator(
        prepared.train,
        encodings["mean"],
        encodings["log_variance"],
        vae.VAE.load(of_seed),
        prepared.train.shape[-1],
        GENERATOR.model_copy(update=settings),
        seed,
        folder / "checkpoints",
    )
    generator.save(folder)
    history.to_csv(folder / "history.csv", index=False)


def score(work: Path, seed: int, arm: str) -> None:
    """Images of subjects who are the same for each arm; read-back and prediction of their random effects."""
    folder, of_seed = work / f"seed_{seed}" / arm, work / f"seed_{seed}" / "vae"
    generator = diffusion.ImageGenerator.load(folder)
    n = TRAIN + VALIDATION + TEST
    z = rng.normal(seed, "z", 0, n, (generator.vae.latent_dim,)).astype(np.float32)
    drawn = diffusion.generate(generator, z, np.arange(n), DEMO.sampling, seed)
    ranking = pd.read_csv(of_seed / "latent_ranking.csv")
    chosen = ranking[ranking["random_effect"] >= 0].sort_values("random_effect")["latent"].to_numpy()
    eta = z[:, chosen]
    train, validation = slice(0, TRAIN), slice(TRAIN, TRAIN + VALIDATION)
    test = slice(TRAIN + VALIDATION, None)
    seen = [predict.Examples(drawn[part], predict.Targets(eta[part])) for part in (train, validation)]
    recipe = next(each for each in DEMO.predictors if each.objective == "ebe_mse")
    network, _ = predict.train_predictor(
        *seen, predict.MeanSquaredError(), recipe, seed, folder / "predictor_checkpoints"
    )
    read = quality.read_back(generator.vae, drawn[test])[:, chosen]
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
    found = [json.loads(path.read_text()) for path in sorted(work.glob("seed_*/*/scores.json"))]
    if not found:
        return "no scores yet"
    scores = pd.DataFrame(found).pivot(index="seed", columns="arm", values=["readback_r2", "predicted_r2"])
    scores.loc["mean"] = scores.mean()
    return scores.round(3).to_string()


if __name__ == "__main__":
    main()
