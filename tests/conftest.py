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


def pytest_collection_modifyitems(items):
    """Long files come first, so that no core waits for them at the end: those of the tiny run, the engine."""
    users = {item.path for item in items if "finished" in item.fixturenames}
    items.sort(key=lambda item: (item.path not in users, item.path.parent.name != "nlme"))


def pytest_sessionstart():
    """Set up the engine once the plugin that checks annotations has its import hook in place."""
    from covary import nlme

    nlme.configure()
