import hashlib
import multiprocessing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covary import rng, store
from covary.dataset.shards import partition
from covary.store.arrays import set_end
from covary.training.draws import shuffled_batches
from covary.training.loader import RUN, ImageLoader

N, SIZE = 1500, 16
TRAIN = slice(100, 1400)


@pytest.fixture(scope="module")
def images():
    values = rng.generator(1, "images").integers(0, 256, (N, 2, SIZE, SIZE)).astype(np.uint8)
    values[:, 0, 0, 0], values[:, 0, 0, 1] = np.arange(N) % 256, np.arange(N) // 256
    return values


def written(path, images, compression):
    layout = dict(shard_subjects=512, chunk_subjects=64, compression=compression, attributes={"seed": 1})
    store.create(path, size_px=SIZE, channels=["DNA", "actin"], **layout)
    for shard in partition(N, 512):
        part = images[shard.start : shard.stop]
        store.write_image_shard(path, shard, part, path.with_name(f"{shard.index}.json"), {})
    set_end(path, N)
    return path


@pytest.fixture(scope="module")
def compressed(images, tmp_path_factory):
    return store.Images(
        written(tmp_path_factory.mktemp("zstd") / "dataset.zarr", images, "zstd"), TRAIN, "ab"
    )


@pytest.fixture(scope="module")
def mapped(images, tmp_path_factory):
    path = tmp_path_factory.mktemp("raw") / "dataset.zarr"
    return store.Images(written(path, images, None), TRAIN, "ab")


@pytest.fixture(params=["compressed", "mapped"])
def dataset(request):
    return request.getfixturevalue(request.param)


def loader(images, **changes):
    options = dict(batch_size=100, buffer_images=600, seed=1, stream="order") | changes
    return ImageLoader(images, **options)


def same(batches, others):
    return len(batches) == len(others) and all(
        np.array_equal(a, b)
        for one, other in zip(batches, others, strict=True)
        for a, b in zip(one, other, strict=True)
    )


@given(st.integers(2, 5000), st.integers(2, 700), st.integers(1, 6000), st.integers(0, 3))
def test_an_epoch_has_every_row_once_in_batches_of_nearly_one_size(n, batch_size, buffer_images, epoch):
    batches = loader(np.zeros((n, 1, 1, 1), np.uint8), batch_size=batch_size, buffer_images=buffer_images)
    rows = [rows for rows, _ in batches.batches(epoch)]
    assert len(rows) == len(batches)
    assert np.array_equal(np.sort(np.concatenate(rows)), np.arange(n))
    lengths = [len(part) for part in rows]
    assert max(lengths) <= batch_size and max(lengths) - min(lengths) <= 1


def test_each_row_comes_with_its_image(dataset, images):
    for rows, batch in loader(dataset).batches(0):
        assert np.array_equal(batch, images[TRAIN][rows])


def test_if_all_images_fit_an_epoch_is_a_permutation_of_all(dataset):
    batches = list(loader(dataset, buffer_images=N).batches(3))
    expected = [np.sort(rows) for rows in shuffled_batches(1, "order", 3, len(dataset), 100)]
    assert same([rows for rows, _ in batches], expected)


def test_epochs_and_seeds_differ(dataset):
    orders = [
        np.concatenate(loader(dataset, seed=seed).order(epoch)) for seed, epoch in [(1, 0), (1, 1), (2, 0)]
    ]
    assert all((orders[i] == orders[j]).mean() < 0.05 for i, j in [(0, 1), (0, 2), (1, 2)])


def test_buffers_mix_images_from_far_apart(dataset):
    first, *_ = loader(dataset).batches(0)
    assert len(np.unique(first[0] // RUN)) > 1


@pytest.mark.parametrize("buffer_images", [600, N])
def test_an_epoch_taken_up_at_any_batch_goes_on_as_it_would_have(dataset, buffer_images):
    batches = loader(dataset, buffer_images=buffer_images)
    whole = list(batches.batches(2))
    for first in range(len(whole) + 1):
        assert same(list(batches.batches(2, first)), whole[first:])


def test_spawned_workers_change_nothing(dataset):
    alone, ahead = loader(dataset), loader(dataset, workers=2)
    for epoch in (0, 1):
        assert same(list(ahead.batches(epoch)), list(alone.batches(epoch)))


@pytest.mark.parametrize("buffer_images", [600, N])
def test_mapped_images_come_as_compressed_ones_do(compressed, mapped, images, buffer_images):
    assert mapped.mapped and not compressed.mapped
    ways = [loader(source, buffer_images=buffer_images) for source in (mapped, compressed, images[TRAIN])]
    for epoch in (0, 1):
        first, *others = (list(way.batches(epoch)) for way in ways)
        assert all(same(first, other) for other in others)


@given(st.data())
def test_single_mapped_images_across_shards(mapped, images, data):
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, len(mapped) - 1)))), dtype=np.int64)
    mapped.prefetch(rows)
    assert np.array_equal(mapped.take(rows), images[TRAIN][rows])
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(mapped))] * 2)))
    assert np.array_equal(mapped[start:stop], images[TRAIN][start:stop])


def test_black_images_keep_their_place(tmp_path):
    black = np.zeros((N, 2, SIZE, SIZE), np.uint8)
    black[700] = 9
    assert np.array_equal(
        store.Images(written(tmp_path / "dataset.zarr", black, None), slice(None), "")[:], black
    )


@pytest.mark.parametrize("damage", ["missing", "empty", "short"])
def test_a_damaged_mapped_shard_is_named(images, tmp_path, damage):
    path = written(tmp_path / "dataset.zarr", images, None)
    file = path / "images/image/c/1/0/0/0"
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(b"" if damage == "empty" else file.read_bytes()[:-1])
    found = store.Images(path, slice(None), "")
    assert np.array_equal(found[:512], images[:512])
    with pytest.raises(
        ValueError, match=r"image/c/1/0/0/0: (not a readable shard|its 8 chunks of images are not)"
    ):
        found[500:520]


def digest(batches):
    found = hashlib.sha256()
    for rows, batch in batches.batches(1):
        found.update(rows.tobytes() + batch.tobytes())
    return found.hexdigest()


def test_it_can_be_sent_to_a_spawned_process(dataset):
    batches = loader(dataset)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(digest, (batches,)) == digest(batches)


def test_a_batch_of_one_image_is_refused(dataset):
    with pytest.raises(ValueError, match="at least 2 images"):
        loader(dataset, batch_size=1)
