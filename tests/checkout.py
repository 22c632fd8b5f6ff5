"""A copy of the workflow in a temporary folder, and one tiny experiment that has run there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str, holds: str) -> str:
    """README's one block of code in this language that holds these words."""
    (found,) = (b for b in re.findall(rf"```{language}\n(.*?)```", README, re.S) if holds in b)
    return found


class Project:
    """A checkout in a folder of its own: the one that is there, or a fresh one."""

    def __init__(self, folder: Path):
        self.folder, self.results = folder, folder / "results" / "tiny"
        if (folder / "Snakefile").exists():
            return
        shutil.copy(ROOT / "Snakefile", folder)
        shutil.copytree(ROOT / "config", folder / "config")
        shutil.copytree(ROOT / "envs", folder / "envs")
        shutil.copytree(ROOT / "workflow", folder / "workflow", ignore=shutil.ignore_patterns("src"))
        shutil.copy(ROOT / "tests" / "workflow" / "tiny.yaml", folder / "config" / "tiny.yaml")

    def command(
        self, *arguments: str, config: str, cores: int = 2, profile: str = "default", executor: str = "covary"
    ) -> list[str]:
        """Of Snakemake, with the executor that `covary run` chooses unless a cluster runs the jobs.

        That one imports libraries for seconds, which a run of one job need not wait for: `local`.
        """
        of_profile = ("--executor", executor) if profile == "default" else ()
        return [
            *(sys.executable, "-m", "snakemake", "--cores", str(cores)),
            *("--workflow-profile", f"workflow/profiles/{profile}", *of_profile, *arguments),
            *("--configfile", "config/config.yaml", config),
        ]

    def snakemake(
        self, *arguments: str, config: str = "config/tiny.yaml", environment: dict | None = None, **options
    ) -> subprocess.CompletedProcess:
        command = self.command(*arguments, config=config, **options)
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )

    def refusal(self, config: str = "config/tiny.yaml") -> str:
        """The one line with which a run stops before its first job."""
        run = self.snakemake(config=config)
        said = run.stdout + run.stderr
        assert run.returncode != 0 and "Traceback" not in said, said
        (line,) = (line for line in said.splitlines() if line.startswith("config: "))
        return line

    def take_over(self, other: "Project") -> None:
        """Copy all that another project has computed."""
        for part in ("results", "resources", ".snakemake"):
            shutil.copytree(other.folder / part, self.folder / part)

    def edited(self, name: str, **sections: dict | list) -> str:
        """Write a configuration beside tiny.yaml in which keys of sections, or whole lists, differ.

        A key whose value is `...` is left out. Return the path.
        """
        raw = yaml.safe_load((self.folder / "config" / "tiny.yaml").read_text())
        for section, values in sections.items():
            if isinstance(values, dict):
                merged = raw.get(section, {}) | values
                values = {key: value for key, value in merged.items() if value is not ...}
            raw[section] = values
        (self.folder / "config" / name).write_text(yaml.safe_dump(raw))
        return f"config/{name}"

    def planned(self, *arguments: str, config: str = "config/tiny.yaml") -> dict[str, int]:
        """How many jobs of each rule a run would start."""
        run = self.snakemake("--dry-run", *arguments, config=config)
        assert run.returncode == 0, run.stdout + run.stderr
        lines = (run.stdout + run.stderr).splitlines()
        if "Job stats:" not in lines:
            return {}
        table = lines[lines.index("Job stats:") + 3 :]
        rows = [line.split() for line in table[: table.index("")]]
        return {rule: int(count) for rule, count in rows if rule not in ("total", "all")}


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The tiny experiment, run to its end: once for all processes of a test run."""
    of_this_process, one_of_two = tmp_path_factory.getbasetemp(), "PYTEST_XDIST_WORKER" in os.environ
    whole = of_this_process.parent if one_of_two else of_this_process
    folder, done = whole / "tiny", whole / "tiny.done"
    with FileLock(whole / "tiny.lock"):
        if not folder.exists():
            folder.mkdir()
            run = Project(folder).snakemake(cores=1 if one_of_two else 2)
            assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
            done.touch()
        assert done.exists(), "the tiny run failed in another process"
    return Project(folder)
