//! Heaps and pages.
