"""README's pictures, from a finished run: `make pictures`.

The pictures in workflow/report are figures of the run, and the first screen of its report as a browser shows
it. Captions say what a person sees in them, so a person writes them. The target prints which factors of the
phantoms the leading latents follow.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.stats import spearmanr

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "workflow" / "report"
BROWSER = ROOT / "tests" / "browser"
N_LATENTS = 5  # rows of the figure of traversals
FIRST_SCREEN_PX = (1200, 1150)
SHOWN_PX = (900, 862)
FACTORS = {
    "luminance": "luminance",
    "tilt_deg": "tilt",
    "position_um": "vertical position",
    "curvature_um_per_mm2": "curvature",
    "thickness": "thickness of the retina",
    "choroid_um": "thickness of the choroid",
    "pit_depth": "depth of the pit",
    "pit_width": "width of the pit",
    "fovea_mm": "place of the fovea",
    "severity": "severity of lesions",
    "gain": "gain",
    "looks": "speckle",
}


def followed_factors(results: Path, factors: pd.DataFrame) -> list[str]:
    """The factor that each leading latent follows most closely over training images, each factor once."""
    index = pd.read_parquet(results / "images" / "index.parquet")
    train = index[(index["split"] == "train") & index["row"].notna()].sort_values("row")
    known = factors.set_index("file").loc[train["file"], list(FACTORS)]
    ranking = pd.read_csv(results / "vae" / "latent_ranking.csv")
    leading = ranking[ranking["active"]].sort_values("rank_readback")["latent"].head(N_LATENTS)
    with np.load(results / "vae" / "encodings.npz") as encodings:
        z = encodings["train_mean"][:, leading]
    agreement = [[abs(spearmanr(latent, known[name]).statistic) for name in FACTORS] for latent in z.T]
    return list(dict.fromkeys(list(FACTORS.values())[row] for row in np.argmax(agreement, axis=1)))


def screenshot(report: Path, target: Path) -> None:
    """The first screen of the report. Needs Chromium, Node and `npm install` in tests/browser."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None or not (BROWSER / "node_modules").is_dir():
        sys.exit("make pictures: needs Chromium and, in tests/browser, npm install --no-package-lock")
    with tempfile.TemporaryDirectory() as folder:
        command = ["node", BROWSER / "open.mjs", chromium, "1200", report, "--screenshots", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with Image.open(Path(folder) / f"{report.stem}-1200.png") as page:
            page.convert("RGB").crop((0, 0, *FIRST_SCREEN_PX)).resize(SHOWN_PX).save(target, optimize=True)


def main(results: Path) -> None:
    """Write the pictures, and print what the caption of the traversals may name."""
    factors = pd.read_parquet(ROOT / "resources" / "phantom" / results.name / "factors.parquet")
    for source, target in (("association.svg", "demo.svg"), ("traversals.png", "traversals.png")):
        shutil.copy(results / "figures" / source, PICTURES / target)
    screenshot(results / "report.html", PICTURES / "report.png")
    print("README's captions stay as they are: look at the pictures, and see whether they still hold.")
    followed = ", ".join(followed_factors(results, factors))
    print(f"Over training images the leading latents follow (rank correlation) {followed}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "demo")
