"""The model as a pipeline of diffusers: needs the extra `diffusers`, and nothing else of lvdm imports it."""
