"""What every floor stands on: errors, files, paths, provenance, seeds, devices, commands, statistics."""
from common.threads import wait_passively

wait_passively()  # here, because it must come before torch, which every other module may import
