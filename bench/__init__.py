"""Speed, side by side, and the same model on other processors."""
