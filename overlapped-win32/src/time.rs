//! Clocks and counters.
