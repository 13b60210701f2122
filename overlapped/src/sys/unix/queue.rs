//! What waits to be told in a lane: ends of operations and, in a thread's, APCs between them. First in, first out.

use std::collections::VecDeque;

use crate::sys::Ended;

pub(super) type Apc = Box<dyn FnOnce() + Send>;

pub(super) enum Item {
    Ended(Ended),
    Apc(Apc),
}

/// Ends are many and APCs few: each has a queue, so that an end is one word, and an APC knows how many ends come before it.
#[derive(Default)]
pub(super) struct Queue {
    ends: VecDeque<Ended>,
    /// Each with the number of the end that it is before.
    apcs: VecDeque<(u64, Apc)>,
    /// The number of the first end.
    first: u64,
}

impl Queue {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty() && self.apcs.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len() + self.apcs.len()
    }

    #[inline]
    pub(super) fn push(&mut self, ended: Ended) {
        self.ends.push_back(ended);
    }

    pub(super) fn push_apc(&mut self, apc: Apc) {
        self.apcs.push_back((self.first + self.ends.len() as u64, apc));
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Item> {
        match self.apcs.front() {
            Some((before, _)) if *before <= self.first => self.apcs.pop_front().map(|(_, apc)| Item::Apc(apc)),
            _ => self.pop_end().map(Item::Ended),
        }
    }

    /// The first end, of a queue without APCs.
    #[inline]
    pub(super) fn pop_end(&mut self) -> Option<Ended> {
        let ended = self.ends.pop_front()?;
        self.first += 1;
        Some(ended)
    }

    /// Takes out the ends that `which` picks. All else stays in order.
    pub(super) fn extract(&mut self, which: impl Fn(&Ended) -> bool) -> Vec<Ended> {
        let (mut taken, mut left) = (Vec::new(), Self { first: self.first, ..Self::default() });
        while let Some(item) = self.pop() {
            match item {
                Item::Ended(ended) if which(&ended) => taken.push(ended),
                Item::Ended(ended) => left.push(ended),
                Item::Apc(apc) => left.push_apc(apc),
            }
        }
        *self = left;
        taken
    }

    /// Takes everything out.
    pub(super) fn take_all(&mut self) -> Vec<Item> {
        std::iter::from_fn(|| self.pop()).collect()
    }
}
