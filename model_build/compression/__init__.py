"""Smaller networks: which channels and kernels go, and what that costs."""
