"""Pretrained models and tutorial data."""
