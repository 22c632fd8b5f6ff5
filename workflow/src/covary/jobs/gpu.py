"""A GPU for each of several jobs on one workstation; on a cluster the scheduler hands them out."""

import logging
import os
import tempfile
from pathlib import Path

from covary.jobs import lock

log = logging.getLogger(__name__)

_DRIVER = Path("/proc/driver/nvidia/gpus")


def claim() -> None:
    """Keep a free GPU for this process, by CUDA_VISIBLE_DEVICES, unless that is set or there is no choice.

    Must come before CUDA is initialised. The GPU is free again when the process ends, however it ends.
    """
    gpus = len(list(_DRIVER.glob("*")))
    if gpus < 2 or "CUDA_VISIBLE_DEVICES" in os.environ:
        return
    slots = Path(tempfile.gettempdir()) / f"covary-{os.getuid()}"
    for gpu in range(gpus):
        if lock.take(slots / f"gpu-{gpu}.lock"):
            os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)
            log.info("this job has GPU %d of %d", gpu, gpus)
            return
    log.warning("all %d GPUs are taken, so this job shares the first; see `--resources gpu=%d`", gpus, gpus)
