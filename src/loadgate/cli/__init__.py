"""The `loadgate` command, thin over the other rooms."""
