"""Lambda on this machine: the runtime interface emulator and the built function in it."""
