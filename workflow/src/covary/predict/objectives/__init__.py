"""Training objectives of predictors."""
