"""L0: bytes to values and back, one module per protocol. Pure; written so that mypyc compiles it."""
