"""Methods on top of the networks, one file each: each says what it asks of one sampling, and changes no model.

`hooks` says what a method may replace; `lvdm.plugins.choosing` makes the methods that settings ask for.
"""
