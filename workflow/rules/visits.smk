"""
What an image is worth in visits: forecasts of the last visits given the first ones, with and without the image. What
filling in missing visits would do.

In: records, estimates and predictions. Out: `<results>/tables/visits_worth.csv` and its figure, and, where visits are missing,
`<results>/tables/imputation.csv`.
"""


rule measure_visits_worth:
    """At one level, forecast the last visits of test subjects given the first ones, with and without the image."""
    input:
        records=RECORDS,
        estimates=ESTIMATES,
        predictions=expand(PREDICTIONS, predictor=PREDICTORS, allow_missing=True),
        model_file=model_file(),
    output:
        table="<results>/visits_worth/{scenario}.csv",
    log:
        "<logs>/measure_visits_worth/{scenario}.log",
    benchmark:
        "<benchmarks>/measure_visits_worth/{scenario}.tsv"
    priority: 1  # the report waits for it longer than for figures and checks of images
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(3000),
        runtime=120,
    params:
        dataset=DATASET,
        model=settings.longitudinal.model,
        predictors=PREDICTED_BY,
        noise_variance=noise_variance,
        settings=section("evaluation.visits_worth"),
        resamples=settings.evaluation.bootstrap_resamples,
        draws=settings.evaluation.predictive_draws,
        seed=settings.seed,
        code=code("measure_visits_worth"),
    script:
        "../scripts/measure_visits_worth.py"


rule plot_visits_worth:
    """The table of all levels, and forecasts against the number of first visits."""
    input:
        levels=expand(
            rules.measure_visits_worth.output.table,
            scenario=[Scenario(v).name for v in settings.visits_worth_levels],
        ),
    output:
        table=report(
            "<results>/tables/visits_worth.csv",
            caption="../report/visits_worth.rst",
            category="Association",
        ),
        figure=report(
            "<results>/figures/visits_worth.svg",
            caption="../report/visits_worth.rst",
            category="Association",
        ),
    log:
        "<logs>/plot_visits_worth.log",
    benchmark:
        "<benchmarks>/plot_visits_worth.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=30,
    params:
        code=code("plot_visits_worth"),
    script:
        "../scripts/plot_visits_worth.py"


rule measure_imputation:
    """Fit the first noise level again with missing visits left out, and filled in by two customs."""
    input:
        records=marker(names.records(next(iter(SCENARIOS)))),
        parameters=f"<results>/population/{next(iter(SCENARIOS))}.json",
        model_file=model_file(),
    output:
        table=report(
            "<results>/tables/imputation.csv",
            caption="../report/imputation.rst",
            category="Records",
        ),
    log:
        "<logs>/measure_imputation.log",
    benchmark:
        "<benchmarks>/measure_imputation.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(3000),
        runtime=240,
    params:
        dataset=DATASET,
        model=settings.longitudinal.model,
        noise_variance=VARIANCES[0],
        fit=section("longitudinal.fit"),
        resamples=settings.evaluation.bootstrap_resamples,
        seed=settings.seed,
        code=code("measure_imputation"),
    script:
        "../scripts/measure_imputation.py"


# What the report has beside that of other runs where visits are missing.
IMPUTATION_TABLES = (
    [rules.measure_imputation.output.table] if settings.longitudinal.missing else []
)
