//! A lock for the hot path: held for a moment (on readiness for an attempt to send or receive), and hardly ever contended.
//!
//! An ordinary mutex costs two atomic read-modify-writes, one to take it and one to let go, for only so does the second learn whether
//! somebody sleeps. A message takes five such locks, and those instructions are a good part of all that it costs. Here nobody sleeps for
//! long, so letting go is a plain store. Everything else uses the ordinary one ([`crate::sync`]).

#![cfg_attr(windows, allow(unreachable_pub, reason = "the C face uses it, too, and is for Linux"))]

use std::cell::UnsafeCell;
use std::hint;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// See the module.
#[derive(Debug, Default)]
pub struct Lock<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through a guard only, of which there is one at a time; it is handed from thread to thread with
// release and acquire.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    /// Around this value.
    pub const fn new(value: T) -> Self {
        Self { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    #[inline]
    /// Takes it, for a moment.
    pub fn lock(&self) -> Guard<'_, T> {
        if self.taken.swap(true, Ordering::Acquire) {
            self.wait();
        }
        Guard { lock: self, of_this_thread: PhantomData }
    }

    /// Somebody has it: for a moment, or the processor was taken away from who has it.
    #[cold]
    fn wait(&self) {
        const SPINS: u32 = 100;
        const YIELDS: u32 = SPINS + 100;
        let mut tries = 0;
        while self.taken.load(Ordering::Relaxed) || self.taken.swap(true, Ordering::Acquire) {
            match tries {
                0..SPINS => hint::spin_loop(),
                SPINS..YIELDS => thread::yield_now(),
                // Its thread may be one that runs only when this one does not.
                _ => thread::sleep(Duration::from_micros(50)),
            }
            tries += 1;
        }
    }
}

/// Whoever has this has the lock.
#[derive(Debug)]
pub struct Guard<'a, T> {
    lock: &'a Lock<T>,
    /// Neither sent nor shared: what it lends may be good for one thread only.
    of_this_thread: PhantomData<*const T>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard is the only one, and lends the value no longer than it lives.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above; `&mut self` makes the access exclusive.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.taken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::Lock;

    /// The parts of the value are written one after the other: whoever is let in too early finds them unequal, or loses a round.
    #[test]
    fn one_at_a_time() {
        const ROUNDS: u64 = 20_000;
        const THREADS: u64 = 4;
        let lock = Lock::new([0u64; 32]);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        let mut parts = lock.lock();
                        let before = parts[0];
                        for part in parts.iter_mut() {
                            assert_eq!(*part, before, "somebody else was inside");
                            *part = std::hint::black_box(before + 1);
                        }
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), [ROUNDS * THREADS; 32]);
    }

    #[test]
    fn who_waits_for_long_gets_it_too() {
        let (lock, let_go) = (Lock::new(1), AtomicBool::new(false));
        thread::scope(|scope| {
            let mut held = lock.lock();
            let waiter = scope.spawn(|| {
                let value = *lock.lock();
                assert!(let_go.load(Ordering::Relaxed), "it was taken while somebody had it");
                value
            });
            thread::sleep(Duration::from_millis(30)); // the waiter spins, yields, and sleeps
            let_go.store(true, Ordering::Relaxed);
            *held = 2;
            drop(held);
            assert_eq!(waiter.join().unwrap(), 2);
        });
    }
}
