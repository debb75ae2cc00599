"""L3: the asynchronous socket interface of an application tile. Read `api` first."""
