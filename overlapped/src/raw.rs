//! What the C face stands on. Not for anybody else: it may change in any release.

#[allow(unused_imports, unreachable_pub, reason = "empty where Windows itself has the C face")]
pub use crate::sys::raw::*;
