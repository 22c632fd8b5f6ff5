"""What all trainings of torch networks share."""
