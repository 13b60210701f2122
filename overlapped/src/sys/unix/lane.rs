//! A lane: an engine, and the queue of what has ended on it.
//!
//! A port has as many lanes as its concurrency value. A worker holds one while it runs, so the lanes *are* the limit. Packets
//! that wait in a lane can be taken by any worker that holds one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Wake, Waker};

use super::engine::{Engine, Event, Reaper};
use super::{Handle, Port};
use crate::Result;
use crate::sync::Mutex;
use crate::sys::Ended;

/// Who holds a lane, and what that worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Holder {
    Nobody = 0,
    /// It runs a handler, or the port's own code.
    Running = 1,
    /// It sleeps in the engine, or is about to.
    Waiting = 2,
}

pub(super) struct Lane {
    pub(super) index: usize,
    engine: OnceLock<Engine>,
    ready: Mutex<Ready>,
    /// The length of the queue, to be looked at without the lock.
    ready_len: AtomicUsize,
    /// Written under the port's scheduling lock.
    holder: AtomicU8,
    /// The kernel's id of the thread that holds the lane.
    pub(super) tid: AtomicI32,
    /// Counts the packets that its holder asked for: as long as it stands still, the holder is in its handler.
    pub(super) beat: AtomicU64,
    /// Its holder is out of the port's code. It may block there; in here it holds locks, for a moment.
    pub(super) in_handler: AtomicBool,
    /// Packets taken since the engine was last entered.
    pub(super) since_enter: AtomicU32,
    /// Its holder has been woken and has not yet come round.
    kicked: AtomicBool,
    /// Threads that are on their way into the engine's sleep, or in it.
    pub(super) sleepers: AtomicUsize,
    /// Nobody holds it, and a sleeping worker of another lane is told when something ends here.
    pub(super) watched: AtomicBool,
    /// Handles with a receive that waits for a buffer.
    starved: Mutex<Vec<Arc<Handle>>>,
    starving: AtomicBool,
    /// One of them could go on elsewhere, but not yet: look again soon.
    pub(super) impatient: AtomicBool,
    /// What a pool calls when a buffer comes back.
    hungry: OnceLock<Waker>,
}

struct Ready {
    queue: VecDeque<Ended>,
    /// Comes with the engine.
    reaper: Option<Reaper>,
}

impl Lane {
    pub(super) fn new(index: usize) -> Self {
        Self {
            index,
            engine: OnceLock::new(),
            ready: Mutex::new(Ready { queue: VecDeque::new(), reaper: None }),
            ready_len: AtomicUsize::new(0),
            holder: AtomicU8::new(Holder::Nobody as u8),
            tid: AtomicI32::new(0),
            beat: AtomicU64::new(0),
            in_handler: AtomicBool::new(false),
            since_enter: AtomicU32::new(0),
            kicked: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            watched: AtomicBool::new(false),
            starved: Mutex::new(Vec::new()),
            starving: AtomicBool::new(false),
            impatient: AtomicBool::new(false),
            hungry: OnceLock::new(),
        }
    }

    /// Gives the lane its engine, if it has none. Called under the port's scheduling lock.
    pub(super) fn equip(&self, lanes: usize) -> Result<()> {
        if self.engine.get().is_none() {
            let (engine, reaper) = Engine::new(lanes)?;
            self.ready.lock().reaper = Some(reaper);
            let _ = self.engine.set(engine);
        }
        Ok(())
    }

    pub(super) fn equipped(&self) -> Option<&Engine> {
        self.engine.get()
    }

    #[inline]
    pub(super) fn engine(&self) -> &Engine {
        self.engine.get().expect("a lane that is used has an engine")
    }

    #[inline]
    pub(super) fn holder(&self) -> Holder {
        match self.holder.load(Ordering::SeqCst) {
            0 => Holder::Nobody,
            1 => Holder::Running,
            _ => Holder::Waiting,
        }
    }

    pub(super) fn set_holder(&self, holder: Holder) {
        self.holder.store(holder as u8, Ordering::SeqCst);
    }

    /// Its holder asks for a packet.
    #[inline]
    pub(super) fn enter_port(&self) {
        let beat = self.beat.load(Ordering::Relaxed);
        self.beat.store(beat.wrapping_add(1), Ordering::Relaxed);
        self.in_handler.store(false, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn ready_len(&self) -> usize {
        self.ready_len.load(Ordering::SeqCst)
    }

    /// Whether there is something to take here.
    #[inline]
    pub(super) fn has_work(&self) -> bool {
        self.ready_len() > 0 || self.equipped().is_some_and(Engine::has_completions)
    }

    #[inline]
    pub(super) fn pop(&self) -> Option<Ended> {
        if self.ready_len() == 0 {
            return None;
        }
        let mut ready = self.ready.lock();
        let ended = ready.queue.pop_front();
        self.ready_len.store(ready.queue.len(), Ordering::Release);
        drop(ready);
        if let Some(ended) = &ended {
            ended.handle.dequeued(&ended.operation);
        }
        ended
    }

    /// Queues a packet that did not come through the engine. A closed port drops it.
    pub(super) fn push(&self, ended: Ended, port: &Port) {
        let mut ready = self.ready.lock();
        if port.is_closed() {
            drop(ready); // before `ended`: its key is the user's, and may do anything when dropped
            return;
        }
        ready.queue.push_back(ended);
        self.ready_len.store(ready.queue.len(), Ordering::SeqCst);
    }

    /// Turns completions into packets, in order.
    pub(super) fn reap(&self, port: &Port) {
        let engine = self.engine();
        if !engine.has_completions() {
            return;
        }
        let mut woken = false;
        let (mut dropped, mut orphans) = (VecDeque::new(), Vec::new());
        let mut guard = self.ready.lock();
        let Ready { queue, reaper } = &mut *guard;
        let reaper = reaper.as_mut().expect("an engine comes with its reaper");
        let mut deliver = |ended| queue.push_back(ended);
        engine.reap(reaper, |event| match event {
            Event::Ended { request, key, result, nonempty } => {
                Handle::complete(request, key, result, nonempty, self, &mut deliver);
            }
            Event::Another { request, result } => Handle::another(request, result, &mut deliver),
            Event::Arrived { standing, result, buffer, more } => {
                orphans.extend(Handle::arrived(standing, result, buffer, more, self, &mut deliver));
            }
            Event::NotFound(cancel) => {
                if cancel.is_needed(|handle| orphans.push(handle)) {
                    engine.cancel(cancel);
                }
            }
            Event::Woken => woken = true,
            Event::Watched(lane) => port.lane(lane).watched.store(false, Ordering::SeqCst),
        });
        if port.is_closed() {
            std::mem::swap(&mut dropped, queue);
        }
        let queued = queue.len();
        self.ready_len.store(queued, Ordering::SeqCst);
        drop(guard);
        // Another thread has looked and is about to sleep: what was taken out here would have kept it awake. One that sleeps
        // already wakes from any completion, so this does not go round.
        if (woken || queued > 0) && self.sleepers.load(Ordering::SeqCst) > 0 {
            engine.wake();
        }
        drop((dropped, orphans)); // outside the lock: keys and messages are the user's
    }

    /// Drops what is queued. The port is closed.
    pub(super) fn discard(&self) {
        let starved = std::mem::take(&mut *self.starved.lock());
        starved.iter().for_each(|handle| handle.close());
        let dropped = std::mem::take(&mut self.ready.lock().queue);
        self.ready_len.store(0, Ordering::SeqCst);
        drop(dropped);
    }

    /// Ends its holder's sleep, once.
    pub(super) fn wake(&self) {
        if !self.kicked.swap(true, Ordering::SeqCst) {
            self.engine().wake();
        }
    }

    /// Its holder has come round.
    pub(super) fn awake(&self) {
        self.kicked.store(false, Ordering::SeqCst);
        self.since_enter.store(0, Ordering::Relaxed);
    }

    // Receives that wait for a buffer.

    /// Remembers a handle whose receive found its pool empty.
    pub(super) fn starve(&self, handle: Arc<Handle>) {
        let mut starved = self.starved.lock();
        starved.push(handle);
        self.starving.store(true, Ordering::SeqCst);
    }

    /// Tops up the engine's buffers, and lets receives that waited for one go on.
    pub(super) fn feed(&self, port: &Arc<Port>) {
        let engine = self.engine();
        engine.refill();
        if !self.starving.load(Ordering::SeqCst) {
            return;
        }
        let starved = std::mem::take(&mut *self.starved.lock());
        let (mut hungry, mut impatient) = (Vec::new(), false);
        for handle in starved {
            let Some(pool) = handle.wanted_pool() else { continue }; // ended early meanwhile
            let mut fed = engine.has_buffers(&pool);
            if !fed {
                // Asked first, looked again afterwards: a buffer that comes back in between is not missed.
                pool.wake_on_return(
                    self.hungry
                        .get_or_init(|| Arc::new(Hungry { port: Arc::downgrade(port), lane: self.index }).into()),
                );
                engine.refill();
                fed = engine.has_buffers(&pool);
            }
            // Another lane may have been given buffers that it does not use.
            let rich = || {
                let others = port.lanes().iter().filter(|lane| lane.index != self.index);
                others
                    .filter(|lane| lane.equipped().is_some_and(|engine| engine.has_buffers(&pool)))
                    .map(|lane| lane.index)
                    .next()
            };
            let goes_on = match (fed, if fed { None } else { rich() }) {
                (true, _) => handle.unstall(None),
                (false, Some(lane)) => {
                    let goes_on = handle.unstall(Some(lane));
                    impatient |= !goes_on; // its packets have to be dequeued first; nobody will tell when they were
                    goes_on
                }
                (false, None) => false,
            };
            if !goes_on {
                hungry.push(handle);
            }
        }
        let mut starved = self.starved.lock();
        starved.append(&mut hungry);
        self.starving.store(!starved.is_empty(), Ordering::SeqCst);
        drop(starved);
        self.impatient.store(impatient, Ordering::SeqCst);
        if port.is_closed() {
            self.discard(); // who closed it may have found the list empty
        }
    }
}

/// Wakes a lane when a buffer comes back.
struct Hungry {
    port: Weak<Port>,
    lane: usize,
}

impl Wake for Hungry {
    fn wake(self: Arc<Self>) {
        if let Some(port) = self.port.upgrade() {
            port.attend(self.lane);
        }
    }
}
