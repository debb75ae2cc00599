"""The web server: HTTP/1.1 over the asynchronous socket interface. Read server, then connection, then request."""
