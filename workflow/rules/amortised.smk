"""
Amortised posteriors: one network per study and its draws for each scenario, where `posterior.source` is `amortised`.

In: records, and the population fitted to them. Out: `<results>/posterior_network/`, and the draws in
`<results>/posteriors/` that `draw_posteriors` writes otherwise.
"""

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
            seed=settings.seed,
            code=code("train_posterior_network"),
        script:
            "../scripts/train_posterior_network.py"

    rule draw_amortised:
        """Draw random effects of training and validation subjects by the posterior network, made exact by weights."""
        input:
            records=RECORDS,
            parameters="<results>/population/{scenario}.json",
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
