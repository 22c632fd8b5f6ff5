"""Run the function of a rule script: as a job of Snakemake, or by hand with the arguments of an earlier job.

Each job leaves its arguments beside its log file, so any job that ran can be repeated by hand:

    python workflow/scripts/fit_population.py results/demo/logs/fit_population/noise_9.json
"""

import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import validate_call
from pydantic_core import to_jsonable_python

from covary.jobs.job import job


def run(function: Callable[..., None]) -> None:
    """Call `function` with the arguments of this job, inside `job`.

    Its parameters are named as the inputs, outputs, wildcards and params of the rule, besides `threads` and
    `gpus`. Annotations say what each becomes: a `Path`, a list of them, a section of the configuration.
    """
    snakemake = getattr(sys.modules["__main__"], "snakemake", None)
    if snakemake is None:
        log_file, arguments = _by_hand()
    else:
        log_file, arguments = snakemake.log[0], _of_job(snakemake, function)
        beside = Path(log_file).with_suffix(".json")
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(
            json.dumps({"log": log_file, "arguments": to_jsonable_python(arguments)}, indent=2) + "\n",
            encoding="utf-8",
        )
    with job(log_file):
        validate_call(function)(**arguments)


def _of_job(snakemake: Any, function: Callable[..., None]) -> dict[str, Any]:
    known: dict[str, Any] = {"threads": snakemake.threads, "gpus": snakemake.resources.get("gpu", 0)}
    for part in (snakemake.input, snakemake.output, snakemake.wildcards, snakemake.params):
        for name, value in part.items():
            known[name] = (
                value if isinstance(value, dict | str) or not hasattr(value, "__iter__") else list(value)
            )
    return {name: known[name] for name in inspect.signature(function).parameters}


def _by_hand() -> tuple[str, dict[str, Any]]:
    if len(sys.argv) != 2:
        raise SystemExit(
            f"{sys.argv[0]}: run by Snakemake, or by hand with the file of arguments that a job left beside "
            "its log, for instance results/demo/logs/fit_population/noise_9.json"
        )
    try:
        record = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
        return record["log"], record["arguments"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{sys.argv[1]}: not the arguments of a job: {error!r}") from None
