"""Methods on top of the networks, one file each: set on a model for one sampling, and taken off again.

`hooks` says what a method may replace; `lvdm.plugins.choosing` makes the methods that settings ask for.
"""
