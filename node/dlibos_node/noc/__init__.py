"""L2: the network-on-chip: messages of 64-bit words, demux queues, credits, routes; and the link that carries them."""
