"""The default sampler against the paper's procedure, with the same weights: speed, read-back and likeness.

    python benchmarks/sampling.py [--generator results/demo/generator] [--images 480] [--minutes 8]

Reference: DDPM with 50 steps, float32, 77 tokens, batches of 15. Each contender is timed from the noise to
the grey images, without loading, on one thread. Read-back R²: the VAE's posterior mean of the images against
the z they were drawn for, the random effects pooled. Precision and kernel distance: against real training
images, in the feature space of the VAE's encoder. The random effects are those of the ranking in vae/ beside
the generator, the real images those in images/ there. A call times contenders that have no result yet until
its minutes are over, keeps results in --results, and prints all that are known.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd

from covary import images, quality, rng
from covary.config.experiment import Config
from covary.config.generator import Sampling
from covary.diffusion import ImageGenerator, generate

SEED = 7
WARM_UP = 8
DEFAULT = Config().sampling
REFERENCE = DEFAULT.model_copy(
    update={"solver": "ddpm", "steps": 50, "batch_size": 15, "mixed_precision": False}
)
# Name: tokens and sampling.
CONTENDERS = {
    "reference (ddpm 50, 77 tokens)": (77, REFERENCE),
    f"{DEFAULT.solver} {DEFAULT.steps}": (1, DEFAULT),  # first of all, and not twice
    "ddpm 50, one token": (1, REFERENCE.model_copy(update={"batch_size": DEFAULT.batch_size})),
    **{
        f"{solver} {steps}": (1, DEFAULT.model_copy(update={"solver": solver, "steps": steps}))
        for steps in (4, 6, 8, 20)
        for solver in ("ddim", "dpmsolver++", "unipc")
    },
}


def main() -> None:
    """Time contenders that have no result yet, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--generator", type=Path, default=Path("results/demo/generator"))
    parser.add_argument("--images", type=int, default=480)
    parser.add_argument("--minutes", type=float, default=8.0, help="start no contender after so long")
    parser.add_argument("--results", type=Path, default=Path("results/benchmarks/sampling.json"))
    arguments = parser.parse_args()
    found = json.loads(arguments.results.read_text()) if arguments.results.exists() else {}
    generator = ImageGenerator.load(arguments.generator)
    experiment = arguments.generator.parent
    ranking = pd.read_csv(experiment / "vae" / "latent_ranking.csv")
    latents = ranking.loc[ranking["random_effect"] >= 0, "latent"].to_numpy()
    real = images.load(experiment / "images").generator_train
    real = real[quality.spread(len(real), arguments.images)]
    end = time.monotonic() + 60 * arguments.minutes
    for name, (tokens, sampling) in CONTENDERS.items():
        if name in found or time.monotonic() > end:
            continue
        generator.tokens = tokens
        found[name] = measure(generator, sampling, arguments.images, latents, real)
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        arguments.results.write_text(json.dumps(found, indent=2) + "\n")
    table = pd.DataFrame(found).T
    reference = next(iter(CONTENDERS))
    if reference in table.index:
        table.insert(1, "times_reference", table["images_per_s"] / table.loc[reference, "images_per_s"])
    print(table.round(3).to_string())


def measure(
    generator: ImageGenerator, sampling: Sampling, n: int, latents: np.ndarray, real: np.ndarray
) -> dict[str, float]:
    """Images per second, and how good they are."""
    z = rng.normal(SEED, "z", 0, n, (generator.vae.latent_dim,))
    generate(generator, z[:WARM_UP], np.arange(WARM_UP), sampling, SEED)
    start = time.perf_counter()
    drawn = generate(generator, z, np.arange(n), sampling, SEED)
    seconds = time.perf_counter() - start
    error = (quality.read_back(generator.vae, drawn) - z)[:, latents]
    space = quality.encoder_features(generator.vae)
    features, real_features = space.of(drawn), space.of(real)
    return {
        "images_per_s": n / seconds,
        "readback_r2": float(1 - np.square(error).sum() / np.square(z[:, latents]).sum()),
        "precision": quality.precision_and_recall(real_features, features)[0],
        "kernel_distance": quality.kernel_distance(features, real_features),
    }


if __name__ == "__main__":
    main()
