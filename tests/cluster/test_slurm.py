"""One level of the tiny experiment through the profile for Slurm, on a real Slurm of this one machine."""

import contextlib
import os
import signal
import subprocess
import time

import pytest
from checkout import Project
from one_node import OneNode

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.skipif(OneNode.missing() is not None, reason=str(OneNode.missing())),
]

# This cluster keeps no accounts. Jobs are short: a look that finds none ended puts the next off by 10 s.
OPTIONS = (
    *("--slurm-no-account", "--slurm-status-command", "squeue"),
    *("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10"),
)
# Every rule, but few jobs: each starts Snakemake twice before it begins.
ONE_LEVEL = {
    "association": {"noise_variances": [9]},
    "predictors": [{"objective": "ebe_mse", "width": 8, "epochs": 1}],
}


@pytest.fixture
def cluster(tmp_path):
    with contextlib.ExitStack() as stack:
        try:
            cluster = stack.enter_context(OneNode(tmp_path / "slurm"))
        except TimeoutError as error:
            pytest.skip(f"Slurm does not start on this machine: {error}")
        yield cluster


def jobs(cluster):
    """Number, state and rule of every job so far."""
    lines = cluster.run("squeue", "--states=all", "--noheader", "--format=%A %T %k").splitlines()
    return [line.split(maxsplit=2) for line in lines]


def test_a_cancelled_and_an_overdue_job_are_made_up_for(project, cluster, tmp_path_factory):
    undisturbed = Project(tmp_path_factory.mktemp("undisturbed"))
    manifest = undisturbed.results / "manifest.json"
    target = str(manifest.relative_to(undisturbed.folder))
    run = undisturbed.snakemake(target, config=undisturbed.edited("one_level.yaml", **ONE_LEVEL))
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]

    config = project.edited("one_level.yaml", **ONE_LEVEL)
    command = project.command(
        *("--retries", "0", "--set-resources", "train_generator:runtime=1", *OPTIONS),
        config=config,
        profile="slurm",
    )
    with (project.folder / "output").open("w") as output:
        run = subprocess.Popen(
            command, cwd=project.folder, env=cluster.environment, stdout=output, stderr=output
        )
    cancelled, stopped = set(), set()
    while run.poll() is None:
        for number, state, rule in jobs(cluster):
            if state == "RUNNING" and rule.startswith("rule_sample_subjects") and not cancelled:
                cluster.run("scancel", number)
                cancelled.add(number)
            if state == "RUNNING" and rule.startswith("rule_train_generator"):
                for process in cluster.run("scontrol", "listpids", number).splitlines()[1:]:
                    os.kill(int(process.split()[0]), signal.SIGSTOP)  # it hangs until its time is over
                stopped.add(number)
        time.sleep(0.5)
    output = (project.folder / "output").read_text()
    assert run.returncode != 0 and cancelled and stopped, output[-3000:]
    states = {number: state for number, state, _ in jobs(cluster)}
    assert {states[number] for number in cancelled} == {"CANCELLED"}
    assert {states[number] for number in stopped} == {"TIMEOUT"}

    again = project.snakemake(*OPTIONS, config=config, profile="slurm", environment=cluster.environment)
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    assert (project.results / "manifest.json").read_text() == manifest.read_text()
    assert (project.results / "report.html").exists()
    submitted = [rule for _, _, rule in jobs(cluster)]
    assert "generate_images" in " ".join(submitted)
