//! Memory per idle connection: what a server's process grows by when connections open, echo one message each and then
//! say nothing. The kernel's own memory for them is not in it.

use crate::options::Options;
use crate::process::{Cores, Driver, Server, plain_load};
use crate::report::MemoryResult;

const CONNECTIONS: u32 = 1000;

/// A small message, and one that fills the receive buffer.
const SIZES: [u32; 2] = [64, 16 * 1024];

pub fn run(options: &Options) -> anyhow::Result<Vec<MemoryResult>> {
    let connections = options.connections.unwrap_or(CONNECTIONS);
    let cores = Cores::apart()?;
    let mut results = Vec::new();
    eprintln!("memory of {connections} idle connections");
    for contender in options.contenders()? {
        if connections > contender.kind.most_connections {
            continue;
        }
        for size in SIZES {
            let server = Server::start(&contender, &[], cores.servers)?;
            // What all connections share is touched first, by as many others: code, allocator, the buffers that so many need. Those come in
            // large pages, of which one more or less would be 2 KiB a connection.
            let mut first = Driver::start(&server, &plain_load(&server, connections, size, 1), cores.drivers)?;
            first.round(1000)?;
            let before = server.memory()?;
            let load = plain_load(&server, connections, size, 1);
            let _idle = Driver::start(&server, &load, cores.drivers)?;
            let after = server.memory()?;
            let each = |bytes: i64| bytes as f64 / f64::from(connections);
            results.push(MemoryResult {
                server: contender.name.clone(),
                connections,
                message_size: size,
                resident_bytes_before: before.resident,
                resident_bytes_per_connection: each(after.resident - before.resident),
                proportional_bytes_per_connection: each(after.proportional - before.proportional),
            });
        }
    }
    Ok(results)
}
