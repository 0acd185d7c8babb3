"""What a machine makes of the networks: how near its numbers are, how fast it is, and how much memory that takes.

Nothing is needed but the package: the embedded model, and the released architectures with random weights.
"""
