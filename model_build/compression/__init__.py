"""Smaller networks: how much smaller each layer becomes, and what that costs in accuracy."""
