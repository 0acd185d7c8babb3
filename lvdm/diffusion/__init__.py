"""Diffusion as pure functions over tensors: schedule, parameterization, guidance, noise, samplers, loss."""
