"""How right a model is: metrics, comparison, drift, and the report of a night."""
