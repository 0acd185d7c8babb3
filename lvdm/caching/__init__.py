"""Latents and tokens of training data, computed once and kept."""
