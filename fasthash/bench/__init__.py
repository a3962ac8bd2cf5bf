"""`fasthash bench`: what this machine and this storage can do, and the settings that suit them.

In the order the data flows:

- `sample`  some of a directory's files, drawn evenly
- `trial`   so many workers with such settings at work on the sample for a moment
- `advice`  what the trials say: the settings to use, and what limits a run
"""
