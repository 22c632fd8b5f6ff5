"""As many cells as BBBC021 has, 488,396, through `prepare_images`, which is killed once on its way.

    python benchmarks/cells_scale.py [--cells 488396] [--cores 2] [--output FILE]

The cells are drawn ones, one for each field of view; the other cells of a field are links to its file, so
that the folder takes 0.1 GB. Snakemake runs up to `prepare_images`, all its processes are killed when a third
of the cells is done, and a second call goes on. Memory is the proportional set size of all processes, looked
at every second. At the end, cells at random are prepared again by themselves and compared.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

CONFIG = Path("benchmarks/cells_scale.yaml")
RESULTS, LOG = Path("results/cells_scale/images"), Path("results/cells_scale/logs/prepare_images.log")
CELLS_PER_FIELD = 127  # 3,848 fields (facts of the data set: benchmarks/README.md, Cells)
COMPARED = 500


def main() -> None:
    """Make the folder, prepare it in two calls, compare, print, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=488_396)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    folder = Path(yaml.safe_load(CONFIG.read_text())["images"]["folder"])
    if not (folder / "metadata.csv").exists():
        link_cells(folder, arguments.cells)
    killed = call(arguments.cores, kill_after=arguments.cells // 3)
    subprocess.run([sys.executable, "-m", "covary.cli", "unlock"], check=True)  # as after each kill
    ended = call(arguments.cores)
    result = {
        "cells": arguments.cells,
        "killed": killed,
        "ended": ended,
        "went_on_after": went_on_after(),
        **compare(folder),
    }
    print(json.dumps(result, indent=2))
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")


def link_cells(folder: Path, count: int) -> None:
    """A folder of so many cells in the layout of BBBC021; metadata.csv comes last."""
    from covary.config.images import DrawnCells
    from covary.images.cells import FIELD, NUMBER, TABLE, cell_file
    from covary.phantom.cells.dataset import write_cells

    few = folder / "drawn"
    if not (few / TABLE).exists():
        write_cells(few, DrawnCells(cells_per_well=12), seed=1, workers=2)
    drawn = pd.read_csv(few / TABLE)
    sources = cell_file(drawn[FIELD], drawn[NUMBER])
    fields = -(-count // CELLS_PER_FIELD)
    rows = drawn.iloc[np.arange(fields) % len(drawn)].reset_index(drop=True)
    rows[FIELD] = rows[FIELD] + "_" + (np.arange(fields) // len(drawn)).astype(str)
    rows[FIELD] += "_" + rows[NUMBER].astype(str)
    table = rows.loc[rows.index.repeat(CELLS_PER_FIELD)].reset_index()[:count]
    table[NUMBER] = table.groupby("index").cumcount() + 1
    for file, field in zip(cell_file(table[FIELD], table[NUMBER]), table["index"], strict=True):
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            os.link(few / sources[field % len(drawn)], path)
    table.drop(columns="index").to_csv(folder / TABLE, index=False)


def call(cores: int, kill_after: int | None = None) -> dict:
    """Run Snakemake up to `prepare_images`; kill all its processes once so many cells are written."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "snakemake", "--cores", str(cores), "--until", "prepare_images"),
            *("--workflow-profile", "workflow/profiles/default"),
            *("--configfile", "config/config.yaml", str(CONFIG)),
        ],
        start_new_session=True,
    )
    most = 0.0
    while process.poll() is None:
        memory, group = gigabytes(process.pid)
        most = max(most, memory)
        if kill_after is not None and done() >= kill_after:
            for pid in group:
                os.kill(pid, signal.SIGKILL)
            process.wait()
            return {"wall_s": time.perf_counter() - start, "memory_gb": most, "cells_done": done()}
        time.sleep(1)
    if process.returncode:
        raise SystemExit("Snakemake failed")
    return {"wall_s": time.perf_counter() - start, "memory_gb": most}


def gigabytes(session: int) -> tuple[float, list[int]]:
    """Proportional set size of all processes of a session, and their numbers."""
    total, pids = 0, []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[3]) == session:
                pids.append(int(stat.parent.name))
                total += int(re.search(r"Pss:\s+(\d+)", (stat.parent / "smaps_rollup").read_text())[1])
        except (OSError, TypeError):  # it has ended
            continue
    return total / 1e6, pids


def done() -> int:
    """Cells in the unfinished arrays."""
    return sum(part.stat().st_size for part in RESULTS.glob("checkpoints/*/*.part")) // (3 * 68 * 68)


def went_on_after() -> int:
    """Cells that the second call found done, by its log."""
    found = re.findall(r"preparation goes on after (\d+) of", LOG.read_text())
    return int(found[-1]) if found else 0


def compare(folder: Path) -> dict:
    """Cells at random, each prepared again by itself, against what was written."""
    from covary import images
    from covary.config.images import Images
    from covary.images.prepare import look_at, prepare_file

    config = Images(**yaml.safe_load(CONFIG.read_text())["images"])
    prepared = images.load(RESULTS)
    rows = prepared.index.sample(COMPARED, random_state=1)
    seen = look_at([], config, 1)
    equal = [
        np.array_equal(getattr(prepared, row.split)[int(row.row)],
                       prepare_file(config, seen, folder / row.file)[0][0])
        for row in rows.itertuples()
    ]  # fmt: skip
    return {
        "train": len(prepared.train),
        "test": len(prepared.test),
        "bytes_gb": (prepared.train.nbytes + prepared.test.nbytes) / 1e9,
        "compared": len(equal),
        "equal": int(sum(equal)),
    }


if __name__ == "__main__":
    main()
