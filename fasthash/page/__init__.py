"""A page about a run and its catalog: `facts` in `words`, `charts` and `listings`, put together."""
