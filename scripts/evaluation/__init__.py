"""Batch inference and evaluation from the command line."""
