"""
Generator: the diffusion model that draws an image for a z.

In: prepared images and their posteriors. Out: `<results>/generator/` in diffusers' own format and, if a pretrained
model is fine-tuned, `<results>/latents/` with the images in its latent space. A gate lets no generator pass from whose
images the random effects cannot be read back (`<results>/gates/generator.csv`).
"""

# Stable Diffusion's networks take 4 GB; a checkpoint also has the optimiser's state and the average.
GENERATOR_MB = 4000 if settings.generator.pretrained is None else 10_000
CHECKPOINT_MB = 0 if settings.generator.pretrained is None else 20_000


rule cache_latents:
    """Encode all training images, once, into the space of a pretrained generator; resumes after a kill."""
    input:
        index="<results>/images/index.parquet",
    output:
        latents="<results>/latents/train.npy",
    log:
        "<logs>/cache_latents.log",
    benchmark:
        "<benchmarks>/cache_latents.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=1440,
        gpu=1,
    params:
        pretrained=settings.generator.pretrained,
        code=code("cache_latents"),
    script:
        "../scripts/cache_latents.py"


rule train_generator:
    """Train the conditional diffusion model; resumes from its checkpoint after a kill."""
    input:
        index="<results>/images/index.parquet",
        encodings="<results>/vae/encodings.npz",
        vae_weights="<results>/vae/weights.safetensors",
        latents=["<results>/latents/train.npy"] if settings.generator.pretrained else [],
        gate="<results>/gates/vae.csv",
    output:
        unet="<results>/generator/unet/diffusion_pytorch_model.safetensors",
        unet_config="<results>/generator/unet/config.json",
        scheduler="<results>/generator/scheduler/scheduler_config.json",
        history="<results>/generator/history.csv",
    log:
        "<logs>/train_generator.log",
    benchmark:
        "<benchmarks>/train_generator.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(GENERATOR_MB + CHECKPOINT_MB),
        runtime=4320,
        gpu=1,
    params:
        settings=section("generator"),
        start_sha256=shipped.stated_sha256(settings.generator.start),
        seed=settings.seed,
        code=code("train_generator"),
    script:
        "../scripts/train_generator.py"


rule check_generator:
    """Stop the run if the random effects cannot be read back from generated images."""
    input:
        ranking="<results>/vae/latent_ranking.csv",
        latents="<results>/vae/latents.json",
        unet="<results>/generator/unet/diffusion_pytorch_model.safetensors",
    output:
        table="<results>/gates/generator.csv",
    log:
        "<logs>/check_generator.log",
    benchmark:
        "<benchmarks>/check_generator.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(GENERATOR_MB),
        runtime=60,
        gpu=1,
    params:
        generator=generator_folder,
        random_effects=RANDOM_EFFECTS,
        settings=section("gates"),
        sampling=section("sampling"),
        seed=settings.seed,
        code=code("check_generator"),
    script:
        "../scripts/check_generator.py"
