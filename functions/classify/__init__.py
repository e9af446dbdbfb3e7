"""The function that labels what is uploaded."""
