"""What a person sees of a run: stages with progress and the time left, warnings, the report or the error."""
