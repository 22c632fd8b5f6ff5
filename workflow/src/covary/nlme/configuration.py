"""The settings of JAX that the engine needs. They are global, so whoever starts the work makes them."""

import logging
import os

import jax
import numpy as np

from covary.files import user_cache

log = logging.getLogger(__name__)

# XLA compiles a loop over small arrays to one machine-code function, not to a list of tasks for a pool of
# threads. This halves the time to compile, runs faster, and lets two threads compute at the same time.
_XLA_FLAG = "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=10000000"


def configure() -> None:
    """Set up JAX for the engine: 64-bit numbers, and programs that several threads can run at once.

    Compiled programs are kept for later processes in the user's cache folder, unless
    JAX_COMPILATION_CACHE_DIR names another one. JAX_ENABLE_COMPILATION_CACHE=false keeps none.

    Call it once per process, before JAX computes anything: XLA reads its options from the environment
    variable XLA_FLAGS when it compiles for the first time. A second call changes nothing.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _XLA_FLAG not in flags.split():
        os.environ["XLA_FLAGS"] = f"{flags} {_XLA_FLAG}".strip()
    jax.config.update("jax_enable_x64", True)
    # Programs that wait in a queue can hold every thread that one of them needs: two cores hang.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    # Keep every program that took more than a moment to compile. JAX's default keeps those over one second.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
    if (
        jax.config.values["jax_enable_compilation_cache"]
        and not jax.config.values["jax_compilation_cache_dir"]
    ):
        _keep_programs()


def _keep_programs() -> None:
    """Let JAX keep compiled programs in the user's cache folder."""
    folder = user_cache() / "jax"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # Every process then compiles its own programs, as it would without a cache.
        log.info("compiled programs are not kept: %s", error)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))


def check_configured() -> None:
    """Raise RuntimeError unless JAX computes in 64 bits."""
    if jax.dtypes.canonicalize_dtype(np.float64) != np.float64:
        raise RuntimeError("JAX computes in 32 bits; call covary.nlme.configure() before any computation")
