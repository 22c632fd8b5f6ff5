"""
Longitudinal records: simulation, population fit, empirical Bayes estimates, for each noise level.

In: subjects. Out: the groups `longitudinal/noise_<v>` and `estimates/noise_<v>` of the dataset and the
fitted population models in `<results>/population/`.
"""


rule simulate_longitudinal:
    """Blur eta into eta_hat and simulate the records that it drives."""
    input:
        subjects="<results>/markers/subjects.json",
    output:
        marker="<results>/markers/longitudinal/noise_{noise}.json",
    log:
        "<logs>/simulate_longitudinal/noise_{noise}.log",
    benchmark:
        "<benchmarks>/simulate_longitudinal/noise_{noise}.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        longitudinal=records(),
        seed=settings.seed,
        code=code("simulate_longitudinal"),
    script:
        "../scripts/simulate_longitudinal.py"


rule fit_population:
    """Fit the population model to training records by maximum likelihood."""
    input:
        records="<results>/markers/longitudinal/noise_{noise}.json",
    output:
        parameters="<results>/population/noise_{noise}.json",
        table="<results>/population/noise_{noise}.csv",
    log:
        "<logs>/fit_population/noise_{noise}.log",
    benchmark:
        "<benchmarks>/fit_population/noise_{noise}.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        longitudinal=section("longitudinal"),
        code=code("fit_population"),
    script:
        "../scripts/fit_population.py"


rule estimate_random_effects:
    """Empirical Bayes estimates of every subject's random effects from the record alone."""
    input:
        records="<results>/markers/longitudinal/noise_{noise}.json",
        parameters="<results>/population/noise_{noise}.json",
    output:
        marker="<results>/markers/estimates/noise_{noise}.json",
    log:
        "<logs>/estimate_random_effects/noise_{noise}.log",
    benchmark:
        "<benchmarks>/estimate_random_effects/noise_{noise}.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=2000,
        runtime=480,
    params:
        longitudinal=section("longitudinal"),
        code=code("estimate_random_effects"),
    script:
        "../scripts/estimate_random_effects.py"
