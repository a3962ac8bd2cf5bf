"""`fasthash doctor`: looks at machine, roots and database, and changes nothing.

In the order the data flows:

- `examine`   gathers all facts (`fasthash.facts`)
- `machine`   processor, libraries and limits (`cgroups`)
- `places`    roots and some of the catalog's files, through a helper process (`mounts`)
- `work`      what a run would do now; the database itself is looked at in `store.diagnose`
- `judging`   facts to findings; touches nothing
"""
