"""Snakemake's events as lines of JSON for `covary run`: `--logger covary --logger-covary-events FILE`.

Snakemake finds a logger plugin by the name of its package; this one has no other purpose. Each line has
`event`, `message` and what `_FIELDS` names.
"""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

_FIELDS = ("stats", "jobid", "job_id", "rule_name", "wildcards", "log")


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """What `--logger-covary-…` sets."""

    events: Path | None = field(
        default=None, metadata={"help": "File to write the events to", "type": Path, "required": True}
    )


class LogHandler(LogHandlerBase):
    """Writes each event as one line, at once."""

    # Snakemake's own handlers stay: what they say is its full log.
    writes_to_stream = False
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        self._file = self.settings.events.open("w", encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        fields = {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        event = getattr(record, "event", None) or record.levelname
        line = {"event": str(event).lower(), "message": record.getMessage(), **fields}
        self._file.write(json.dumps(line, default=str) + "\n")
        self._file.flush()

    def close(self) -> None:
        """End the file."""
        self._file.close()
        super().close()
