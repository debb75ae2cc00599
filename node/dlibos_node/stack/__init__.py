"""L2: a sans-IO host: interface, neighbours, demultiplexing, listeners."""
