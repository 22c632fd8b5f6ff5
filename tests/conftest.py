"""Settings of all tests: no display, few threads, fixed Hypothesis profile."""

import os
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "jax")
)

from checkout import finished, project
from hypothesis import settings

settings.register_profile("covary", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("covary")

__all__ = ["finished", "project"]


def pytest_sessionstart():
    """Set up the engine once the plugin that checks annotations has its import hook in place."""
    from covary import nlme

    nlme.configure()
