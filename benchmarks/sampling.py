"""The demo's sampler against the paper's procedure, with the same weights: speed and what can be read back.

    python benchmarks/sampling.py [--generator DIRECTORY] [--images 240] [--minutes 4]

The generator is by default the first of benchmarks/conditioning.py. Reference: DDPM with 50 steps, float32,
77 tokens, batches of 15. Each contender is timed from the noise to the grey images, without loading. A call
times contenders that have no result yet until its minutes are over, keeps results beside the generator, and
prints all that are known.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd

from covary import quality, rng
from covary.config import Config
from covary.diffusion import ImageGenerator, generate

SEED = 7
WARM_UP = 8
DEMO = Config().sampling
REFERENCE = DEMO.model_copy(
    update={"solver": "ddpm", "steps": 50, "batch_size": 15, "mixed_precision": False}
)
# Name: tokens, and what differs from the demo's sampling.
CONTENDERS = {
    "reference (ddpm 50)": (77, REFERENCE),
    "reference, one token": (1, REFERENCE),
    "demo": (1, DEMO),
    **{
        f"{solver} {steps}": (1, DEMO.model_copy(update={"solver": solver, "steps": steps}))
        for solver in ("ddim", "dpmsolver++", "unipc")
        for steps in (4, 6, 10, 20)
        if (solver, steps) != (DEMO.solver, DEMO.steps)
    },
}


def main() -> None:
    """Time contenders that have no result yet, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder = Path("results/benchmarks/conditioning/generator_1_covary")
    parser.add_argument("--generator", type=Path, default=folder)
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--minutes", type=float, default=4.0, help="start no contender after so long")
    arguments = parser.parse_args()
    results_file = arguments.generator / "sampling.json"
    results = json.loads(results_file.read_text()) if results_file.exists() else {}
    generator = ImageGenerator.load(arguments.generator)
    latents = active(arguments.generator)
    end = time.monotonic() + 60 * arguments.minutes
    for name, (tokens, sampling) in CONTENDERS.items():
        if name in results or time.monotonic() > end:
            continue
        generator.tokens = tokens
        results[name] = measure(generator, sampling, arguments.images, latents)
        results_file.write_text(json.dumps(results, indent=2) + "\n")
    table = pd.DataFrame(results).T
    reference = next(iter(CONTENDERS))
    if reference in table.index:
        table["times_reference"] = table["images_per_s"] / table.loc[reference, "images_per_s"]
    print(table.round(3).to_string())


def active(folder: Path) -> np.ndarray:
    """The random effects, from the ranking of the VAE that the generator was trained with."""
    _, seed, _ = folder.name.split("_")
    ranking = pd.read_csv(folder.parent / f"vae_{seed}" / "ranking.csv")
    return ranking.loc[ranking["random_effect"] >= 0, "latent"].to_numpy()


def measure(generator: ImageGenerator, sampling, n: int, latents: np.ndarray) -> dict[str, float]:
    """Images a second, and read-back R² of the random effects."""
    z = rng.normal(SEED, "z", 0, n, (generator.vae.latent_dim,))
    generate(generator, z[:WARM_UP], np.arange(WARM_UP), sampling, SEED)
    start = time.perf_counter()
    drawn = generate(generator, z, np.arange(n), sampling, SEED)
    seconds = time.perf_counter() - start
    error = (quality.read_back(generator.vae, drawn) - z)[:, latents]
    return {
        "images_per_s": n / seconds,
        "images": n,
        "readback_r2": float(1 - np.square(error).sum() / np.square(z[:, latents]).sum()),
    }


if __name__ == "__main__":
    main()
