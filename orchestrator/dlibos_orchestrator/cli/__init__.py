"""The `dlibos` command."""
