"""Fills the Lambda layers: libraries and model, the same bytes each time, under Lambda's size limit."""
