"""The subjects of a dataset, their groups and the names of all that is stored."""
