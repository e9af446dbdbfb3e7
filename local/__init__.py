"""AWS on one machine: moto on loopback, Lambda's runtime interface emulator, and the demo that uses both."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # the checkout
