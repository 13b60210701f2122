//! Critical sections, SRW locks, condition variables.
