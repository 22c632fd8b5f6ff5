"""Covary: from images to the association report. This page is a table of contents."""

from snakemake.utils import min_version

min_version("9.12")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"


pathvars:
    results=RESULTS,
    phantom=f"resources/phantom/{settings.experiment}",
    logs=f"{RESULTS}/logs",
    benchmarks=f"{RESULTS}/benchmarks",


report: "workflow/report/workflow.rst"


wildcard_constraints:
    scenario=r"noise_[0-9.e+-]+",
    shard=r"[0-9]+",
    predictor="|".join(PREDICTORS),
    network="|".join(READERS),
    family="|".join(settings.other_families) or "none",
    method="|".join(METHODS) or "none",
    resource=r"[a-z0-9_.-]+",


# Over in seconds and never large: not worth a place in a cluster's queue.
localrules:
    all,
    dataset,
    check_latents,
    create_dataset,
    plot_workflow,
    plot_training,
    plot_evaluation,
    plot_quality,
    plot_visits_worth,
    plot_sites,
    plot_ladder,
    describe_dataset,
    write_provenance,
    write_report,


include: "workflow/rules/resources.smk"
include: "workflow/rules/images.smk"
include: "workflow/rules/vae.smk"
include: "workflow/rules/generator.smk"
include: "workflow/rules/pretraining.smk"
include: "workflow/rules/dataset.smk"
include: "workflow/rules/longitudinal.smk"
include: "workflow/rules/predictor.smk"
include: "workflow/rules/amortised.smk"
include: "workflow/rules/visits.smk"
include: "workflow/rules/phenotypes.smk"
include: "workflow/rules/sites.smk"
include: "workflow/rules/ladder.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/publication.smk"


rule all:
    default_target: True
    input:
        "<results>/report.html",
        "<results>/provenance.json",


onstart:
    hold_folder()


rule dataset:
    input:
        "<results>/manifest.json",
