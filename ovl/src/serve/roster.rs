//! Who is connected, and who has to wait.

use std::collections::{HashMap, VecDeque};

use overlapped::Associated;
use overlapped::net::{TcpListener, TcpStream};

use super::{Summary, Tally};

pub(super) type Connection = Associated<TcpStream, Tally>;
pub(super) type Door = Associated<TcpListener, Tally>;

/// The connections being served, those that wait for a place, and the listeners that do not accept meanwhile.
#[derive(Debug, Default)]
pub(super) struct Roster {
    most: Option<usize>,
    serving: HashMap<u64, Connection>,
    /// Admitted, and about to be in `serving`.
    entering: usize,
    /// Came in through another listener's accept when the last place was just taken: at most one a listener.
    waiting: VecDeque<TcpStream>,
    /// Listeners without an accept outstanding, to be opened when there is room.
    shut_doors: Vec<Door>,
    stopping: bool,
    pub(super) summary: Summary,
}

/// What is to be done after somebody has left.
pub(super) enum Next {
    /// Serve this one in the place that has become free, and is reserved for it.
    Serve(TcpStream),
    /// Let these accept again.
    Open(Vec<Door>),
    /// That was the last one, and the server is stopping.
    Finish,
}

impl Roster {
    pub(super) fn new(most: Option<usize>) -> Self {
        Self { most, ..Self::default() }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }

    fn has_room(&self) -> bool {
        self.most.is_none_or(|most| self.serving.len() + self.entering < most)
    }

    /// Gives the newcomer back, with a place reserved, if there is room for it; else it waits. A server that is stopping takes nobody in.
    pub(super) fn admit(&mut self, newcomer: TcpStream) -> Option<TcpStream> {
        if self.stopping {
            return None;
        }
        if self.has_room() {
            self.entering += 1;
            return Some(newcomer);
        }
        self.waiting.push_back(newcomer);
        None
    }

    /// The number of the next connection.
    pub(super) fn next_number(&mut self) -> u64 {
        self.summary.connections += 1;
        self.summary.connections
    }

    /// Puts one who was admitted on the list. False if the server has begun to stop since.
    pub(super) fn enter(&mut self, connection: Connection) -> bool {
        self.entering -= 1;
        if self.stopping {
            return false;
        }
        self.serving.insert(connection.key().number, connection);
        self.summary.peak = self.summary.peak.max(self.serving.len() as u64);
        true
    }

    /// Whether the listener may accept; if not it is kept and opened later.
    pub(super) fn may_open(&mut self, door: &Door) -> bool {
        let open = !self.stopping && self.has_room();
        if !open && !self.stopping {
            self.shut_doors.push(door.clone());
        }
        open
    }

    /// Strikes a connection off the list.
    pub(super) fn leave(&mut self, connection: &Connection) -> Next {
        if self.serving.remove(&connection.key().number).is_some() {
            self.summary.add(connection.key());
        }
        if self.stopping {
            return if self.serving.is_empty() { Next::Finish } else { Next::Open(Vec::new()) };
        }
        match self.waiting.pop_front() {
            Some(stream) => {
                self.entering += 1;
                Next::Serve(stream)
            }
            None => Next::Open(std::mem::take(&mut self.shut_doors)),
        }
    }

    /// From now on nobody comes in. Returns those who are still here.
    pub(super) fn stop(&mut self) -> Vec<Connection> {
        self.stopping = true;
        self.waiting.clear();
        self.shut_doors.clear();
        self.serving.values().cloned().collect()
    }

    /// The summary, with those in it who are still here.
    pub(super) fn close(&mut self) -> Summary {
        let mut summary = std::mem::take(&mut self.summary);
        summary.cut_off = self.serving.len() as u64;
        self.serving.drain().for_each(|(_, connection)| summary.add(connection.key()));
        summary
    }
}
