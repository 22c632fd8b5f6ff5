"""
Dataset: subjects and their images in one Zarr store.

In: the generator and the ranking. Out: `<results>/dataset.zarr`, tracked through the markers in
`<results>/markers/` (range, SHA-256 of the values) and the manifest `<results>/manifest.json`.
"""

# What decides where an image lies in the store; the number of subjects does not.
LAYOUT = {"size_px": settings.images.drawn_size_px, **section("store")}
SHARD_MB = LAYOUT["shard_subjects"] * LAYOUT["size_px"] ** 2 // 10**6


rule create_dataset:
    """Lay out the empty store."""
    input:
        images="<results>/images/attributes.json",
    output:
        specification="<results>/dataset.spec.json",
    log:
        "<logs>/create_dataset.log",
    benchmark:
        "<benchmarks>/create_dataset.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=10,
    params:
        dataset=DATASET,
        layout=LAYOUT,
        attributes={"experiment": settings.experiment, "seed": settings.seed},
        code=code("create_dataset"),
    script:
        "../scripts/create_dataset.py"


rule sample_subjects:
    """Draw z for every subject and read the random effects off it."""
    input:
        specification="<results>/dataset.spec.json",
        latents="<results>/vae/latents.json",
    output:
        marker=marker(names.SUBJECTS),
    log:
        "<logs>/sample_subjects.log",
    benchmark:
        "<benchmarks>/sample_subjects.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=30,
    params:
        dataset=DATASET,
        settings=section("subjects"),
        sites=SITES_OF_DATA,
        seed=settings.seed,
        code=code("sample_subjects"),
    script:
        "../scripts/sample_subjects.py"


rule generate_images:
    """Draw the images of one shard of subjects."""
    input:
        specification="<results>/dataset.spec.json",
        unet="<results>/generator/unet/diffusion_pytorch_model.safetensors",
        gate=gate_of_generator(),
        latents="<results>/vae/latents.json",
    output:
        marker=f"<results>/{names.shard_marker('{shard}')}",
    log:
        "<logs>/generate_images/{shard}.log",
    benchmark:
        "<benchmarks>/generate_images/{shard}.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(GENERATOR_MB + 3 * SHARD_MB),
        runtime=720,
        gpu=1,
    params:
        dataset=DATASET,
        generator=generator_folder,
        sampling=section("sampling"),
        layout=LAYOUT,
        sites=SITES_OF_DATA,
        random_effects=len(RANDOM_EFFECTS),
        first_unseen=settings.subjects.total if settings.sites else None,
        subjects=shard_subjects,
        seed=settings.seed,
        code=code("generate_images"),
    script:
        "../scripts/generate_images.py"


rule gather_images:
    """Check that every subject has its image, without holes or overlaps."""
    input:
        shards=expand(f"<results>/{names.shard_marker('{shard}')}", shard=SHARDS),
    output:
        marker=marker(names.IMAGES),
    log:
        "<logs>/gather_images.log",
    benchmark:
        "<benchmarks>/gather_images.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=120,
    params:
        dataset=DATASET,
        n_subjects=settings.n_subjects,
        code=code("gather_images"),
    script:
        "../scripts/gather_images.py"


rule finalise_dataset:
    """Check every group against its marker, consolidate the metadata, write the manifest."""
    input:
        markers=[
            marker(names.SUBJECTS),
            marker(names.DESIGN),
            marker(names.IMAGES),
            *expand(RECORDS, scenario=SCENARIOS),
            *expand(ESTIMATES, scenario=SCENARIOS),
            *expand(
                PREDICTIONS,
                scenario=SCENARIOS,
                predictor=[*PREDICTORS, *map(names.oracle, ORACLES)],
            ),
            *expand(marker(names.readings("{network}")), network=READERS),
        ],
    output:
        manifest="<results>/manifest.json",
    log:
        "<logs>/finalise_dataset.log",
    benchmark:
        "<benchmarks>/finalise_dataset.tsv"
    priority: 2  # the evaluation waits for it
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=120,
    params:
        dataset=DATASET,
        attributes={
            "config_sha256": experiment.digest(settings),
            "seed": settings.seed,
        },
        code=code("finalise_dataset"),
    script:
        "../scripts/finalise_dataset.py"
