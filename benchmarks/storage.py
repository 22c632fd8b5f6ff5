"""Writing images and reading shuffled epochs: Covary's store and loader beside six other ways.

    python benchmarks/storage.py [--images 100000] [--size 128] [--folder DIR] [--output FILE]

Every contender runs in a process of its own, one after the other, on the same speckled images (8-bit grey).
Writing is by one process, for Covary also by two, and ends with the data on the disk. A shuffled epoch hands
out batches of 256 images as one uint8 array; its clock starts when the first batch is there, so that the
start of workers does not count. JPEG and PNG are decoded in two workers, which the others do not need. What
takes longer than 30 s stops there. The page cache is warm, since the images were just written.

webdataset and datasets are not part of Covary's environment: `uv pip install webdataset datasets`.
"""

import argparse
import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

BATCH, BUFFER, SHARD, SEED = 256, 16_384, 4_096, 1
PATIENCE_S = 30.0
WORKERS = 2


def main() -> None:
    """Run all contenders, print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder unless given")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--contender", choices=CONTENDERS, help="run this one alone and print its JSON")
    parser.add_argument("--source", type=Path, help="the images, for a contender alone")
    arguments = parser.parse_args()
    if arguments.contender:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            print(json.dumps(measure(arguments.contender, Path(folder), arguments.source)))
        return
    results = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        source = Path(folder) / "images.npy"
        np.save(source, speckled(arguments.images, arguments.size))
        for name, contender in CONTENDERS.items():
            if contender.needs and importlib.util.find_spec(contender.needs) is None:
                print(f"{name}: {contender.needs} is not installed, not measured", file=sys.stderr)
                continue
            command = [sys.executable, __file__, "--contender", name, "--source", str(source)]
            run = subprocess.run(
                [*command, "--folder", folder], check=True, stdout=subprocess.PIPE, text=True
            )
            results[name] = json.loads(run.stdout.splitlines()[-1])
            print(f"{name:24s} " + "  ".join(f"{k} {v:,.0f}" for k, v in results[name].items()), flush=True)
    arguments.output.write_text(json.dumps(results, indent=2) + "\n")


def measure(name: str, folder: Path, source: Path) -> dict[str, float]:
    """Images per second written and read, and bytes on disk, of one contender."""
    contender = CONTENDERS[name](folder, source)
    n = contender.n
    os.sync()  # what others have left to be written
    clock = time.perf_counter()
    contender.write()
    os.sync()
    result = {"written_per_s": n / (time.perf_counter() - clock)}
    result["megabytes"] = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6
    batches = iter(contender.epoch())
    seen, total = 0, len(next(batches))
    clock = time.perf_counter()
    for batch in batches:
        seen += len(batch)
        total += int(batch[0, 0, 0] >= 0) * len(batch)  # look at each, as a training would
        if time.perf_counter() - clock > PATIENCE_S:
            break
    else:
        assert total == n, f"{name}: an epoch of {total} images, expected {n}"
    result["read_per_s"] = seen / (time.perf_counter() - clock)
    return result


def speckled(n: int, size: int) -> np.ndarray:
    """Images of a bright layer with speckle, alike to OCT B-scans in how far they compress."""
    random = np.random.default_rng(SEED)
    rows, columns = np.arange(size, dtype=np.float32)[:, None], np.arange(size, dtype=np.float32)
    images = np.empty((n, size, size), np.uint8)
    for image in images:
        depth = rows - size * (0.4 + 0.1 * np.sin(columns / size * 6 + random.uniform(0, 6)))
        layer = 90 * np.exp(-((depth / (size * random.uniform(0.1, 0.2))) ** 2))
        speckle = random.standard_exponential((size, size), dtype=np.float32)
        image[:] = np.clip(12 + layer * (0.4 + 0.6 * speckle), 0, 255)
    return images


class Contender:
    """One way to keep images: `write` all of them, hand out a shuffled `epoch` as batches."""

    needs: str | None = None

    def __init__(self, folder: Path, source: Path):
        self.folder, self.source = folder, source
        self.images = np.load(source, mmap_mode="r")
        self.n = len(self.images)

    def __reduce__(self):
        return type(self), (self.folder, self.source)  # pickled as it is, a memmap is a copy of all images

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """The images, as many at once as a shard holds."""
        for start in range(0, self.n, SHARD):
            yield start, np.array(self.images[start : start + SHARD])

    def order(self) -> np.ndarray:
        """A permutation of all images."""
        return np.random.default_rng(SEED).permutation(self.n)


class Covary(Contender):
    """Sharded Zarr without compression, mapped into memory and shuffled buffer by buffer."""

    processes, compression = 1, None

    def write(self) -> None:
        from covary import store
        from covary.dataset.shards import partition
        from covary.store.arrays import set_end

        path = self.folder / "dataset.zarr"
        layout = dict(shard_subjects=SHARD, chunk_subjects=64, compression=self.compression)
        store.create(path, size_px=self.images.shape[-1], channels=["grey"], attributes={}, **layout)
        shards = partition(self.n, SHARD)
        if self.processes == 1:
            for shard in shards:
                self.write_shard(shard)
        else:
            with ProcessPoolExecutor(self.processes, mp_context=get_context("fork")) as pool:
                list(pool.map(self.write_shard, shards))
        set_end(path, self.n)

    def write_shard(self, shard) -> None:
        from covary import store

        images = np.array(self.images[shard.start : shard.stop])[:, None]
        marker = self.folder / f"{shard.index}.json"
        store.write_image_shard(self.folder / "dataset.zarr", shard, images, marker, {})

    def epoch(self) -> Iterator[np.ndarray]:
        from covary import store
        from covary.training.loader import ImageLoader

        images = store.Images(self.folder / "dataset.zarr", slice(None), "")
        loader = ImageLoader(images, batch_size=BATCH, buffer_images=BUFFER, seed=SEED, stream="order")
        for _, batch in loader.batches(0):
            yield batch


class CovaryTwoProcesses(Covary):
    """The same, written by two processes at once."""

    processes = 2


class CovaryZstd(Covary):
    """Compressed shards, read in runs and shuffled in a buffer."""

    compression = "zstd"


class CovaryZstdTwoProcesses(CovaryZstd):
    """The same, written by two processes at once."""

    processes = 2


class NaiveZarr(Covary):
    """The same store, read image by image in random order."""

    def epoch(self) -> Iterator[np.ndarray]:
        import zarr

        array = zarr.open_array(self.folder / "dataset.zarr/images/image", mode="r")
        for rows in np.array_split(self.order(), -(-self.n // BATCH)):
            yield np.stack([array[row] for row in rows])


class Memmap(Contender):
    """One raw file."""

    def write(self) -> None:
        with (self.folder / "images.raw").open("wb") as file:
            for _, images in self.blocks():
                file.write(images)

    def epoch(self) -> Iterator[np.ndarray]:
        images = np.memmap(self.folder / "images.raw", np.uint8, "r", shape=self.images.shape)
        for rows in np.array_split(self.order(), -(-self.n // BATCH)):
            yield images[rows]


def encoded(image: np.ndarray, kind: str) -> bytes:
    """One image as a JPEG or PNG file."""
    from PIL import Image

    target = io.BytesIO()
    options = {"quality": 95} if kind == "jpeg" else {"compress_level": 1}
    Image.fromarray(image).save(target, kind, **options)
    return target.getvalue()


def decoded(file: bytes | Path) -> np.ndarray:
    """The inverse of `encoded`."""
    from PIL import Image

    with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
        return np.asarray(image)


def in_workers(dataset, **options) -> Iterator[np.ndarray]:
    """Batches of a PyTorch dataset by spawned workers."""
    from torch.utils.data import DataLoader

    loader = DataLoader(dataset, num_workers=WORKERS, multiprocessing_context="spawn", **options)
    for batch in loader:
        yield batch.numpy()


def stack(images: list[np.ndarray]):
    """One tensor, which workers hand over in shared memory."""
    import torch

    return torch.from_numpy(np.stack(images))


class ImageFiles:
    """A map-style dataset of files in a folder, a thousand to a subfolder."""

    def __init__(self, folder: Path, n: int, kind: str):
        self.folder, self.n, self.kind = folder, n, kind

    def __len__(self) -> int:
        return self.n

    def path(self, i: int) -> Path:
        """The file of one image."""
        return self.folder / f"{i // 1000:05d}" / f"{i:08d}.{self.kind}"

    def __getitem__(self, i: int) -> np.ndarray:
        return decoded(self.path(i))


class Files(Contender):
    """A file for each image."""

    kind = "jpeg"

    def write(self) -> None:
        files = ImageFiles(self.folder, self.n, self.kind)
        for start, images in self.blocks():
            for i, image in enumerate(images, start):
                files.path(i).parent.mkdir(exist_ok=True)
                files.path(i).write_bytes(encoded(image, self.kind))

    def epoch(self) -> Iterator[np.ndarray]:
        files = ImageFiles(self.folder, self.n, self.kind)
        return in_workers(files, batch_size=BATCH, sampler=self.order().tolist(), collate_fn=stack)


class PngFiles(Files):
    """The same without loss."""

    kind = "png"


class WebDataset(Contender):
    """Tar shards of PNG files, read in order and shuffled in a buffer."""

    needs = "webdataset"

    def write(self) -> None:
        for start, images in self.blocks():
            with tarfile.open(self.folder / f"{start // SHARD:05d}.tar", "w") as tar:
                for i, image in enumerate(images, start):
                    content = encoded(image, "png")
                    entry = tarfile.TarInfo(f"{i:08d}.png")
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))

    def epoch(self) -> Iterator[np.ndarray]:
        import webdataset

        shards = [str(path) for path in sorted(self.folder.glob("*.tar"))]
        files = (
            webdataset.WebDataset(shards, shardshuffle=len(shards), seed=SEED)
            .shuffle(BUFFER // WORKERS)
            .map(png_of)
            .batched(BATCH, collation_fn=stack)
        )
        return in_workers(files, batch_size=None)


def png_of(sample: dict) -> np.ndarray:
    """The image in a sample of WebDataset."""
    return decoded(sample["png"])


class Parquet(Contender):
    """Hugging Face datasets: PNG bytes in Parquet files, opened as a memory-mapped Arrow table."""

    needs = "datasets"

    def write(self) -> None:
        import datasets

        features = datasets.Features({"image": datasets.Value("binary")})
        for start, images in self.blocks():
            rows = {"image": [encoded(image, "png") for image in images]}
            table = datasets.Dataset.from_dict(rows, features=features)
            table.to_parquet(self.folder / f"{start // SHARD:05d}.parquet")

    def epoch(self) -> Iterator[np.ndarray]:
        import datasets

        files = [str(path) for path in sorted(self.folder.glob("*.parquet"))]
        with tempfile.TemporaryDirectory() as cache:
            table = datasets.Dataset.from_parquet(files, cache_dir=cache).with_transform(decoded_rows)
            yield from in_workers(table, batch_size=BATCH, sampler=self.order().tolist(), collate_fn=column)


def decoded_rows(rows: dict) -> dict:
    """The images of some rows of Parquet."""
    return {"image": [decoded(file) for file in rows["image"]]}


def column(rows: list[dict]):
    """The images of rows as one tensor."""
    return stack([row["image"] for row in rows])


CONTENDERS = {
    "covary": Covary,
    "covary_two_processes": CovaryTwoProcesses,
    "covary_zstd": CovaryZstd,
    "covary_zstd_two_processes": CovaryZstdTwoProcesses,
    "memmap": Memmap,
    "naive_zarr": NaiveZarr,
    "jpeg_files": Files,
    "png_files": PngFiles,
    "webdataset": WebDataset,
    "parquet": Parquet,
}


if __name__ == "__main__":
    main()
