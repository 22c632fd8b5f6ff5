"""The longitudinal records: who is observed and dosed when, and by which model."""
