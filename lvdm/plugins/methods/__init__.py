"""One file for each method, with its declaration; `lvdm.plugins.registry` finds them. Importing them needs no torch."""
