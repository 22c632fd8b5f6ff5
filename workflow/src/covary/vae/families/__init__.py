"""The families of image VAEs."""
