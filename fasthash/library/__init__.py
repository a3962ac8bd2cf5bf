"""The public API for scripts; the package itself exports it."""
