"""Priors of trajectories: what they denoise, and the way to physical fields and back."""
