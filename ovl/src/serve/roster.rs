//! How many are connected, and who has to wait.

use std::collections::VecDeque;

use overlapped::net::TcpStream;

use super::summary::Summary;

/// Something to be done later, by whoever comes to it: lets a listener accept, or starts again what a shortage has stopped.
pub(super) type Later = Box<dyn FnOnce() + Send>;

/// The places of a server, those who wait for one, and the listeners that do not accept meanwhile.
#[derive(Default)]
pub(super) struct Roster {
    most: Option<u64>,
    here: u64,
    /// Came in through another listener's accept when the last place was just taken: at most one for each accept.
    waiting: VecDeque<TcpStream>,
    /// Opens the listeners without an accept outstanding, when there is room.
    shut_doors: Vec<Later>,
    stopping: bool,
    pub(super) summary: Summary,
}

/// What is to be done after somebody has left.
pub(super) enum Next {
    /// Serve this one, who has the place that has become free, and this number.
    Serve(TcpStream, u64),
    /// Let these accept again.
    Open(Vec<Later>),
    /// That was the last one, and the server is stopping.
    Finish,
}

impl Roster {
    pub(super) fn new(most: Option<u64>) -> Self {
        Self { most, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.here == 0
    }

    fn has_room(&self) -> bool {
        self.most.is_none_or(|most| self.here < most)
    }

    /// Gives the newcomer a place and a number if there is room; else it waits. A server that is stopping takes nobody in.
    pub(super) fn admit(&mut self, newcomer: TcpStream) -> Option<(TcpStream, u64)> {
        if self.stopping {
            return None;
        }
        if !self.has_room() {
            self.waiting.push_back(newcomer);
            return None;
        }
        Some((newcomer, self.take_place()))
    }

    fn take_place(&mut self) -> u64 {
        self.here += 1;
        self.summary.peak = self.summary.peak.max(self.here);
        self.summary.connections += 1;
        self.summary.connections
    }

    /// Whether a listener may accept. If not, what would `open` it is kept until it may.
    pub(super) fn may_accept(&mut self, open: impl FnOnce() -> Later) -> bool {
        let may = !self.stopping && self.has_room();
        if !may && !self.stopping {
            self.shut_doors.push(open());
        }
        may
    }

    /// Gives a place back.
    pub(super) fn leave(&mut self) -> Next {
        self.here -= 1;
        if self.stopping {
            return if self.here == 0 { Next::Finish } else { Next::Open(Vec::new()) };
        }
        match self.waiting.pop_front() {
            Some(stream) => Next::Serve(stream, self.take_place()),
            None => Next::Open(std::mem::take(&mut self.shut_doors)),
        }
    }

    /// From now on nobody comes in.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
        self.waiting.clear();
        self.shut_doors.clear();
    }
}
