"""One metric a file, found by name. A metric reads `Evidence` and gives figures; see `_base`."""
