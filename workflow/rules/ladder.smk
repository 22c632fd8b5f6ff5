"""
Ladder: models of different kind, fitted to the records of the first noise level and compared on new subjects.

In: records, and images for the association. Out: `<results>/ladder/` with each fit and its scores,
`<results>/tables/` with `deep_ladder.csv`, `deep_predictions.csv` and `deep_association.csv`, and their figures.
"""


rule fit_ladder:
    """Fit one model to some training subjects, and score it on test subjects."""
    input:
        records=marker(names.records(FIRST_SCENARIO)),
        model_file=ladder_model_file,
    output:
        fitted="<results>/ladder/{rung}_{subjects}.json",
        scores="<results>/ladder/{rung}_{subjects}.csv",
    log:
        "<logs>/fit_ladder/{rung}_{subjects}.log",
    benchmark:
        "<benchmarks>/fit_ladder/{rung}_{subjects}.tsv"
    wildcard_constraints:
        rung="|".join(RUNGS) or "none",
        subjects=r"[0-9]+",
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=120,
    params:
        dataset=DATASET,
        noise_variance=VARIANCES[0],
        model=settings.longitudinal.model,
        training_subjects=lambda wildcards: int(wildcards.subjects),
        fit=section("longitudinal.fit"),
        settings=fitted_by,
        seed=settings.seed,
        code=code("fit_ladder"),
    script:
        "../scripts/fit_ladder.py"


rule compare_ladder:
    """Evidence and predictions of the same test subjects under every model."""
    input:
        records=marker(names.records(FIRST_SCENARIO)),
        fits=of_each_rung("<results>/ladder/{rung}_{subjects}.json"),
        scores=of_each_rung("<results>/ladder/{rung}_{subjects}.csv"),
        model_file=model_file(),
    output:
        table=report(
            "<results>/tables/deep_ladder.csv",
            caption="../report/deep_ladder.rst",
            category="Models",
        ),
        predictions="<results>/tables/deep_predictions.csv",
    log:
        "<logs>/compare_ladder.log",
    benchmark:
        "<benchmarks>/compare_ladder.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=60,
    params:
        dataset=DATASET,
        noise_variance=VARIANCES[0],
        model=settings.longitudinal.model,
        settings=section("ladder"),
        seed=settings.seed,
        resamples=settings.evaluation.bootstrap_resamples,
        code=code("compare_ladder"),
    script:
        "../scripts/compare_ladder.py"


rule estimate_by_model:
    """Estimate random effects under one fitted model, and predict them from images."""
    input:
        records=marker(names.records(FIRST_SCENARIO)),
        images=marker(names.IMAGES),
        fitted=f"<results>/ladder/{{rung}}_{MOST_SUBJECTS}.json",
        others=network_files(settings.estimators_predictor) if ESTIMATORS else [],
        model_file=ladder_model_file,
    output:
        estimates="<results>/ladder/{rung}_estimates.npz",
    log:
        "<logs>/estimate_by_model/{rung}.log",
    benchmark:
        "<benchmarks>/estimate_by_model/{rung}.tsv"
    wildcard_constraints:
        rung="|".join(RUNGS) or "none",
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=720,
        gpu=1,
    params:
        dataset=DATASET,
        noise_variance=VARIANCES[0],
        model=settings.longitudinal.model,
        rung=lambda wildcards: RUNGS[wildcards.rung].model_dump(),
        predictor=section("estimators_predictor"),
        start_sha256=(
            shipped.stated_sha256(settings.estimators_predictor.start)
            if ESTIMATORS
            else None
        ),
        checkpoints=lambda wildcards: f"{RESULTS}/ladder/{wildcards.rung}_checkpoints",
        seed=settings.seed,
        code=code("estimate_by_model"),
    script:
        "../scripts/estimate_by_model.py"


rule compare_estimators:
    """How much association is found where the estimator knows one model or another."""
    input:
        records=marker(names.records(FIRST_SCENARIO)),
        estimates=expand("<results>/ladder/{rung}_estimates.npz", rung=ESTIMATORS),
        model_file=model_file(),
    output:
        table=report(
            "<results>/tables/deep_association.csv",
            caption="../report/deep_association.rst",
            category="Models",
        ),
    log:
        "<logs>/compare_estimators.log",
    benchmark:
        "<benchmarks>/compare_estimators.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=60,
    params:
        dataset=DATASET,
        noise_variance=VARIANCES[0],
        model=settings.longitudinal.model,
        settings=section("ladder"),
        seed=settings.seed,
        resamples=settings.evaluation.bootstrap_resamples,
        code=code("compare_estimators"),
    script:
        "../scripts/compare_estimators.py"


rule plot_estimators:
    """How much association is found where the estimator knows one model or another."""
    input:
        table=rules.compare_estimators.output.table,
    output:
        figure=report(
            "<results>/figures/deep_association.svg",
            caption="../report/deep_association.rst",
            category="Models",
        ),
    log:
        "<logs>/plot_estimators.log",
    benchmark:
        "<benchmarks>/plot_estimators.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=30,
    params:
        code=code("plot_estimators"),
    script:
        "../scripts/plot_estimators.py"


rule plot_ladder:
    """Evidence and errors of predictions against the number of training subjects and of visits."""
    input:
        table=rules.compare_ladder.output.table,
        predictions=rules.compare_ladder.output.predictions,
    output:
        figure=report(
            "<results>/figures/deep_ladder.svg",
            caption="../report/deep_ladder.rst",
            category="Models",
        ),
    log:
        "<logs>/plot_ladder.log",
    benchmark:
        "<benchmarks>/plot_ladder.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=30,
    params:
        code=code("plot_ladder"),
    script:
        "../scripts/plot_ladder.py"


# What the report has beside that of a run without a ladder, or without other estimators.
LADDER_TABLES = [
    *(rules.compare_ladder.output if RUNGS else []),
    *(rules.compare_estimators.output if ESTIMATORS else []),
]
LADDER_FIGURES = [
    *(rules.plot_ladder.output if RUNGS else []),
    *(rules.plot_estimators.output if ESTIMATORS else []),
]
