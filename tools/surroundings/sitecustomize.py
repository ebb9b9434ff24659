"""Another user, host, clock, core count and order of folders, in every Python that has this folder on its PYTHONPATH.

Python imports a module of this name when it starts, so this reaches DVC and every stage. `tools.identical` sets the
environment variables that are read here.
"""

import _socket
import ctypes
import datetime
import gc
import os
import time

host, user, user_id = os.environ["HOSTNAME"], os.environ["USER"], int(os.environ["USER_ID"])
uname = os.uname
os.uname = lambda: os.uname_result((uname()[0], host, *uname()[2:]))
_socket.gethostname = lambda: host
os.getlogin = lambda: user
os.getuid = lambda: user_id

ahead = int(os.environ["SECONDS_AHEAD"])
seconds, nanoseconds, gmtime, localtime = time.time, time.time_ns, time.gmtime, time.localtime
asctime, strftime = time.asctime, time.strftime
time.time = lambda: seconds() + ahead
time.time_ns = lambda: nanoseconds() + ahead * 10**9
time.gmtime = lambda at=None: gmtime(time.time() if at is None else at)
time.localtime = lambda at=None: localtime(time.time() if at is None else at)
time.ctime = lambda at=None: asctime(time.localtime(at))
time.asctime = lambda at=None: asctime(at or time.localtime())
time.strftime = lambda form, at=None: strftime(form, at or time.localtime())
# The type itself is changed, since libraries compare types and a subclass would be another one. datetime's other
# methods call time.time.
methods = gc.get_referents(datetime.datetime.__dict__)[0]
methods["now"] = classmethod(lambda cls, tz=None: cls.fromtimestamp(time.time(), tz))
methods["utcnow"] = classmethod(lambda cls: cls.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None))
ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime.datetime))

if os.environ["CORES"] == "one" and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])

backwards = os.environ["LIST_FOLDERS"] == "backwards"
listdir, scandir = os.listdir, os.scandir


class Scan:
    """What os.scandir gives, in order."""

    def __init__(self, folder):
        with scandir(folder) as entries:
            self.entries = iter(sorted(entries, key=lambda entry: entry.name, reverse=backwards))

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.entries)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def close(self):
        pass


os.listdir = lambda folder=".": sorted(listdir(folder), reverse=backwards)
os.scandir = lambda folder=".": Scan(folder)
