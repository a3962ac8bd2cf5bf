"""fasthash."""
