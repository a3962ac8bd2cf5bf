"""A run for people who were not there, as one page: `facts`, `charts` made of them, the `page`."""
