//! The standing receive of a stream: one request of the kernel (multishot) that serves one receive of the program after another.
//!
//! A receive into a buffer of a pool need not be a request of its own. The first one arms a standing receive; from then on data
//! comes by itself, into buffers of the pool, and goes to the receives that wait in line, in order. What comes when none waits is
//! held here until one is started. If more comes than that, the peer is sending ahead: the standing receive is ended, so that the
//! rest stays in the socket and the peer is slowed down, and receives go to the kernel one by one until the stream is calm again.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

use super::cancel::Cancel;
use super::engine::InKernel;
use super::request::Request;
use super::{Handle, Port};
use crate::sys::{Ended, Operation};
use crate::{Buffer, BufferPool, Error, Result};

/// So many receives in a row must have emptied the socket before a standing one is armed again.
const CALM: u8 = 16;

/// The record of a standing receive. The kernel has a share in it while it has the request. It does not keep the handle alive: nobody waits for it.
pub(super) struct Standing {
    pub(super) handle: Weak<Handle>,
    pub(super) pool: BufferPool,
    /// The kernel has given it back.
    pub(super) landed: AtomicBool,
}

/// What we know of a standing receive while the kernel has it.
pub(super) struct StandingFlight {
    pub(super) standing: Arc<Standing>,
    pub(super) key: InKernel,
    pub(super) lane: u32,
    /// The thread that held the lane when it was armed. Its completions interrupt that thread, wherever it then is.
    pub(super) tid: i32,
    pub(super) ending: bool,
}

impl StandingFlight {
    /// Asks the kernel to end it. What it brings until then is still taken.
    pub(super) fn end(&mut self, port: &Port) {
        if !std::mem::replace(&mut self.ending, true) {
            let cancel = Cancel::Standing { standing: Arc::clone(&self.standing), key: self.key };
            port.lane(self.lane as usize).engine().cancel(Box::new(cancel));
        }
    }
}

/// What a standing receive has brought and nobody has asked for yet.
enum Held {
    /// Bytes, of which the first so many have been taken.
    Data(Buffer, usize),
    End(Result<usize>),
}

pub(super) struct Inflow {
    pub(super) flight: Option<StandingFlight>,
    held: VecDeque<Held>,
    calm: u8,
}

impl Default for Inflow {
    fn default() -> Self {
        Self { flight: None, held: VecDeque::new(), calm: CALM }
    }
}

impl Inflow {
    pub(super) fn is_calm(&self) -> bool {
        self.calm >= CALM
    }

    /// A single receive has ended; `nonempty`: it left something in the socket.
    pub(super) fn received(&mut self, nonempty: bool) {
        self.calm = if nonempty { 0 } else { self.calm.saturating_add(1) };
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(super) fn hold(&mut self, data: Buffer) {
        self.held.push_back(Held::Data(data, 0));
    }

    pub(super) fn hold_end(&mut self, result: Result<usize>) {
        self.held.push_back(Held::End(result));
    }

    /// Nobody will ask any more.
    pub(super) fn clear(&mut self) -> impl Sized + use<> {
        std::mem::take(&mut self.held)
    }

    /// Something came unasked. One piece is what a quick peer does: it is held; but not in the pool's memory if that is `scarce`.
    /// More than one is a peer that sends ahead.
    pub(super) fn settle(&mut self, scarce: bool, port: &Port) {
        if self.held.is_empty() {
            return;
        }
        if scarce && let Some(Held::Data(buffer, _)) = self.held.back_mut() {
            let mut copy = Buffer::with_capacity(buffer.capacity());
            copy.0.append(buffer);
            *buffer = copy;
        }
        if self.held.len() > 1 {
            self.calm = 0;
            if let Some(flight) = &mut self.flight {
                flight.end(port);
            }
        }
    }

    /// Ends `request`, the first in line, with what is held. There must be something.
    pub(super) fn fill(&mut self, mut request: Box<Request>) -> Ended {
        let held = self.held.front_mut().expect("asked only when something is held");
        let result = match (&mut request.operation, held) {
            (Operation::RecvPooled { buffer, .. }, Held::Data(data, 0)) => {
                *buffer = std::mem::take(data);
                let bytes = buffer.len();
                self.held.pop_front();
                Ok(bytes)
            }
            (Operation::RecvPooled { buffer, .. }, Held::Data(data, taken)) => {
                *buffer = Buffer::from(data[*taken..].to_vec());
                let bytes = buffer.len();
                self.held.pop_front();
                Ok(bytes)
            }
            (Operation::Recv { buffer }, Held::Data(data, taken)) => {
                let bytes = buffer.capacity().min(data.len() - *taken);
                buffer.clear();
                buffer.0.append(&data[*taken..*taken + bytes]);
                *taken += bytes;
                if *taken == data.len() {
                    self.held.pop_front();
                }
                Ok(bytes)
            }
            (_, Held::End(result)) => {
                let result = *result;
                self.held.pop_front();
                result
            }
            _ => Err(Error::INVALID_PARAMETER), // a datagram's receive: those have no standing one
        };
        request.moved = result.unwrap_or(0);
        request.end(result)
    }
}

/// Whether a receive that waits in line is served by a standing one, and from which pool.
pub(super) fn pool_of(request: &Request) -> Option<&BufferPool> {
    match &request.operation {
        Operation::RecvPooled { pool, .. } => Some(pool),
        _ => None,
    }
}

impl Standing {
    pub(super) fn new(handle: &Arc<Handle>, pool: &BufferPool) -> Arc<Self> {
        Arc::new(Self { handle: Arc::downgrade(handle), pool: pool.clone(), landed: AtomicBool::new(false) })
    }
}
