"""
Images: from a folder of scans to the arrays that all networks read.

In: procedural phantoms of scans or of cells, the digits that ship inside scikit-learn, or a folder of your own.
Out: `<results>/images/{train,test}.npy` (uint8), `generator_{train,test}.npy` if the generator has a size of its
own, `index.parquet` (file, split, class, patient) and `attributes.json` (names of the channels).
"""


rule draw_phantoms:
    """Draw OCT B-scans with known factors as JPEG files in the layout of the real dataset."""
    output:
        factors="<phantom>/factors.parquet",
    log:
        "<logs>/draw_phantoms.log",
    benchmark:
        "<benchmarks>/draw_phantoms.tsv"
    priority: 1  # everything waits for it, and it wants all cores
    conda:
        "../../envs/covary.yaml"
    threads: workflow.cores
    resources:
        mem_mb=growing(2000),
        runtime=60,
    params:
        phantom=section("images.phantom"),
        seed=settings.seed,
        code=code("draw_phantoms"),
    script:
        "../scripts/draw_phantoms.py"


rule draw_cells:
    """Draw single cells under 104 treatments, with known factors, in the layout of BBBC021."""
    output:
        metadata="<phantom>/metadata.csv",
    log:
        "<logs>/draw_cells.log",
    benchmark:
        "<benchmarks>/draw_cells.tsv"
    priority: 1
    conda:
        "../../envs/covary.yaml"
    threads: workflow.cores
    resources:
        mem_mb=growing(2000),
        runtime=60,
    params:
        drawn=section("images.drawn_cells"),
        seed=settings.seed,
        code=code("draw_cells"),
    script:
        "../scripts/draw_cells.py"


rule write_digits:
    """Write the handwritten digits that ship inside scikit-learn as a folder of PNG files."""
    output:
        labels="resources/digits/labels.csv",
    log:
        "<logs>/write_digits.log",
    benchmark:
        "<benchmarks>/write_digits.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=10,
    params:
        code=code("write_digits"),
    script:
        "../scripts/write_digits.py"


rule prepare_images:
    """Read, clean, crop and resize the images."""
    input:
        source_images,
    output:
        index="<results>/images/index.parquet",
        attributes="<results>/images/attributes.json",
        train="<results>/images/train.npy",
        test="<results>/images/test.npy",
        generator=expand(
            "<results>/images/generator_{split}.npy",
            split=["train", "test"] if len(settings.images.sizes_px) > 1 else [],
        ),
    log:
        "<logs>/prepare_images.log",
    benchmark:
        "<benchmarks>/prepare_images.tsv"
    conda:
        "../../envs/covary.yaml"
    threads: workflow.cores
    resources:
        mem_mb=growing(4000),
        runtime=240,
    params:
        folder=source_folder(),
        files=files_of_folder,
        settings=section("images"),
        seed=settings.seed,
        code=code("prepare_images"),
    script:
        "../scripts/prepare_images.py"
