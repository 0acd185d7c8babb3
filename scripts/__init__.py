"""The command line, and thin shells with the names and flags of the original."""
