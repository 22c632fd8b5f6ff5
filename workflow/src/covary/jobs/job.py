"""What every rule script runs in: its environment, its log file, and bad input as one clear line."""

import logging
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from covary.errors import UserError
from covary.jobs import lock
from covary.jobs.progress import reported

log = logging.getLogger("covary")

_FULL_BYTES = 2**16
# Arrays of some MiB are freed and made again in each step of a computation. By default, the C library of
# Linux gives their memory back each time, and the kernel clears it anew: a quarter of the time that drawing
# phantoms takes.
_KEPT_BY_MALLOC = {"MALLOC_MMAP_THRESHOLD_": 32 * 2**20, "MALLOC_TRIM_THRESHOLD_": 512 * 2**20}


@contextmanager
def job(log_file: str) -> Iterator[None]:
    """Log to a file and to the terminal. On bad input, print one line and exit with status 1.

    Bad input is a UserError, or an OSError such as a full disk: its traceback goes to the log file only. Any
    other exception is a fault of the program. It keeps its traceback, and one line says where the log is. An
    interrupt (ctrl-C) ends the process at once, without a traceback.
    """
    path = Path(log_file)
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.raiseExceptions = False  # a log file that cannot be written must not hide the error itself
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setFormatter(logging.Formatter("%(message)s"))
    to_terminal.setLevel(logging.INFO)
    log.setLevel(logging.DEBUG)
    log.addHandler(to_terminal)
    own = path.with_name(f".{path.stem}.lock")
    # Jobs outlive a Snakemake that is killed alone; the next one must not start them a second time, nor empty
    # their log.
    if not lock.take(own):
        log.error("error: %s is still doing this job; wait for it or end it", lock.holder(own))
        log.removeHandler(to_terminal)
        sys.exit(1)
    to_file = logging.FileHandler(path, mode="w", encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(to_file)
    logging.captureWarnings(True)
    warned = logging.getLogger("py.warnings")
    warned.addHandler(to_file)
    try:
        with reported(path.with_suffix(".progress")):
            yield
    except KeyboardInterrupt:
        log.warning("interrupted; the job goes on where it was when it is started again")
        sys.stderr.flush()
        os._exit(128 + signal.SIGINT)  # at once: threads of JAX and PyTorch can crash while Python ends
    except (UserError, OSError) as error:
        log.debug("traceback", exc_info=True)
        log.error("error: %s", error)
        sys.exit(1)
    except Exception as error:
        log.debug("traceback", exc_info=True)
        if shutil.disk_usage(path.parent).free < _FULL_BYTES:  # libraries have errors of their own for it
            log.error("error: No space left on device: %s (%s)", path.parent, type(error).__name__)
            sys.exit(1)
        log.error("error: the program failed (%s); its traceback is in %s", type(error).__name__, path)
        raise
    finally:
        lock.release(own)
        for logger, handler in ((log, to_file), (log, to_terminal), (warned, to_file)):
            logger.removeHandler(handler)
        to_file.close()


def set_environment(package: Path, compilation_cache: Path) -> None:
    """Let every job, in whatever software environment, find the package and share compiled JAX programs.

    A job also keeps the memory of arrays that it frees, for the next arrays (with glibc).
    """
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(package), *([before] if before else [])])
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compilation_cache.resolve()))
    os.environ["PYTHONUTF8"] = "1"  # in every locale
    for name, size_bytes in _KEPT_BY_MALLOC.items():
        os.environ.setdefault(name, str(size_bytes))
