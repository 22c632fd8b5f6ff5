"""What predictors are trained for."""
