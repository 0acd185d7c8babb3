"""The commands of `dynamicrafter`, one file for each group."""
