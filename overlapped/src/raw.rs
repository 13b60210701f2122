//! What the C face stands on. Not for anybody else: it may change in any release.

pub use crate::sys::raw::*;
