//! The console, and its control handler.
