"""
Sites: methods for subjects that come from sites, and how they do at sites that they know and at new ones.

In: images, records and their estimates. Out: `<results>/sites/` with the first test subjects at every site and with the
predictions of every method in every scenario, the tables `sites*.csv` and their figures.
"""

# How many test subjects are drawn at every site.
AT_SITES = 128


rule draw_at_sites:
    """The first test subjects as the scanner of every site shows them."""
    input:
        subjects=marker(names.SUBJECTS),
        unet="<results>/generator/unet/diffusion_pytorch_model.safetensors",
        latents="<results>/vae/latents.json",
    output:
        images="<results>/sites/at_sites.npz",
    log:
        "<logs>/draw_at_sites.log",
    benchmark:
        "<benchmarks>/draw_at_sites.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(GENERATOR_MB),
        runtime=60,
        gpu=1,
    params:
        dataset=DATASET,
        generator=generator_folder,
        sampling=section("sampling"),
        sites=SITES_OF_DATA,
        number=AT_SITES,
        seed=settings.seed,
        code=code("draw_at_sites"),
    script:
        "../scripts/draw_at_sites.py"


rule train_site_method:
    """Train one method in one scenario; its settings are chosen on sites that are left out."""
    input:
        images=marker(names.IMAGES),
        estimates=ESTIMATES,
        parameters="<results>/population/{scenario}.json",
        posteriors=lambda wildcards: draws_for(
            [METHODS[wildcards.method].objective], wildcards.scenario
        ),
        others=files_of_site_network,
        at_sites="<results>/sites/at_sites.npz",
        model_file=model_file(),
    output:
        predictions="<results>/sites/{scenario}/{method}.npz",
        history="<results>/sites/{scenario}/{method}_history.csv",
        left_out="<results>/sites/{scenario}/{method}_left_out.csv",
    log:
        "<logs>/train_site_method/{scenario}_{method}.log",
    benchmark:
        "<benchmarks>/train_site_method/{scenario}_{method}.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(3500),
        runtime=1440,
        gpu=1,
    params:
        dataset=DATASET,
        noise_variance=noise_variance,
        model=settings.longitudinal.model,
        settings=lambda wildcards: METHODS[wildcards.method].model_dump(),
        training=section("sites.training") if settings.sites else None,
        seed=settings.seed,
        code=code("train_site_method"),
    script:
        "../scripts/train_site_method.py"


rule measure_sites:
    """Score every method at seen and at unseen sites, and how far it follows the scanner."""
    input:
        subjects=marker(names.SUBJECTS),
        records=expand(RECORDS, scenario=SCENARIOS),
        predictions=expand(
            "<results>/sites/{scenario}/{method}.npz",
            scenario=SCENARIOS,
            method=METHODS,
        ),
    output:
        sites=report(
            "<results>/tables/sites.csv",
            caption="../report/sites.rst",
            category="Sites",
        ),
        comparison=report(
            "<results>/tables/sites_comparison.csv",
            caption="../report/sites_comparison.rst",
            category="Sites",
        ),
        methods=report(
            "<results>/tables/site_methods.csv",
            caption="../report/site_methods.rst",
            category="Sites",
        ),
    log:
        "<logs>/measure_sites.log",
    benchmark:
        "<benchmarks>/measure_sites.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(3000),
        runtime=60,
    params:
        dataset=DATASET,
        trained=[
            [variance, name, method.effects]
            for variance in VARIANCES
            for name, method in METHODS.items()
        ],
        resamples=settings.evaluation.bootstrap_resamples,
        seed=settings.seed,
        code=code("measure_sites"),
    script:
        "../scripts/measure_sites.py"


rule plot_sites:
    """What methods find at seen and at unseen sites, and subjects at every site."""
    input:
        sites="<results>/tables/sites.csv",
        images="<results>/sites/at_sites.npz",
        subjects=marker(names.SUBJECTS),
        drawn=marker(names.IMAGES),
    output:
        figure=report(
            "<results>/figures/sites.svg",
            caption="../report/sites.rst",
            category="Sites",
        ),
        at_sites=report(
            "<results>/figures/at_sites.png",
            caption="../report/at_sites.rst",
            category="Sites",
        ),
    log:
        "<logs>/plot_sites.log",
    benchmark:
        "<benchmarks>/plot_sites.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=30,
    params:
        dataset=DATASET,
        code=code("plot_sites"),
    script:
        "../scripts/plot_sites.py"


# What the report of a run with sites has beside that of others.
SITE_TABLES = rules.measure_sites.output if settings.sites else []
SITE_FIGURES = rules.plot_sites.output if settings.sites else []
