"""
Predictors: from an image to the random effects of its subject's record.

In: images, records and their empirical Bayes estimates. Out: draws from the posteriors of training subjects
in `<results>/posteriors/`, networks in `<results>/predictors/`, the groups `predictions/…` of the dataset (test
subjects only) and learning curves in `<results>/learning_curve/`.
"""


rule draw_posteriors:
    """Draw random effects of training and validation subjects from their posteriors given the record alone."""
    input:
        estimates=ESTIMATES,
        parameters="<results>/population/{scenario}.json",
        model_file=model_file(),
    output:
        posteriors="<results>/posteriors/{scenario}.npz",
    log:
        "<logs>/draw_posteriors/{scenario}.log",
    benchmark:
        "<benchmarks>/draw_posteriors/{scenario}.tsv"
    priority: 2  # predictors wait for it
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
        code=code("draw_posteriors"),
    script:
        "../scripts/draw_posteriors.py"


rule train_predictor:
    """Train one network in one scenario, keep what was best on validation, and predict every test subject."""
    input:
        images=marker(names.IMAGES),
        estimates=ESTIMATES,
        parameters="<results>/population/{scenario}.json",
        posteriors=draws_for_predictor,
        others=files_of_predictor,
        model_file=model_file(),
    output:
        weights="<results>/predictors/{scenario}/{predictor}/weights.safetensors",
        config="<results>/predictors/{scenario}/{predictor}/config.json",
        history="<results>/predictors/{scenario}/{predictor}/history.csv",
        marker=PREDICTIONS,
    log:
        "<logs>/train_predictor/{scenario}_{predictor}.log",
    benchmark:
        "<benchmarks>/train_predictor/{scenario}_{predictor}.tsv"
    priority: 2  # what an image is worth in visits waits for it
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=training_mb(3500, lambda wildcards: PREDICTORS[wildcards.predictor]),
        runtime=2880,
        gpu=1,
    params:
        dataset=DATASET,
        noise_variance=noise_variance,
        model=settings.longitudinal.model,
        settings=training,
        start_sha256=lambda wildcards: shipped.stated_sha256(
            PREDICTORS[wildcards.predictor].start
        ),
        seed=settings.seed,
        code=code("train_predictor"),
    script:
        "../scripts/train_predictor.py"


rule train_reader:
    """Train a network on the noise-free random effects and read those of every test subject from its image."""
    input:
        images=marker(names.IMAGES),
        subjects=marker(names.SUBJECTS),
        others=files_of_reader,
    output:
        weights=f"<results>/predictors/{names.NOISE_FREE}/{{network}}/weights.safetensors",
        config=f"<results>/predictors/{names.NOISE_FREE}/{{network}}/config.json",
        history=f"<results>/predictors/{names.NOISE_FREE}/{{network}}/history.csv",
        marker=marker(names.readings("{network}")),
    log:
        "<logs>/train_reader/{network}.log",
    benchmark:
        "<benchmarks>/train_reader/{network}.tsv"
    priority: 2  # oracles wait for it
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=training_mb(2500, lambda wildcards: READERS[wildcards.network]),
        runtime=2880,
        gpu=1,
    params:
        dataset=DATASET,
        settings=reader_training,
        start_sha256=lambda wildcards: shipped.stated_sha256(
            READERS[wildcards.network].start
        ),
        seed=settings.seed,
        code=code("train_reader"),
    script:
        "../scripts/train_reader.py"


rule train_oracle:
    """Train the network that sees eta itself, for each objective; use it on eta and on eta read from images."""
    input:
        estimates=ESTIMATES,
        parameters="<results>/population/{scenario}.json",
        posteriors=draws_for(ORACLES),
        eta_read=expand(marker(names.readings("{network}")), network=READERS),
        model_file=model_file(),
    output:
        markers=expand(
            marker(names.predictions("{scenario}", "{oracle}")),
            oracle=map(names.oracle, ORACLES),
            allow_missing=True,
        ),
    log:
        "<logs>/train_oracle/{scenario}.log",
    benchmark:
        "<benchmarks>/train_oracle/{scenario}.tsv"
    priority: 1  # the report waits for it longer than for figures and checks of images
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=720,
    params:
        dataset=DATASET,
        noise_variance=noise_variance,
        model=settings.longitudinal.model,
        objectives={objective: p.covariance for objective, p in ORACLES.items()},
        networks=list(READERS),
        checkpoints=lambda wildcards: f"{RESULTS}/predictors/{wildcards.scenario}",
        seed=settings.seed,
        code=code("train_oracle"),
    script:
        "../scripts/train_oracle.py"


rule measure_learning_curve:
    """Train one predictor on fewer training subjects, some times for each size, and predict the test subjects."""
    input:
        images=marker(names.IMAGES),
        estimates=ESTIMATES,
        parameters="<results>/population/{scenario}.json",
        posteriors=draws_for_predictor,
        others=files_of_predictor,
        model_file=model_file(),
    output:
        curve="<results>/learning_curve/{scenario}/{predictor}.npz",
    log:
        "<logs>/measure_learning_curve/{scenario}_{predictor}.log",
    benchmark:
        "<benchmarks>/measure_learning_curve/{scenario}_{predictor}.tsv"
    priority: 1  # the report waits for it longer than for figures and checks of images
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=training_mb(3500, lambda wildcards: PREDICTORS[wildcards.predictor]),
        runtime=4320,
        gpu=1,
    params:
        dataset=DATASET,
        noise_variance=noise_variance,
        model=settings.longitudinal.model,
        settings=training,
        start_sha256=lambda wildcards: shipped.stated_sha256(
            PREDICTORS[wildcards.predictor].start
        ),
        fractions=lambda wildcards: PREDICTORS[wildcards.predictor].learning_curve,
        trainings=lambda wildcards: PREDICTORS[
            wildcards.predictor
        ].learning_curve_trainings,
        seed=settings.seed,
        code=code("measure_learning_curve"),
    script:
        "../scripts/measure_learning_curve.py"
