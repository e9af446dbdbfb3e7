"""The function that asks every night whether the labels are still right."""
