"""The built functions under AWS's own runtime interface emulator."""
