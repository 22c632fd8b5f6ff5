import numpy as np
import pandas as pd
import pytest

from covary import rng
from covary.errors import UserError
from covary.phantom.factors import CLASSES
from covary.quality import factors as known
from covary.quality.factors import (
    FACTORS,
    factor_table,
    load_reader,
    train_factor_reader,
    with_skill,
    write_reader,
)


@pytest.fixture(scope="module")
def bright():
    """Flat images whose brightness is the factor luminance; every other factor is noise."""
    n = 256
    table = pd.DataFrame(rng.normal(2, "factors", 0, n, (len(FACTORS),)), columns=list(FACTORS))
    table["class"] = np.where(table["luminance"] > 0, CLASSES[0], CLASSES[1])
    level = (128 + 40 * table["luminance"]).clip(0, 255).to_numpy()
    return np.broadcast_to(level[:, None, None, None], (n, 1, 32, 32)).astype(np.uint8), table


@pytest.fixture(scope="module")
def reader(bright, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(known, "_EPOCHS", 40)
    images, table = bright
    trained = with_skill(train_factor_reader(images[:200], table[:200], 1), images[200:], table[200:])
    patch.undo()
    path = tmp_path_factory.mktemp("reader") / "scans_reader.safetensors"
    write_reader(trained, path)
    return trained, path


def test_what_the_image_shows_is_read_and_what_it_does_not_show_is_not(reader):
    skill = reader[0].r2
    assert skill["luminance"] > 0.8
    assert max(value for name, value in skill.items() if name != "luminance") < 0.2


def test_a_stored_reader_reads_the_same(reader, bright):
    read = load_reader(reader[1])
    assert read.r2 == reader[0].r2
    before, after = (known.read_factors(one, bright[0][:32]).factors for one in (reader[0], read))
    np.testing.assert_allclose(after, before, rtol=0.02, atol=0.02)


def test_a_damaged_reader_is_refused(reader, tmp_path):
    for file in (reader[1], reader[1].with_name(f"{reader[1].name}.sha256")):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / reader[1].name).write_bytes(reader[1].read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"is not the file of .*sha256; restore both"):
        load_reader(tmp_path / reader[1].name)


def test_brighter_images_differ_in_brightness(reader, bright):
    images = bright[0]
    table = factor_table(
        reader[0], np.minimum(images[:100], 195) + np.uint8(60), images[100:200], images[156:]
    )
    rows = table[table["factor"] == "luminance"].set_index("of")
    assert rows.loc["generated", "p"] < 1e-6 < 0.01 < rows.loc["training images", "p"]
    assert rows.loc["generated", "mean"] > rows.loc["generated", "test_mean"] + 0.5
    shares = table[(table["of"] == "generated") & table["factor"].isin(CLASSES)]["mean"]
    assert shares.sum() == pytest.approx(1)
