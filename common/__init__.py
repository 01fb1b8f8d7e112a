"""What every floor stands on: errors, files, paths, provenance, seeds, devices, commands, statistics."""
