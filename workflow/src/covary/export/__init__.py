"""Ways out of Covary: a finished dataset as NONMEM tables, as PNG and Parquet, as a Hugging Face dataset."""

from covary.export.folders import FORMATS, export
from covary.export.source import Source

__all__ = ["FORMATS", "Source", "export"]
