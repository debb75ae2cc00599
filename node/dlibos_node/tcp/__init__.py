"""L1: the sans-IO TCP of one connection. `now` comes in, segments, events and the next deadline go out."""
