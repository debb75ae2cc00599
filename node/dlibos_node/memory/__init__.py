"""L1: partitions, the buffers in them, and who may read a buffer until when."""
