"""The whole path on this machine, once: model, uploads, labels, report."""
