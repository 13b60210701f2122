//! What passes between runner, driver and server besides echoed bytes.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A message that begins so makes a server started with `--slow-ms` block in its handler before it echoes.
pub const SLOW: u8 = 0xFF;

/// A message that begins so comes back with the index of the worker that handled it as its second byte.
pub const WHO: u8 = 0xFE;

/// Ordinary messages contain bytes below this only, so none is mistaken for one of the two above, however TCP cuts it.
pub const ORDINARY_BELOW: u8 = 0xFE;

/// Which of a server's workers should serve the driver's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// As they come
    Any,
    /// All of them on one worker
    One,
    /// The same number on each worker
    Even,
}

/// How the driver is started. It prints a [`Report::Ready`], then one [`Report`] for each line `run MILLISECONDS`.
#[derive(clap::Args, Clone, Debug)]
pub struct Load {
    /// The server's address
    pub address: SocketAddr,
    /// How many connections to keep busy
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// The size of a message in bytes
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=16 * 1024 * 1024))]
    pub size: u32,
    /// How many messages each connection has under way
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub pipeline: u32,
    /// Mark one message in so many as slow (0: none); needs a pipeline of 1
    #[arg(long, default_value_t = 0)]
    pub slow_every: u32,
    /// Never sleep while messages are under way, so that the server does not have to wake the driver: that costs as much as half a
    /// message, and more often for a server that lets the driver wait
    #[arg(long)]
    pub spin: bool,
    /// Where the server's workers should have the connections
    #[arg(long, value_enum, default_value_t = Placement::Any)]
    pub placement: Placement,
    /// How many workers the server has (for --placement)
    #[arg(long, default_value_t = 1)]
    pub workers: u16,
}

/// One line of the driver's standard output.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Report {
    /// All connections are open and each has echoed one message, every byte of which was checked.
    Ready {
        /// How many connections each worker serves, by the answers to [`WHO`].
        connections_by_worker: Vec<u32>,
    },
    Round(Round),
    /// The server sent something wrong, or nothing any more. The driver exits.
    Failed(String),
}

/// What the driver saw in one round.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Round {
    /// Messages echoed, slow ones included
    pub messages: u64,
    pub slow_messages: u64,
    /// From the first send to the last echo
    pub elapsed_ns: u64,
    /// The driver's own processor time
    pub driver_cpu_ns: u64,
    /// Latencies of the messages that were not marked slow
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
    pub max_ns: u64,
}
