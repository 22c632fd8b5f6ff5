"""The graph of the workflow is drawn in a folder that has no file which another job may be writing."""

import importlib.util

from checkout import ROOT

SCRIPT = ROOT / "workflow" / "scripts" / "plot_workflow.py"


def test_the_plot_of_the_workflow_sees_nothing_that_a_job_writes(tmp_path):
    spec = importlib.util.spec_from_file_location("plot_workflow", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    here, there = tmp_path / "here", tmp_path / "there"
    written = ("results/demo", ".snakemake/log", "resources/phantom/demo", "resources/digits/train")
    kept = ("config", "workflow/rules", "resources/mine")
    for name in (*written, *kept):
        (here / name).mkdir(parents=True)
    there.mkdir()
    script._link(here, there)
    assert all((there / name).is_dir() for name in kept)
    assert not any((there / name).exists() for name in written)
