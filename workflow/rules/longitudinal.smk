"""
Longitudinal records: design, simulation, population fit, empirical Bayes estimates, for each scenario.

In: subjects. Out: the groups `design`, `longitudinal/<scenario>` and `estimates/<scenario>` of the dataset and the
fitted population models in `<results>/population/`.
"""


rule prepare_records:
    """Write who is observed and dosed when, and the true parameters of the structural model."""
    input:
        subjects=marker(names.SUBJECTS),
        model_file=model_file(),
        table=[settings.longitudinal.design] if settings.longitudinal.design else [],
    output:
        marker=marker(names.DESIGN),
    log:
        "<logs>/prepare_records.log",
    benchmark:
        "<benchmarks>/prepare_records.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        dataset=DATASET,
        longitudinal=planned_records(),
        n_subjects=settings.n_subjects,
        seed=settings.seed,
        code=code("prepare_records"),
    script:
        "../scripts/prepare_records.py"


rule simulate_longitudinal:
    """Blur eta into eta_hat and simulate the records that it drives."""
    input:
        subjects=marker(names.SUBJECTS),
        design=marker(names.DESIGN),
        model_file=model_file(),
    output:
        marker=RECORDS,
    log:
        "<logs>/simulate_longitudinal/{scenario}.log",
    benchmark:
        "<benchmarks>/simulate_longitudinal/{scenario}.tsv"
    priority: 2  # predictors wait for it
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        dataset=DATASET,
        noise_variance=noise_variance,
        model=settings.longitudinal.model,
        missing=planned_records()["missing"],
        seed=settings.seed,
        code=code("simulate_longitudinal"),
    script:
        "../scripts/simulate_longitudinal.py"


rule fit_population:
    """Fit the population model to training records by maximum likelihood."""
    input:
        records=RECORDS,
        model_file=model_file(),
    output:
        parameters="<results>/population/{scenario}.json",
        table="<results>/population/{scenario}.csv",
        verdict="<results>/population/{scenario}_verdict.json",
    log:
        "<logs>/fit_population/{scenario}.log",
    benchmark:
        "<benchmarks>/fit_population/{scenario}.tsv"
    priority: 2  # predictors wait for it
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        dataset=DATASET,
        noise_variance=noise_variance,
        model=settings.longitudinal.model,
        fit=section("longitudinal.fit"),
        code=code("fit_population"),
    script:
        "../scripts/fit_population.py"


rule estimate_random_effects:
    """Empirical Bayes estimates of every subject's random effects from the record alone."""
    input:
        records=RECORDS,
        parameters="<results>/population/{scenario}.json",
        model_file=model_file(),
    output:
        marker=ESTIMATES,
    log:
        "<logs>/estimate_random_effects/{scenario}.log",
    benchmark:
        "<benchmarks>/estimate_random_effects/{scenario}.tsv"
    priority: 2  # predictors wait for it
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=2000,
        runtime=480,
    params:
        dataset=DATASET,
        noise_variance=noise_variance,
        model=settings.longitudinal.model,
        code=code("estimate_random_effects"),
    script:
        "../scripts/estimate_random_effects.py"
