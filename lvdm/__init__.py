"""DynamiCrafter, rebuilt. Importing this alone imports nothing heavy."""

from lvdm import moved

moved.install()  # former names of modules, for one version; it is asked only for what nothing else finds
