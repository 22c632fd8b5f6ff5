"""Export a finished dataset as NONMEM tables, as PNG and Parquet files, or as a Hugging Face dataset."""

from covary.export.folders import FORMATS, export
from covary.export.source import Source

__all__ = ["FORMATS", "Source", "export"]
