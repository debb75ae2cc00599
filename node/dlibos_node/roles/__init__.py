"""L3: what a tile does: driver, stack or app. A role takes a frame of messages and leaves what it answers."""
