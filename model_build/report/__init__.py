"""The build's report and model card."""
