//! A cancel on its way to the kernel.
//!
//! The kernel may answer that it did not find the request, although it has it: it was just then trying it again. So the answer is
//! looked at, and the cancel repeated for as long as the request has not come back.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};

use super::Handle;
use super::engine::InKernel;
use super::standing::Standing;

/// What is to be cancelled.
pub(super) enum Cancel {
    Request { handle: Weak<Handle>, key: InKernel },
    Standing { standing: Arc<Standing>, key: InKernel },
}

impl Cancel {
    pub(super) fn key(&self) -> InKernel {
        match self {
            Self::Request { key, .. } | Self::Standing { key, .. } => *key,
        }
    }

    /// Whether the kernel still has it. `owner`: takes the handle that was looked at, to be dropped with no lock held.
    pub(super) fn is_needed(&self, owner: impl FnOnce(Arc<Handle>)) -> bool {
        match self {
            Self::Standing { standing, .. } => !standing.landed.load(SeqCst),
            Self::Request { handle, key } => handle.upgrade().is_some_and(|handle| {
                let needed = handle.is_cancelling(*key);
                owner(handle);
                needed
            }),
        }
    }
}
