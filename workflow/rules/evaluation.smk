"""
Evaluation: tables, the check for copies, figures and the report.

In: the dataset, prepared images, learning curves, the histories of all trainings and the ranking of latents. Out:
`<results>/tables/`, `<results>/figures/` and the self-contained `<results>/report.html`.
"""


rule evaluate:
    """Score random effects and records on the test subjects: the paper's Tables 1 and 2, and what lies behind them."""
    input:
        manifest="<results>/manifest.json",
        model_file=model_file(),
        learning_curves=expand(
            "<results>/learning_curve/{scenario}/{predictor}.npz",
            scenario=SCENARIOS,
            predictor=LEARNING_CURVES,
        ),
    output:
        random_effects=report(
            "<results>/tables/random_effects.csv",
            caption="../report/random_effects.rst",
            category="Association",
        ),
        longitudinal_nll=report(
            "<results>/tables/longitudinal_nll.csv",
            caption="../report/longitudinal_nll.rst",
            category="Association",
        ),
        comparison=report(
            "<results>/tables/comparison.csv",
            caption="../report/comparison.rst",
            category="Association",
        ),
        calibration=report(
            "<results>/tables/calibration.csv",
            caption="../report/calibration.rst",
            category="Association",
        ),
        outcomes=report(
            "<results>/tables/outcomes.csv",
            caption="../report/outcomes.rst",
            category="Association",
        ),
        association_ledger=report(
            "<results>/tables/association_ledger.csv",
            caption="../report/association_ledger.rst",
            category="Ledger",
        ),
        learning_curve=report(
            "<results>/tables/learning_curve.csv",
            caption="../report/learning_curve.rst",
            category="Power",
        ),
        power=report(
            "<results>/tables/power.csv",
            caption="../report/power.rst",
            category="Power",
        ),
    log:
        "<logs>/evaluate.log",
    benchmark:
        "<benchmarks>/evaluate.tsv"
    priority: 1  # the report waits for it longer than for figures and checks of images
    conda:
        "../../envs/covary.yaml"
    threads: max(1, workflow.cores // 2)  # a job that wants all cores waits until all others have ended
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        dataset=DATASET,
        model=settings.longitudinal.model,
        predictors=PREDICTED_BY,
        noise_variances=VARIANCES,
        tables=lambda wildcards, output: path.dirname(output.random_effects),
        resamples=settings.evaluation.bootstrap_resamples,
        draws=settings.evaluation.predictive_draws,
        seed=settings.seed,
        code=code("evaluate"),
    script:
        "../scripts/evaluate.py"


rule plot_images:
    """Real and generated images, reconstructions, traversals of the leading latents."""
    input:
        index="<results>/images/index.parquet",
        encodings="<results>/vae/encodings.npz",
        ranking="<results>/vae/latent_ranking.csv",
        latents="<results>/vae/latents.json",
        unet="<results>/generator/unet/diffusion_pytorch_model.safetensors",
        images=marker(names.IMAGES),
    output:
        examples=report(
            "<results>/figures/examples.png",
            caption="../report/examples.rst",
            category="Images",
        ),
        reconstructions=report(
            "<results>/figures/reconstructions.png",
            caption="../report/reconstructions.rst",
            category="Images",
        ),
        traversals=report(
            "<results>/figures/traversals.png",
            caption="../report/traversals.rst",
            category="Images",
        ),
    log:
        "<logs>/plot_images.log",
    benchmark:
        "<benchmarks>/plot_images.tsv"
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
        seed=settings.seed,
        code=code("plot_images"),
    script:
        "../scripts/plot_images.py"


rule measure_generator:
    """How good the generated images are: what can be read back, counterfactuals, distances to real images, copies."""
    input:
        index="<results>/images/index.parquet",
        encodings="<results>/vae/encodings.npz",
        ranking="<results>/vae/latent_ranking.csv",
        latents="<results>/vae/latents.json",
        unet="<results>/generator/unet/diffusion_pytorch_model.safetensors",
        subjects=marker(names.SUBJECTS),
        images=marker(names.IMAGES),
    output:
        table=report(
            "<results>/tables/generator_quality.csv",
            caption="../report/generator_quality.rst",
            category="Images",
        ),
        counterfactuals=report(
            "<results>/tables/counterfactuals.csv",
            caption="../report/counterfactuals.rst",
            category="Images",
        ),
        factors=(
            [
                report(
                    "<results>/tables/factors.csv",
                    caption="../report/factors.rst",
                    category="Images",
                )
            ]
            if ARE_SCANS
            else []
        ),
        neighbours="<results>/quality/nearest_images.npz",
    log:
        "<logs>/measure_generator.log",
    benchmark:
        "<benchmarks>/measure_generator.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(2000 + GENERATOR_MB),
        runtime=240,
        gpu=1,
    params:
        dataset=DATASET,
        generator=generator_folder,
        random_effects=RANDOM_EFFECTS,
        settings=section("quality"),
        sampling=section("sampling"),
        readback_draws=settings.ranking.readback_draws,
        reader=[FACTOR_READER] if ARE_SCANS else [],
        reader_sha256=shipped.stated_sha256(FACTOR_READER) if ARE_SCANS else None,
        resamples=settings.evaluation.bootstrap_resamples,
        seed=settings.seed,
        code=code("measure_generator"),
    script:
        "../scripts/measure_generator.py"


rule plot_association:
    """Images with their records, and predicted trajectories."""
    input:
        manifest="<results>/manifest.json",
        model_file=model_file(),
    output:
        association=report(
            "<results>/figures/association.svg",
            caption="../report/association.rst",
            category="Association",
        ),
        trajectories=report(
            "<results>/figures/trajectories.svg",
            caption="../report/trajectories.rst",
            category="Association",
        ),
    log:
        "<logs>/plot_association.log",
    benchmark:
        "<benchmarks>/plot_association.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=60,
    params:
        dataset=DATASET,
        model=settings.longitudinal.model,
        predictors=PREDICTED_BY,
        noise_variances=VARIANCES,
        code=code("plot_association"),
    script:
        "../scripts/plot_association.py"


rule plot_evaluation:
    """R², where the association went, calibration, learning curves and the number of subjects needed."""
    input:
        random_effects_table="<results>/tables/random_effects.csv",
        ledger_table="<results>/tables/association_ledger.csv",
        calibration_table="<results>/tables/calibration.csv",
        learning_curve_table="<results>/tables/learning_curve.csv",
        power_table="<results>/tables/power.csv",
    output:
        r2_against_explainable_fraction=report(
            "<results>/figures/r2_against_explainable_fraction.svg",
            caption="../report/r2_against_explainable_fraction.rst",
            category="Association",
        ),
        headline=report(
            "<results>/figures/headline.svg",
            caption="../report/headline.rst",
            category="Association",
        ),
        association_ledger=report(
            "<results>/figures/association_ledger.svg",
            caption="../report/association_ledger.rst",
            category="Ledger",
        ),
        calibration=report(
            "<results>/figures/calibration.svg",
            caption="../report/calibration.rst",
            category="Association",
        ),
        learning_curve=report(
            "<results>/figures/learning_curve.svg",
            caption="../report/learning_curve.rst",
            category="Power",
        ),
    log:
        "<logs>/plot_evaluation.log",
    benchmark:
        "<benchmarks>/plot_evaluation.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=30,
    params:
        code=code("plot_evaluation"),
    script:
        "../scripts/plot_evaluation.py"


rule plot_population:
    """Parameters, goodness of fit and visual predictive checks of the population fits."""
    input:
        records=expand(RECORDS, scenario=SCENARIOS),
        parameters=expand("<results>/population/{scenario}.json", scenario=SCENARIOS),
        fitted=expand("<results>/population/{scenario}.csv", scenario=SCENARIOS),
        verdicts=expand(
            "<results>/population/{scenario}_verdict.json", scenario=SCENARIOS
        ),
        model_file=model_file(),
    output:
        population_parameters=report(
            "<results>/tables/population_parameters.csv",
            caption="../report/population_parameters.rst",
            category="Records",
        ),
        population_fits="<results>/tables/population_fits.csv",
        goodness_of_fit=report(
            "<results>/figures/goodness_of_fit.svg",
            caption="../report/goodness_of_fit.rst",
            category="Records",
        ),
        predictive_checks=report(
            "<results>/figures/predictive_checks.svg",
            caption="../report/predictive_checks.rst",
            category="Records",
        ),
    log:
        "<logs>/plot_population.log",
    benchmark:
        "<benchmarks>/plot_population.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(3000),
        runtime=60,
    params:
        dataset=DATASET,
        model=settings.longitudinal.model,
        fit=section("longitudinal.fit"),
        noise_variances=VARIANCES,
        seed=settings.seed,
        code=code("plot_population"),
    script:
        "../scripts/plot_population.py"


rule check_privacy:
    """A membership attack on the generator, distances to the nearest images, and the closest pairs."""
    input:
        index="<results>/images/index.parquet",
        unet="<results>/generator/unet/diffusion_pytorch_model.safetensors",
        images=marker(names.IMAGES),
    output:
        table=report(
            "<results>/tables/privacy.csv",
            caption="../report/privacy.rst",
            category="Privacy",
        ),
        pairs="<results>/quality/closest_pairs.npz",
    log:
        "<logs>/check_privacy.log",
    benchmark:
        "<benchmarks>/check_privacy.tsv"
    priority: 1  # it takes long: as the last job it would leave a core without work
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=120,
        gpu=1,
    params:
        dataset=DATASET,
        generator=generator_folder,
        settings=section("generator"),
        privacy_images=settings.evaluation.privacy_images,
        resamples=settings.evaluation.bootstrap_resamples,
        seed=settings.seed,
        code=code("check_privacy"),
    script:
        "../scripts/check_privacy.py"


rule plot_quality:
    """The quality of generated images, their nearest training images, and the closest pairs."""
    input:
        index="<results>/images/index.parquet",
        table=rules.measure_generator.output.table,
        neighbours=rules.measure_generator.output.neighbours,
        pairs=rules.check_privacy.output.pairs,
    output:
        generator_quality=report(
            "<results>/figures/generator_quality.svg",
            caption="../report/generator_quality.rst",
            category="Images",
        ),
        nearest_images=report(
            "<results>/figures/nearest_images.png",
            caption="../report/nearest_images.rst",
            category="Images",
        ),
        closest_pairs=report(
            "<results>/figures/closest_pairs.png",
            caption="../report/closest_pairs.rst",
            category="Privacy",
        ),
    log:
        "<logs>/plot_quality.log",
    benchmark:
        "<benchmarks>/plot_quality.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=30,
    params:
        code=code("plot_quality"),
    script:
        "../scripts/plot_quality.py"


rule plot_training:
    """The ranking of the latents and the curves of all trainings."""
    input:
        ranking="<results>/vae/latent_ranking.csv",
        agreement="<results>/vae/ranking_agreement.csv",
        vae="<results>/vae/history.csv",
        generator="<results>/generator/history.csv",
        histories=expand(
            "<results>/predictors/{scenario}/{predictor}/history.csv",
            scenario=SCENARIOS,
            predictor=PREDICTORS,
        ),
    output:
        latent_ranking=report(
            "<results>/figures/latent_ranking.svg",
            caption="../report/latent_ranking.rst",
            category="Images",
        ),
        training_curves=report(
            "<results>/figures/training_curves.svg",
            caption="../report/training_curves.rst",
            category="Method",
        ),
    log:
        "<logs>/plot_training.log",
    benchmark:
        "<benchmarks>/plot_training.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=30,
    params:
        trained=[
            [variance, name, predictor.objective]
            for variance in VARIANCES
            for name, predictor in PREDICTORS.items()
        ],
        random_effects=RANDOM_EFFECTS,
        code=code("plot_training"),
    script:
        "../scripts/plot_training.py"


rule plot_workflow:
    """The full configuration, and the graph of stages as Snakemake sees it."""
    output:
        config="<results>/config.yaml",
        workflow_dag=report(
            "<results>/figures/workflow_dag.svg",
            caption="../report/workflow_dag.rst",
            category="Method",
        ),
    log:
        "<logs>/plot_workflow.log",
    benchmark:
        "<benchmarks>/plot_workflow.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=10,
    params:
        settings=settings.model_dump(),
        snakefile="Snakefile",
        code=code("plot_workflow"),
    script:
        "../scripts/plot_workflow.py"


rule write_report:
    """One self-contained page with everything a reader needs."""
    input:
        tables=[
            *rules.evaluate.output,
            rules.plot_visits_worth.output.table,
            rules.check_privacy.output.table,
            rules.measure_generator.output.table,
            rules.measure_generator.output.counterfactuals,
            *rules.measure_generator.output.factors,
            rules.rank_latents.output.ranking,
            rules.plot_population.output.population_parameters,
            rules.plot_population.output.population_fits,
            *POSTERIOR_TABLES,
            *IMPUTATION_TABLES,
            *PHENOTYPE_TABLES,
            *SITE_TABLES,
            *LADDER_TABLES,
        ],
        figures=[
            *rules.plot_images.output,
            *rules.plot_association.output,
            *rules.plot_evaluation.output,
            rules.plot_visits_worth.output.figure,
            *rules.plot_quality.output,
            rules.plot_population.output.goodness_of_fit,
            rules.plot_population.output.predictive_checks,
            *rules.plot_training.output,
            rules.plot_workflow.output.workflow_dag,
            *POSTERIOR_FIGURES,
            *PHENOTYPE_FIGURES,
            *SITE_FIGURES,
            *LADDER_FIGURES,
        ],
        captions=relative("workflow/report/*.rst"),
        index="<results>/images/index.parquet",
        images="<results>/images/attributes.json",
        model_file=model_file(),
        templates=relative(
            "workflow/src/covary/report/*.j2", "workflow/src/covary/report/*.css"
        ),
    output:
        page="<results>/report.html",
    log:
        "<logs>/write_report.log",
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=30,
    params:
        config=settings.model_dump(),
        benchmarks=f"{RESULTS}/benchmarks",
        code=code("write_report"),
    script:
        "../scripts/write_report.py"
