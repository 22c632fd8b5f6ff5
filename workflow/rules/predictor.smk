"""
Predictors: from an image to the random effects of its subject's record.

In: images and empirical Bayes estimates. Out: networks in `<results>/predictors/` and the groups
`predictions/noise_<v>/<predictor>` of the dataset (test subjects only).
"""


rule train_predictor:
    """Train one network at one noise level; keeps the weights that were best on validation."""
    input:
        images="<results>/markers/images.json",
        estimates="<results>/markers/estimates/noise_{noise}.json",
    output:
        weights="<results>/predictors/noise_{noise}/{predictor}/weights.safetensors",
        config="<results>/predictors/noise_{noise}/{predictor}/config.json",
        history="<results>/predictors/noise_{noise}/{predictor}/history.csv",
    log:
        "<logs>/train_predictor/noise_{noise}_{predictor}.log",
    benchmark:
        "<benchmarks>/train_predictor/noise_{noise}_{predictor}.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(2500 + 2 * settings.predictor.buffer_mb),
        runtime=2880,
        gpu=1,
    params:
        predictor=section("predictor"),
        seed=settings.seed,
        code=code("train_predictor"),
    script:
        "../scripts/train_predictor.py"


rule predict:
    """Predict the random effects of every test subject from the image alone."""
    input:
        images="<results>/markers/images.json",
        weights="<results>/predictors/noise_{noise}/{predictor}/weights.safetensors",
    output:
        marker="<results>/markers/predictions/noise_{noise}/{predictor}.json",
    log:
        "<logs>/predict/noise_{noise}_{predictor}.log",
    benchmark:
        "<benchmarks>/predict/noise_{noise}_{predictor}.tsv"
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=240,
        gpu=1,
    params:
        code=code("predict"),
    script:
        "../scripts/predict.py"
