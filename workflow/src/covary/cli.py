"""The `covary` command: look at images, run an experiment, check and export a dataset."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from covary import __version__
from covary.errors import UserError
from covary.jobs import layout, lock


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; return the exit status."""
    parser = _parser()
    options, others = parser.parse_known_args(arguments)
    if others and options.run is not _run:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    options.others = others
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a terminal of another encoding shows ? and stops nothing
    try:
        return options.run(options)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="covary", description=__doc__)
    parser.add_argument("--version", action="version", version=f"covary {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    verify = commands.add_parser(
        "verify", help="compare a dataset with its manifest, for instance after a download"
    )
    verify.add_argument("folder", type=Path, help="results/<experiment>, with dataset.zarr and manifest.json")
    verify.set_defaults(run=_verify)
    export = commands.add_parser("export", help="write a finished dataset for other software")
    export.add_argument("folder", type=Path, help="results/<experiment>")
    export.add_argument("format", help="nonmem, png (PNG and Parquet) or huggingface")
    export.add_argument("target", type=Path, help="folder to write; it must not exist")
    export.set_defaults(run=_export)
    run = commands.add_parser(
        "run",
        help="run an experiment and show its progress, in the folder of the workflow",
        epilog="All other arguments are options and targets of Snakemake.",
    )
    run.add_argument("experiment", nargs="?", default="demo", help="config/<experiment>.yaml; default: demo")
    run.add_argument("--seed", type=int, help="another seed than the file's, with results of its own")
    run.add_argument("--cores", default="all", help="CPU cores to use; default: all")
    run.set_defaults(run=_run)
    preview = commands.add_parser(
        "preview", help="show what images become, as a page, before anything is trained"
    )
    preview.add_argument(
        "experiment", nargs="?", default="demo", help="config/<experiment>.yaml; default: demo"
    )
    preview.add_argument("--page", type=Path, help="the page; results/<experiment>/preview.html if left out")
    preview.set_defaults(run=_preview)
    unlock = commands.add_parser("unlock", help="remove Snakemake's lock if the run that took it was killed")
    unlock.set_defaults(run=_unlock)
    return parser


def _verify(options: argparse.Namespace) -> int:
    from covary import store  # its libraries take a second to import

    manifest = options.folder / "manifest.json"
    faults = store.verify(options.folder / "dataset.zarr", manifest)
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    if not faults:
        groups = store.read_marker(manifest)["groups"]
        print(f"{options.folder}: {len(groups)} groups are as the manifest says")
    return 1 if faults else 0


def _export(options: argparse.Namespace) -> int:
    from covary.export import export  # as above

    export(options.folder, options.target, options.format)
    print(f"{options.target}: written")
    return 0


def _run(options: argparse.Namespace) -> int:
    from rich.console import Console  # as above

    from covary.console.run import run

    return run(options.experiment, options.seed, options.cores, options.others, Console())


def _preview(options: argparse.Namespace) -> int:
    from covary.config import reading  # as above
    from covary.report.preview import write_preview

    config = reading.load(*reading.files_of(options.experiment))
    results = Path("results") / config.experiment
    if options.page is None:
        layout.check_layout(results)
        layout.stamp_layout(results)
    page = options.page or results / "preview.html"
    write_preview(config, page, workers=min(4, os.cpu_count() or 1))
    print(f"Preview: {page.resolve()}")
    return 0


def _unlock(options: argparse.Namespace) -> int:
    if lock.clear_stale(Path.cwd()):
        print("removed the lock of a run that was killed; its finished jobs count, the others start again")
    return 0


if __name__ == "__main__":
    sys.exit(main())
