"""How right a model is: metrics, comparison, drift, and the nightly report."""
