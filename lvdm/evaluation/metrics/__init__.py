"""What is measured: each metric is a function with a record that says its name, unit, direction and meaning.

A new one is a file here, and a line in `registry.py`.
"""
