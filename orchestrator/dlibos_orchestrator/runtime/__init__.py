"""Where tiles run. The local runtime: processes, and a network namespace of the mesh's own for the TAP device."""
