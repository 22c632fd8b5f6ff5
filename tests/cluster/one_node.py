"""A Slurm cluster of this one machine, in a folder of its own: controller, node and their authentication.

    python tests/cluster/one_node.py FOLDER     # runs until interrupted; prints what to export

Takes root and Debian's packages slurm-wlm and munge. Nothing outside the folder is touched.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
FAKE_GPUS = 4  # counted by the scheduler alone
_START_TIMEOUT_S = 60.0

_CONFIGURATION = """\
ClusterName=one_node
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={controller_port}
SlurmdPort={node_port}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
KillWait=5
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=100000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class OneNode:
    """Started by `with`, ended with it."""

    def __init__(self, folder: Path):
        self.folder = folder.resolve()
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "SLURM_CONF": str(self.folder / "slurm.conf")}
        self._daemons: list[subprocess.Popen] = []

    @staticmethod
    def missing() -> str | None:
        """What a cluster cannot be started for, if anything."""
        absent = [name for name in PROGRAMS if shutil.which(name) is None]
        if absent:
            return f"{', '.join(absent)} not found: apt install slurm-wlm munge"
        return None if os.geteuid() == 0 else "starting Slurm takes root"

    def __enter__(self) -> "OneNode":
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        host = socket.gethostname().partition(".")[0]
        for i in range(FAKE_GPUS):
            (self.folder / f"gpu{i}").touch()
        self._write("gres.conf", f"Name=gpu File={self.folder}/gpu[0-{FAKE_GPUS - 1}]\n")
        self._write(
            "slurm.conf",
            _CONFIGURATION.format(
                host=host, folder=self.folder, cores=os.cpu_count(), gpus=FAKE_GPUS,
                controller_port=_free_port(), node_port=_free_port(),
            ),
        )  # fmt: skip
        # Snakemake starts job steps without most variables of Slurm, SLURM_CONF among them.
        step = self.folder / "bin" / "srun"
        step.parent.mkdir()
        step.write_text(
            f'#!/bin/sh\nexport SLURM_CONF="{self.folder}/slurm.conf"\nexec "{shutil.which("srun")}" "$@"\n'
        )
        step.chmod(0o755)
        kinds = ("socket", "pid-file", "log-file", "seed-file")
        files = [f"--{kind}={self.folder}/munge.{kind.partition('-')[0]}" for kind in kinds]
        try:
            self._start("munged", "--foreground", "--force", f"--key-file={key}", *files)
            _wait_for((self.folder / "munge.socket").exists, "munged")
            self._start("slurmctld", "-D", "-c", "-f", str(self.folder / "slurm.conf"))
            self._start("slurmd", "-D", "-c", "-f", str(self.folder / "slurm.conf"))
            _wait_for(lambda: "idle" in self.run("sinfo", "--noheader", "--format=%T"), "the node")
        except TimeoutError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        try:
            self.run("scancel", "--me")  # or jobs outlive the daemons
            _wait_for(lambda: not self.run("squeue", "--noheader"), "the end of the last job")
        finally:
            for daemon in reversed(self._daemons):
                daemon.send_signal(signal.SIGTERM)
                try:
                    daemon.wait(10)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()

    def run(self, *command: str) -> str:
        """What a command of Slurm prints."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False
        ).stdout

    def _start(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("w") as output:
            self._daemons.append(
                subprocess.Popen(command, env=self.environment, stdout=output, stderr=output)
            )

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait_for(condition, what: str) -> None:
    end = time.monotonic() + _START_TIMEOUT_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come up within {_START_TIMEOUT_S:g} s")
        time.sleep(0.2)


def main() -> None:
    """Keep a cluster up until interrupted."""
    if fault := OneNode.missing():
        sys.exit(fault)
    with OneNode(Path(sys.argv[1])) as cluster:
        print(f"export SLURM_CONF={cluster.environment['SLURM_CONF']}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
