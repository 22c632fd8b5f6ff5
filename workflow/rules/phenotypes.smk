"""
Phenotypes: families of VAEs side by side, profiles of wells and treatments from cells, and how well these tell modes of
action.

In: prepared cells. Out: `<results>/families/` with the networks that are trained for comparison only,
`<results>/phenotypes/` with the profiles, whose columns are named as pycytominer and copairs do, and `<results>/tables/`
with the families, accuracies, average precisions and the confusion matrix.
"""

# Folder of each family's network: that of the association first.
FAMILIES = {settings.vae.family: "<results>/vae"} | {
    family: f"<results>/families/{family}" for family in settings.other_families
}
TRAINED = {family: settings.vae_of_family(family).model_dump() for family in FAMILIES}


use rule train_image_vae as train_family with:
    output:
        weights="<results>/families/{family}/weights.safetensors",
        config="<results>/families/{family}/config.json",
        history="<results>/families/{family}/history.csv",
    log:
        "<logs>/train_family/{family}.log",
    benchmark:
        "<benchmarks>/train_family/{family}.tsv"
    priority: 1  # the report waits for them longer than for what else could run now
    threads: 1
    params:
        vae=lambda wildcards: settings.vae_of_family(wildcards.family).model_dump(),
        active_variance=settings.ranking.active_variance,
        cpu_threads=1,
        seed=settings.seed,
        code=code("train_image_vae"),


rule profile_cells:
    """Profiles from the latents, with the accuracies of these and of features that need no training."""
    input:
        index="<results>/images/index.parquet",
        weights=[f"{folder}/weights.safetensors" for folder in FAMILIES.values()],
        histories=[f"{folder}/history.csv" for folder in FAMILIES.values()],
    output:
        wells="<results>/phenotypes/profiles_well.parquet",
        treatments="<results>/phenotypes/profiles_treatment.parquet",
        accuracy="<results>/tables/phenotype_accuracy.csv",
        precision="<results>/tables/phenotype_precision.csv",
        gain="<results>/tables/phenotype_gain.csv",
        confusions="<results>/tables/confusion.csv",
        families="<results>/tables/vae_families.csv",
    log:
        "<logs>/profile_cells.log",
    benchmark:
        "<benchmarks>/profile_cells.tsv"
    conda:
        "../../envs/covary.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=120,
        gpu=1,
    params:
        trained=TRAINED,
        settings=section("phenotypes"),
        resamples=settings.evaluation.bootstrap_resamples,
        seed=settings.seed,
        code=code("profile_cells"),
    script:
        "../scripts/profile_cells.py"


rule plot_phenotypes:
    """Cells by mode, accuracies, confusions, correlations, interpolations, and the families side by side."""
    input:
        index="<results>/images/index.parquet",
        weights=rules.profile_cells.input.weights,
        histories=rules.profile_cells.input.histories,
        accuracy=rules.profile_cells.output.accuracy,
        confusions=rules.profile_cells.output.confusions,
    output:
        cells_by_mode=report(
            "<results>/figures/cells_by_mode.png",
            caption="../report/cells_by_mode.rst",
            category="Phenotypes",
        ),
        phenotype_accuracy=report(
            "<results>/figures/phenotype_accuracy.svg",
            caption="../report/phenotype_accuracy.rst",
            category="Phenotypes",
        ),
        confusion_matrix=report(
            "<results>/figures/confusion_matrix.svg",
            caption="../report/confusion_matrix.rst",
            category="Phenotypes",
        ),
        mode_correlations=report(
            "<results>/figures/mode_correlations.png",
            caption="../report/mode_correlations.rst",
            category="Phenotypes",
        ),
        interpolations=report(
            "<results>/figures/interpolations.png",
            caption="../report/interpolations.rst",
            category="Phenotypes",
        ),
        family_reconstructions=report(
            "<results>/figures/family_reconstructions.png",
            caption="../report/family_reconstructions.rst",
            category="Phenotypes",
        ),
        open_gates=report(
            "<results>/figures/open_gates.svg",
            caption="../report/open_gates.rst",
            category="Phenotypes",
        ),
        family_curves=report(
            "<results>/figures/family_curves.svg",
            caption="../report/family_curves.rst",
            category="Phenotypes",
        ),
    log:
        "<logs>/plot_phenotypes.log",
    benchmark:
        "<benchmarks>/plot_phenotypes.tsv"
    conda:
        "../../envs/covary.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=60,
        gpu=1,
    params:
        trained=TRAINED,
        code=code("plot_phenotypes"),
    script:
        "../scripts/plot_phenotypes.py"


# What the report of a run with cells has beside that of others.
HAS_CELLS = settings.images.source == "cells"
PHENOTYPE_FIGURES = rules.plot_phenotypes.output if HAS_CELLS else []
PHENOTYPE_TABLES = (
    [
        rules.profile_cells.output.families,
        rules.profile_cells.output.accuracy,
        rules.profile_cells.output.precision,
        rules.profile_cells.output.gain,
        rules.profile_cells.output.confusions,
    ]
    if HAS_CELLS
    else []
)
