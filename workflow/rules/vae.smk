"""
Image VAE: the latent space whose coordinates become random effects.

In: prepared images. Out: `<results>/vae/` with the weights, the loss curves, the posterior q(z|x) of every
image (`encodings.npz`), the ranking of latents with the chosen random effects (`latent_ranking.csv`) and how far the
two methods of ranking agree (`ranking_agreement.csv`). A gate lets nothing pass from which the random effects cannot be
read back (`<results>/gates/vae.csv`).
"""

# Where other families are trained beside it, a core for each is faster than two cores for one after the other.
VAE_THREADS = 1 if settings.other_families else 2


rule train_image_vae:
    """Train the β-VAE; resumes from its checkpoint after a kill."""
    input:
        index="<results>/images/index.parquet",
    output:
        weights="<results>/vae/weights.safetensors",
        config="<results>/vae/config.json",
        history="<results>/vae/history.csv",
    log:
        "<logs>/train_image_vae.log",
    benchmark:
        "<benchmarks>/train_image_vae.tsv"
    priority: 2  # random effects, images and records wait for it
    conda:
        "../../envs/covary.yaml"
    threads: VAE_THREADS
    resources:
        mem_mb=growing(4000),
        runtime=2880,
        gpu=1,
    params:
        vae=section("vae"),
        start_sha256=shipped.stated_sha256(settings.vae.start),
        active_variance=settings.ranking.active_variance,
        cpu_threads=VAE_THREADS,
        seed=settings.seed,
        code=code("train_image_vae"),
    script:
        "../scripts/train_image_vae.py"


rule encode_images:
    """Posterior mean and log variance of every prepared image."""
    input:
        index="<results>/images/index.parquet",
        weights="<results>/vae/weights.safetensors",
    output:
        encodings="<results>/vae/encodings.npz",
    log:
        "<logs>/encode_images.log",
    benchmark:
        "<benchmarks>/encode_images.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=120,
        gpu=1,
    params:
        code=code("encode_images"),
    script:
        "../scripts/encode_images.py"


rule rank_latents:
    """Rank the active latents by read-back error and by decoder sensitivity; pick the random effects."""
    input:
        weights="<results>/vae/weights.safetensors",
        encodings="<results>/vae/encodings.npz",
    output:
        ranking=report(
            "<results>/vae/latent_ranking.csv",
            caption="../report/latent_ranking.rst",
            category="Images",
        ),
        agreement="<results>/vae/ranking_agreement.csv",
        latents="<results>/vae/latents.json",
    log:
        "<logs>/rank_latents.log",
    benchmark:
        "<benchmarks>/rank_latents.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=240,
        gpu=1,
    params:
        settings=section("ranking"),
        random_effects=len(RANDOM_EFFECTS),
        open_share=settings.vae.open_share,
        other_latents=settings.other_latents,
        conditioning_source=settings.generator.conditioning_source,
        seed=settings.seed,
        code=code("rank_latents"),
    script:
        "../scripts/rank_latents.py"


rule check_latents:
    """Stop the run if the random effects cannot be read back from decodings of the VAE."""
    input:
        ranking="<results>/vae/latent_ranking.csv",
    output:
        table="<results>/gates/vae.csv",
    log:
        "<logs>/check_latents.log",
    benchmark:
        "<benchmarks>/check_latents.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=10,
    params:
        random_effects=RANDOM_EFFECTS,
        least=settings.gates.vae,
        code=code("check_latents"),
    script:
        "../scripts/check_latents.py"
