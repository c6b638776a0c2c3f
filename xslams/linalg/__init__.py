"""Linear algebra on tensors: covariances, solvers, derivatives."""
