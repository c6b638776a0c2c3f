"""From a Dataset to arrays, through a model, and back."""
