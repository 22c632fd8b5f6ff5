"""
Resources: data sets and weights from elsewhere. Nothing fetches them unasked: `make download RESOURCE=<name>`.

In: the table `resources/sources.csv` (source, SHA-256, licence). Out: the files it lists, below `resources/`, and
`resources/downloads/<name>.json` with what was found.
"""


rule download_resource:
    """Fetch the files of a resource, check their digests, unpack archives."""
    input:
        sources="resources/sources.csv",
    output:
        listing="resources/downloads/{resource}.json",
    log:
        "<logs>/download_resource/{resource}.log",
    conda:
        "../../envs/covary.yaml"
    resources:
        mem_mb=1000,
        runtime=720,
    params:
        folder=lambda wildcards, input: path.dirname(input.sources),
        code=code("download_resource"),
    script:
        "../scripts/download_resource.py"
