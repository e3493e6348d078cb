"""What a method costs: parameters, FLOPs, time, memory, energy, by one versioned protocol (docs/cost_protocol.md)."""

#: Raised when what is measured, or how, changes; records of different versions are never shown in one column.
PROTOCOL_VERSION = 1
