import hashlib
import json
import subprocess

import pandas as pd
import pytest

from covary.config.experiment import digest
from covary.config.reading import check
from covary.publication import provenance


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    git(tmp_path, "init")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-m", "first")
    return tmp_path


def test_the_commit_and_changes_to_it_are_known(repository):
    state = provenance.git_state(repository)
    assert len(state["commit"]) == 40 and state["dirty"] is False
    (repository / "untracked").write_text("1")
    assert provenance.git_state(repository) == state
    (repository / "a").write_text("2")
    assert provenance.git_state(repository) == state | {"dirty": True}


def test_outside_a_repository_there_is_no_commit(tmp_path):
    assert provenance.git_state(tmp_path) is None


def test_the_record_ties_results_to_their_origins(tmp_path):
    (tmp_path / "manifest.json").write_text('{"sha256": "abc"}')
    (tmp_path / "requirements.lock").write_text("numpy==2.0.0")
    stages = pd.DataFrame({"stage": ["predict"], "jobs": [2], "total_s": [3.14159], "cpu_s": [float("nan")]})
    settings = check({"seed": 7})
    record = provenance.record(
        settings,
        manifest=tmp_path / "manifest.json",
        environment_lock=tmp_path / "requirements.lock",
        stages=stages,
    )
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["seed"] == 7 and record["manifest_sha256"] == "abc"
    assert record["config_sha256"] == digest(settings)
    assert record["lock_sha256"] == hashlib.sha256(b"numpy==2.0.0").hexdigest()
    assert record["rules"] == {"predict": {"jobs": 2, "total_s": 3.14, "cpu_s": None}}
    assert record["hardware"]["cores"] >= 1 and record["hardware"]["memory_gib"] > 0
    assert record["versions"]["covary"] and record["versions"]["torch"]


def test_the_digest_is_of_what_decides_the_numbers():
    def digest_of(**changes):
        return digest(check(changes))

    same = [{}, {"experiment": "x"}, {"store": {"shard_subjects": 64}}, {"license": "mit"}]
    assert len({digest_of(**changes) for changes in same}) == 1
    assert len({digest_of(), digest_of(seed=1), digest_of(sampling={"steps": 3})}) == 3
