"""The paper's scale, as far as it can be seen without computing."""

import subprocess
import sys

LIGHT = (
    "covary.config.reading, covary.jobs.fingerprint, covary.jobs.job, covary.jobs.lock, covary.dataset.shards"
)
HEAVY = "torch jax diffusers xarray zarr pandas matplotlib"


def test_the_snakefile_imports_nothing_heavy():
    code = f"import sys, {LIGHT}; print(*set('{HEAVY}'.split()) & sys.modules.keys())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "\n"


def test_the_paper_is_at_most_a_thousand_jobs(project):
    planned = project.planned(config="config/paper.yaml")
    assert planned["generate_images"] == -(-1_100_000 // 8192)
    assert {
        *("prepare_images", "cache_latents", "train_image_vae", "train_generator"),
        *("measure_generator", "write_report"),
    } <= planned.keys()
    assert "draw_phantoms" not in planned
    assert sum(planned.values()) <= 1000
