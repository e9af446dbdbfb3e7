"""The system on one machine: AWS by moto on loopback, Lambda by its own runtime interface emulator."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # of the checkout
