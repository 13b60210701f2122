//! The ordinary lock of the crate, in one place. What an operation passes through has its own (`sys/lock.rs`).
//!
//! A panic in a user's handler never happens while one of these locks is held, so poisoning would carry no
//! information; the guard is taken regardless.

use std::sync::{self, MutexGuard, PoisonError};

/// A mutual exclusion lock without poisoning.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
