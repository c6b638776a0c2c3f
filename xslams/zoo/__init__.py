"""Pretrained models and tutorial data."""

from xslams.zoo.pretrained import fetch_model, list_models, open_model, open_tutorial, verify_model

__all__ = ["fetch_model", "list_models", "open_model", "open_tutorial", "verify_model"]
