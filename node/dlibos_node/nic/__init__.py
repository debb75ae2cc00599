"""L2: network devices: the TAP queue, the user-mode NIC, and wrappers that compose: `Pcap(Fault(Tap(...)))`."""
