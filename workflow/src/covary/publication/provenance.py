"""The origin of results: code, environment, machine, configuration, seed, data and the cost of each rule."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from covary.config.experiment import Config, digest

_PACKAGES = ("covary", "diffusers", "equinox", "jax", "numpy", "snakemake", "torch", "xarray", "zarr")


def record(config: Config, *, manifest: Path, environment_lock: Path, stages: pd.DataFrame) -> dict[str, Any]:
    """The origin of the results beside `manifest`, as plain data for a JSON file.

    `stages` has one row per rule: stage, jobs and their time and memory.
    """
    costs = stages.set_index("stage").round(2).to_json(orient="index")
    return {
        "experiment": config.experiment,
        "seed": config.seed,
        "config_sha256": digest(config),
        "manifest_sha256": json.loads(manifest.read_text(encoding="utf-8"))["sha256"],
        "lock_sha256": hashlib.sha256(environment_lock.read_bytes()).hexdigest(),
        "git": git_state(Path.cwd()),
        "versions": {"python": platform.python_version(), **versions()},
        "hardware": hardware(),
        "rules": json.loads(costs),
    }


def versions() -> dict[str, str]:
    """The versions of Covary and of the libraries that its numbers depend on."""
    return {name: metadata.version(name) for name in _PACKAGES}


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit that is checked out and whether tracked files differ from it; None outside a repository."""
    commit = _output("git", "-C", str(folder), "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _output("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": changes != ""}


def hardware() -> dict[str, Any]:
    """The machine that this process runs on; `gpus` is empty if there is no NVIDIA driver."""
    gpus = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpus": gpus.splitlines() if gpus else [],
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _output(*command: str) -> str | None:
    """The output of a command; None if it is not installed or fails."""
    if shutil.which(command[0]) is None:
        return None
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    return run.stdout.strip() if run.returncode == 0 else None
