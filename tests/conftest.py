"""Settings of all tests: no display, few threads, fixed Hypothesis profile."""

import os
import signal
from pathlib import Path

# Else each process that starts from here compiles what it imports again. Empty means not set.
os.environ["PYTHONDONTWRITEBYTECODE"] = ""

os.environ.setdefault("MPLBACKEND", "Agg")
# A thread that waits sleeps. Else waiting threads of one process keep a core from the other process.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "jax")
)

# What a shell starts in the background ignores Ctrl-C, and so would the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
from checkout import finished, project
from hypothesis import settings

settings.register_profile("covary", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("covary")

__all__ = ["finished", "project"]

MANY_MAPS = 30_000


@pytest.fixture(autouse=True, scope="module")
def few_memory_maps():
    """Forget compiled programs before they are too many.

    Each takes memory maps. Linux grants a process 65,530, and JAX aborts where there are no more.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.is_file() and maps.read_bytes().count(b"\n") > MANY_MAPS:
        import jax

        jax.clear_caches()


def pytest_collection_modifyitems(items):
    """Let no process wait: one makes the tiny run on one core, while the other tests the engine on the other.

    Then come the other users of the tiny run, and last what takes little.
    """
    users = {item.path for item in items if "finished" in item.fixturenames}

    def turn(item):
        engine, user = item.path.parent.name == "nlme", item.path in users
        return item.path.name != "test_tiny.py", not engine, not user

    items.sort(key=turn)


def pytest_sessionstart():
    """Set up the engine once the plugin that checks annotations has its import hook in place."""
    from covary import nlme

    nlme.configure()
