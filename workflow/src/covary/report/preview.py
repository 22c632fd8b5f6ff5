"""A page about images before anything is trained: what they become, and what is said of them."""

import base64
import io
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from covary import __version__
from covary.config.experiment import Config
from covary.config.images import DrawnCells, Phantom
from covary.figures.images import in_colours, picture
from covary.images.digits import write_digits
from covary.images.preview import Preview, preview
from covary.phantom import write_dataset
from covary.phantom.cells.dataset import write_cells
from covary.phantom.cells.factors import draw_wells
from covary.report.environment import environment
from covary.wording import image_in_words

_COLOURS = {"red": "#d55e00", "green": "#009e73", "blue": "#0072b2"}
_DRAWN_CELLS = DrawnCells(cells_per_well=1, plates_per_week=1, control_wells=1)
_DRAWN = Phantom(train=34, test=6)
_FEW = 300  # images, from which a VAE may learn too little
_HEIGHT = 24  # of a histogram, in units of its own


def render_preview(config: Config, looked_at: Preview, folder: Path) -> str:
    """The page as HTML that needs no other file and no network."""
    size_px = config.images.size_px
    return environment().get_template("preview.html.j2").render(
        config=config,
        version=__version__,
        folder=folder,
        seen=looked_at,
        few=sum(looked_at.images.values()) < _FEW,
        image=image_in_words(size_px, looked_at.channels),
        pictures=[_png(in_colours(one.pixels, looked_at.channels)) for one in looked_at.shown],
        histograms=[_lines(one.histogram, looked_at.channels) for one in looked_at.shown],
    )  # fmt: skip


def write_preview(config: Config, page: Path, workers: int) -> None:
    """Prepare some of the images of an experiment and write the page.

    Phantoms, and digits that no run has written yet, are made for the purpose and thrown away. Raises
    UserError as `covary.images.preview.preview` does.
    """
    images = config.images
    with TemporaryDirectory() as scratch:
        folder = Path(scratch if images.folder is None else images.folder)
        if images.source == "phantom":
            some = _DRAWN.model_copy(
                update=images.phantom.model_dump(include={"height_px", "width_px", "corner_fraction"})
            )
            write_dataset(folder, some, config.seed, workers)
        elif images.are_drawn:
            write_cells(folder, _DRAWN_CELLS, config.seed, workers)
        elif folder == Path("resources/digits") and not folder.exists():
            folder = Path(scratch)
            write_digits(folder)
        looked_at = preview(folder, images, config.seed, workers)
        if images.source == "phantom":  # a run draws more
            looked_at = replace(
                looked_at, images={"train": images.phantom.train, "test": images.phantom.test}
            )
        elif images.are_drawn:
            cells = len(draw_wells(config.seed, images.drawn_cells)) * images.drawn_cells.cells_per_well
            test = round(cells * images.test_fraction)
            looked_at = replace(looked_at, images={"train": cells - test, "test": test})
        text = render_preview(config, looked_at, Path(images.folder or "phantoms"))
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")


def _png(image: UInt8[np.ndarray, "c h w"]) -> str:
    """A data URI of the picture. More channels than colours have stand side by side."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture(image))).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _lines(histogram: Float64[np.ndarray, "c bin"], channels: tuple[str, ...]) -> list[tuple[str, str]]:
    """Colour and points of one line per channel. The height is the square root of the share of pixels."""
    heights = _HEIGHT * (1 - np.sqrt(histogram / histogram.max()))
    return [
        (_COLOURS.get(name, "#5c5c5c"), " ".join(f"{x},{y:.1f}" for x, y in enumerate(line)))
        for name, line in zip(channels, heights, strict=True)
    ]
