"""Which tile does what, and when a role gets more of them. Pure."""
