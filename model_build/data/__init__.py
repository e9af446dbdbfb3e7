"""Photographs and their labels, splits and pixels."""
