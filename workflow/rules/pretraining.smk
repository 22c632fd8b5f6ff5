"""
Pretraining: the networks that come with the workflow in `workflow/pretrained/`, made once by `make pretrain`.

In: an experiment whose generator knows z through decodings only (`config/oct_64px.yaml`), and the known factors of its
phantoms. Out: `<results>/pretrained/`, from where `make pretrain` copies.
"""


rule pretrained:
    input:
        f"<results>/pretrained/{settings.experiment}.safetensors",
        f"<results>/pretrained/{settings.experiment}_vae.safetensors",
        f"<results>/pretrained/{settings.experiment}_reader.safetensors",


rule write_starts:
    """Write the trained image VAE and generator as starts for those of other experiments."""
    input:
        unet="<results>/generator/unet/diffusion_pytorch_model.safetensors",
    output:
        generator_start=f"<results>/pretrained/{settings.experiment}.safetensors",
        vae_start=f"<results>/pretrained/{settings.experiment}_vae.safetensors",
    log:
        "<logs>/write_starts.log",
    benchmark:
        "<benchmarks>/write_starts.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(GENERATOR_MB),
        runtime=30,
    params:
        generator=generator_folder,
        vae=section("vae"),
        settings=section("generator"),
        code=code("write_starts"),
    script:
        "../scripts/write_starts.py"


rule train_factor_reader:
    """Train the network that reads the known factors of phantoms from images."""
    input:
        index="<results>/images/index.parquet",
        factors="<phantom>/factors.parquet",
    output:
        reader=f"<results>/pretrained/{settings.experiment}_reader.safetensors",
    log:
        "<logs>/train_factor_reader.log",
    benchmark:
        "<benchmarks>/train_factor_reader.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=240,
        gpu=1,
    params:
        seed=settings.seed,
        code=code("train_factor_reader"),
    script:
        "../scripts/train_factor_reader.py"
