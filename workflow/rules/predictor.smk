"""
Predictors: from an image to the random effects of its subject's record.

In: images, records and their empirical Bayes estimates. Out: draws from the posteriors of training subjects
in `<results>/posteriors/`, networks in `<results>/predictors/`, the groups `predictions/…` of the dataset (test
subjects only) and learning curves in `<results>/learning_curve/`.
"""


rule draw_posteriors:
    """Draw random effects of training and validation subjects from their posteriors given the record alone."""
    input:
        estimates="<results>/markers/estimates/noise_{noise}.json",
        parameters="<results>/population/noise_{noise}.json",
    output:
        posteriors="<results>/posteriors/noise_{noise}.npz",
    log:
        "<logs>/draw_posteriors/noise_{noise}.log",
    benchmark:
        "<benchmarks>/draw_posteriors/noise_{noise}.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(6000),
        runtime=480,
    params:
        longitudinal=records(),
        draws=settings.posterior.draws,
        seed=settings.seed,
        code=code("draw_posteriors"),
    script:
        "../scripts/draw_posteriors.py"


rule train_predictor:
    """Train one network at one noise level, keep what was best on validation, and predict every test subject."""
    input:
        images="<results>/markers/images.json",
        estimates="<results>/markers/estimates/noise_{noise}.json",
        parameters="<results>/population/noise_{noise}.json",
        posteriors=draws_for_objective,
        others=lambda wildcards: network_files(PREDICTORS[wildcards.predictor]),
    output:
        weights="<results>/predictors/noise_{noise}/{predictor}/weights.safetensors",
        config="<results>/predictors/noise_{noise}/{predictor}/config.json",
        history="<results>/predictors/noise_{noise}/{predictor}/history.csv",
        marker="<results>/markers/predictions/noise_{noise}/{predictor}.json",
    log:
        "<logs>/train_predictor/noise_{noise}_{predictor}.log",
    benchmark:
        "<benchmarks>/train_predictor/noise_{noise}_{predictor}.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=training_mb(3500, lambda wildcards: PREDICTORS[wildcards.predictor]),
        runtime=2880,
        gpu=1,
    params:
        predictor=training,
        longitudinal=records(),
        seed=settings.seed,
        code=code("train_predictor"),
    script:
        "../scripts/train_predictor.py"


rule train_reader:
    """Train the network on the noise-free random effects and read those of every test subject from its image."""
    input:
        images="<results>/markers/images.json",
        subjects="<results>/markers/subjects.json",
        others=lambda wildcards: network_files(READERS[wildcards.network]),
    output:
        weights="<results>/predictors/noise_free/{network}/weights.safetensors",
        config="<results>/predictors/noise_free/{network}/config.json",
        history="<results>/predictors/noise_free/{network}/history.csv",
        marker="<results>/markers/predictions/noise_free/{network}.json",
    log:
        "<logs>/train_reader/{network}.log",
    benchmark:
        "<benchmarks>/train_reader/{network}.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=training_mb(2500, lambda wildcards: READERS[wildcards.network]),
        runtime=2880,
        gpu=1,
    params:
        predictor=reader_training,
        seed=settings.seed,
        code=code("train_reader"),
    script:
        "../scripts/train_reader.py"


rule train_oracle:
    """Train the network that sees eta itself, for each objective; use it on eta and on eta read from images."""
    input:
        estimates="<results>/markers/estimates/noise_{noise}.json",
        parameters="<results>/population/noise_{noise}.json",
        posteriors=draws_for(ORACLES),
        eta_read=expand(
            "<results>/markers/predictions/noise_free/{network}.json", network=READERS
        ),
    output:
        markers=expand(
            "<results>/markers/predictions/noise_{noise}/oracle_{objective}.json",
            objective=ORACLES,
            allow_missing=True,
        ),
    log:
        "<logs>/train_oracle/noise_{noise}.log",
    benchmark:
        "<benchmarks>/train_oracle/noise_{noise}.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=720,
    params:
        covariances={name: first.covariance for name, first in ORACLES.items()},
        checkpoints=lambda wildcards: f"results/{settings.experiment}/predictors/noise_{wildcards.noise}",
        longitudinal=records(),
        seed=settings.seed,
        code=code("train_oracle"),
    script:
        "../scripts/train_oracle.py"


rule measure_learning_curve:
    """Train one predictor on fewer training subjects, for several sizes, and predict the test subjects."""
    input:
        images="<results>/markers/images.json",
        estimates="<results>/markers/estimates/noise_{noise}.json",
        parameters="<results>/population/noise_{noise}.json",
        posteriors=draws_for_objective,
        others=lambda wildcards: network_files(PREDICTORS[wildcards.predictor]),
    output:
        curve="<results>/learning_curve/noise_{noise}/{predictor}.npz",
    log:
        "<logs>/measure_learning_curve/noise_{noise}_{predictor}.log",
    benchmark:
        "<benchmarks>/measure_learning_curve/noise_{noise}_{predictor}.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=training_mb(3500, lambda wildcards: PREDICTORS[wildcards.predictor]),
        runtime=4320,
        gpu=1,
    params:
        predictor=training,
        fractions=lambda wildcards: PREDICTORS[wildcards.predictor].learning_curve,
        longitudinal=records(),
        seed=settings.seed,
        code=code("measure_learning_curve"),
    script:
        "../scripts/measure_learning_curve.py"
