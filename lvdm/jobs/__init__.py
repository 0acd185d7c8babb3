"""Videos as jobs: planned and checked first, then made, measured and written; the command line only calls these."""
