"""How parameters are declared, and those of a generation; what the methods declare is in `lvdm.plugins.methods`."""
