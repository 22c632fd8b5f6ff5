"""What every rule script runs in: its environment, its log file, and bad input as one clear line."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

log = logging.getLogger("covary")


@contextmanager
def job(log_file: str) -> Iterator[None]:
    """Log to a file and to the terminal; end the process with one line and status 1 on bad input.

    Bad input is a ValueError or OSError; its traceback goes to the log file only. Any other exception is a
    fault of Covary and keeps its traceback on the terminal too.
    """
    path = Path(log_file)
    path.parent.mkdir(parents=True, exist_ok=True)
    to_file = logging.FileHandler(path, mode="w", encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setFormatter(logging.Formatter("%(message)s"))
    to_terminal.setLevel(logging.INFO)
    log.setLevel(logging.DEBUG)
    log.addHandler(to_file)
    log.addHandler(to_terminal)
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addHandler(to_file)
    try:
        yield
    except (ValueError, OSError) as error:
        log.debug("traceback", exc_info=True)
        if isinstance(error, np.linalg.LinAlgError):
            raise
        log.error("error: %s", error)
        sys.exit(1)
    except Exception:
        log.debug("traceback", exc_info=True)
        raise


def set_environment(package: Path, compilation_cache: Path) -> None:
    """Let every job, in whatever software environment, find the package and share compiled JAX programs."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(package), *([before] if before else [])])
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compilation_cache.resolve()))
