"""
Phenotypes: profiles of wells and treatments from cells, and how well they tell modes of action.

In: prepared cells and their encodings. Out: `<results>/phenotypes/` with the profiles, whose columns are named as
pycytominer and copairs do, and `<results>/tables/` with accuracies, average precisions and the confusion matrix.
"""


rule profile_cells:
    """Profiles from the latents, with the accuracies of these and of features that need no training."""
    input:
        index="<results>/images/index.parquet",
        weights="<results>/vae/weights.safetensors",
        encodings="<results>/vae/encodings.npz",
    output:
        wells="<results>/phenotypes/profiles_well.parquet",
        treatments="<results>/phenotypes/profiles_treatment.parquet",
        accuracy="<results>/tables/phenotype_accuracy.csv",
        precision="<results>/tables/phenotype_precision.csv",
        confusions="<results>/tables/confusion.csv",
    log:
        "<logs>/profile_cells.log",
    benchmark:
        "<benchmarks>/profile_cells.tsv"
    conda:
        "../../envs/covary.yaml"
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=120,
        gpu=1,
    params:
        resamples=settings.evaluation.bootstrap_resamples,
        seed=settings.seed,
        code=code("profile_cells"),
    script:
        "../scripts/profile_cells.py"
