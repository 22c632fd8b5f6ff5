"""
Publication: what travels with the dataset.

In: the finished dataset, its tables and its report. Out, beside them: `README.md` (the card), `croissant.json` (metadata with
the SHA-256 of every file) and `provenance.json` (code, environment, machine, seed, runtimes).
"""


rule describe_dataset:
    """Write the card and the Croissant metadata of the dataset."""
    input:
        manifest="<results>/manifest.json",
        ledger="<results>/tables/association_ledger.csv",
    output:
        card="<results>/README.md",
        croissant="<results>/croissant.json",
    log:
        "<logs>/describe_dataset.log",
    benchmark:
        "<benchmarks>/describe_dataset.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=60,
    params:
        dataset=DATASET,
        config=settings.model_dump(),
        code=code("describe_dataset"),
    script:
        "../scripts/describe_dataset.py"


rule write_provenance:
    """Record how the results came about; last, so that it knows what every rule cost."""
    input:
        manifest="<results>/manifest.json",
        report="<results>/report.html",
        card="<results>/README.md",
        environment_lock=relative("envs/requirements.lock")[0],
    output:
        provenance_file="<results>/provenance.json",
    log:
        "<logs>/write_provenance.log",
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=10,
    params:
        config=settings.model_dump(),
        benchmarks=f"{RESULTS}/benchmarks",
        code=code("write_provenance"),
    script:
        "../scripts/write_provenance.py"
