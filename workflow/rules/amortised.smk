"""
Amortised posteriors: one network per study and its draws for each scenario, where `posterior.source` is `amortised`.

In: records, and the population fitted to them. Out: `<results>/posterior_network/`, the draws in
`<results>/posteriors/` that `draw_posteriors` writes otherwise, and checks of these posteriors.
"""

POSTERIOR_TABLES, POSTERIOR_FIGURES = [], []

if settings.posterior.source == "amortised":

    ruleorder: draw_amortised > draw_posteriors

    rule train_posterior_network:
        """Train a posterior network on simulations from the population fitted in the first scenario."""
        input:
            design=marker(names.DESIGN),
            parameters=f"<results>/population/{next(iter(SCENARIOS))}.json",
            model_file=model_file(),
        output:
            network="<results>/posterior_network/network.npz",
            history="<results>/posterior_network/history.csv",
        log:
            "<logs>/train_posterior_network.log",
        benchmark:
            "<benchmarks>/train_posterior_network.tsv"
        conda:
            "../../envs/covary.yaml"
        resources:
            mem_mb=growing(3000),
            runtime=480,
        params:
            dataset=DATASET,
            model=settings.longitudinal.model,
            missing=planned_records()["missing"],
            settings=section("posterior.network"),
            blind=False,
            seed=settings.seed,
            code=code("train_posterior_network"),
        script:
            "../scripts/train_posterior_network.py"

    rule draw_amortised:
        """Draw random effects of training and validation subjects by the posterior network, made exact by weights."""
        input:
            records=RECORDS,
            parameters="<results>/population/{scenario}.json",
            trained_on=f"<results>/population/{next(iter(SCENARIOS))}.json",
            network="<results>/posterior_network/network.npz",
            model_file=model_file(),
        output:
            posteriors="<results>/posteriors/{scenario}.npz",
            status="<results>/posteriors/{scenario}_status.csv",
        log:
            "<logs>/draw_amortised/{scenario}.log",
        benchmark:
            "<benchmarks>/draw_amortised/{scenario}.tsv"
        conda:
            "../../envs/covary.yaml"
        resources:
            mem_mb=growing(6000),
            runtime=480,
        params:
            dataset=DATASET,
            noise_variance=noise_variance,
            model=settings.longitudinal.model,
            draws=settings.posterior.draws,
            seed=settings.seed,
            code=code("draw_amortised"),
        script:
            "../scripts/draw_amortised.py"

    use rule train_posterior_network as train_blind_network with:
        output:
            network="<results>/posterior_network/blind/network.npz",
            history="<results>/posterior_network/blind/history.csv",
        log:
            "<logs>/train_blind_network.log",
        benchmark:
            "<benchmarks>/train_blind_network.tsv"
        params:
            dataset=DATASET,
            model=settings.longitudinal.model,
            missing=planned_records()["missing"],
            settings=section("posterior.network"),
            blind=True,
            seed=settings.seed,
            code=code("train_posterior_network"),

    rule check_posteriors:
        """Check posteriors of simulated records whose random effects are known, beside three others."""
        input:
            design=marker(names.DESIGN),
            parameters="<results>/population/{scenario}.json",
            trained_on=f"<results>/population/{next(iter(SCENARIOS))}.json",
            network="<results>/posterior_network/network.npz",
            blind="<results>/posterior_network/blind/network.npz",
            model_file=model_file(),
        output:
            checks="<results>/posteriors/{scenario}_checks.csv",
            ranks="<results>/posteriors/{scenario}_ranks.csv",
        log:
            "<logs>/check_posteriors/{scenario}.log",
        benchmark:
            "<benchmarks>/check_posteriors/{scenario}.tsv"
        conda:
            "../../envs/covary.yaml"
        resources:
            mem_mb=growing(3000),
            runtime=240,
        params:
            dataset=DATASET,
            noise_variance=noise_variance,
            model=settings.longitudinal.model,
            missing=planned_records()["missing"],
            subjects=settings.posterior.checked_records,
            resamples=settings.evaluation.bootstrap_resamples,
            seed=settings.seed,
            code=code("check_posteriors"),
        script:
            "../scripts/check_posteriors.py"

    rule plot_posterior_checks:
        """Ranks of the truth, coverage and sharpness of posteriors."""
        input:
            checks=expand(
                "<results>/posteriors/{scenario}_checks.csv", scenario=SCENARIOS
            ),
            ranks=expand(
                "<results>/posteriors/{scenario}_ranks.csv", scenario=SCENARIOS
            ),
        output:
            table=report(
                "<results>/tables/posterior_checks.csv",
                caption="../report/posterior_checks.rst",
                category="Posteriors",
            ),
            posterior_ranks=report(
                "<results>/figures/posterior_ranks.svg",
                caption="../report/posterior_ranks.rst",
                category="Posteriors",
            ),
            posterior_coverage=report(
                "<results>/figures/posterior_coverage.svg",
                caption="../report/posterior_coverage.rst",
                category="Posteriors",
            ),
        log:
            "<logs>/plot_posterior_checks.log",
        benchmark:
            "<benchmarks>/plot_posterior_checks.tsv"
        conda:
            "../../envs/covary.yaml"
        resources:
            mem_mb=growing(2000),
            runtime=30,
        params:
            noise_variances=VARIANCES,
            code=code("plot_posterior_checks"),
        script:
            "../scripts/plot_posterior_checks.py"

    POSTERIOR_TABLES = [rules.plot_posterior_checks.output.table]
    POSTERIOR_FIGURES = [
        rules.plot_posterior_checks.output.posterior_ranks,
        rules.plot_posterior_checks.output.posterior_coverage,
    ]


if settings.longitudinal.fit.method == "amortised":

    ruleorder: fit_amortised > fit_population

    rule train_population_network:
        """Train a network on simulations from a wide prior, before any record is seen."""
        input:
            design=marker(names.DESIGN),
            model_file=model_file(),
        output:
            network="<results>/population/network/network.npz",
            history="<results>/population/network/history.csv",
        log:
            "<logs>/train_population_network.log",
        benchmark:
            "<benchmarks>/train_population_network.tsv"
        conda:
            "../../envs/covary.yaml"
        resources:
            mem_mb=growing(3000),
            runtime=480,
        params:
            dataset=DATASET,
            model=settings.longitudinal.model,
            missing=planned_records()["missing"],
            fit=section("longitudinal.fit"),
            settings=section("posterior.network"),
            seed=settings.seed,
            code=code("train_population_network"),
        script:
            "../scripts/train_population_network.py"

    rule fit_amortised:
        """Fit the population model to training records by draws of a posterior network."""
        input:
            records=RECORDS,
            network="<results>/population/network/network.npz",
            model_file=model_file(),
        output:
            parameters="<results>/population/{scenario}.json",
            table="<results>/population/{scenario}.csv",
            verdict="<results>/population/{scenario}_verdict.json",
        log:
            "<logs>/fit_amortised/{scenario}.log",
        benchmark:
            "<benchmarks>/fit_amortised/{scenario}.tsv"
        conda:
            "../../envs/covary.yaml"
        resources:
            mem_mb=growing(4000),
            runtime=240,
        params:
            dataset=DATASET,
            noise_variance=noise_variance,
            model=settings.longitudinal.model,
            missing=planned_records()["missing"],
            fit=section("longitudinal.fit"),
            seed=settings.seed,
            code=code("fit_amortised"),
        script:
            "../scripts/fit_amortised.py"
