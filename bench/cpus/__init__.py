"""`make verify-cpus`: the finished model on this CPU, on x86 without VNNI and on arm64, photograph by photograph.

machines  which CPUs, how each is emulated, what must be installed
sysroot   the arm64 Python, unpacked from Debian packages and wheels
measure   what runs on each CPU: decode, predict, one line per photograph
runs      the measurements, side by side, resumed where they were cut short
plain     the model without 7-bit weights, so that their gain is visible
compare   answers -> table, cpus.json and whether the target is met (pure)
"""
