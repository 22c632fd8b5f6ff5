"""Tables in NONMEM's convention: one row per event, `.` for a missing value.

A table is read in four steps: text (`text`), which rows count (`selection`), what a row means (`clock`,
`events`), and the design of all subjects (`read`).
"""

from covary.nlme.nonmem.read import read_design, read_nonmem
from covary.nlme.nonmem.write import write_nonmem

__all__ = ["read_design", "read_nonmem", "write_nonmem"]
