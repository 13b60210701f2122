//! Bare io_uring: the baseline. As little as the kernel lets a program do for an echo.
//!
//! One ring, multishot accept, one multishot receive per connection out of one provided-buffer ring, and the send
//! goes out of the very buffer that was received into. One `io_uring_enter` per turn submits everything and waits.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::TcpListener;
use std::os::fd::AsRawFd;

use clap::Parser;
use io_uring::squeue::{self, Flags};
use io_uring::{SubmissionQueue, Submitter, cqueue, opcode, types};
use overlapped_bench::ring::{self, BufferRing, TaskRun, tolerate_interruption};
use overlapped_bench::server::{Handler, Options};
use rustix::process::{Resource, getrlimit, setrlimit};

/// A TCP echo server on bare io_uring
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// How many receive buffers all connections of a worker share (a power of two)
    #[arg(long, default_value_t = 2048)]
    buffers: u16,
    /// Use COOP_TASKRUN without DEFER_TASKRUN
    #[arg(long)]
    coop: bool,
    /// Use ordinary file descriptors, not the ring's own table of them
    #[arg(long)]
    plain_files: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    raise_file_limit()?;
    arguments.options.serve_on_each_worker(|worker, listener| serve(&arguments, worker, listener))?;
    Ok(())
}

fn raise_file_limit() -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

const RING_ENTRIES: u32 = 4096;
const GROUP: u16 = 0;

/// The ring's own table of files cannot be larger than the limit on open files; this much is enough for us.
const MOST_FILES: u64 = 32 * 1024;

/// Received bytes on their way back.
#[derive(Clone, Copy)]
struct Chunk {
    buffer: u16,
    offset: u32,
    end: u32,
}

/// A connection is closed when the kernel has no request of it any more.
#[derive(Default)]
struct Connection {
    receiving: bool,
    /// At most one send of a connection is in the kernel: two might overtake each other.
    sending: Option<Chunk>,
    /// What arrived meanwhile, in order.
    waiting: VecDeque<Chunk>,
    /// Nothing more will arrive: the peer has finished, or the connection is broken.
    ended: bool,
}

/// What a completion is about: the upper half of its `user_data`. The lower half is the connection's file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Accept = 0,
    Receive = 1,
    Send = 2,
    /// Cancel and close, of whose ends there is nothing to learn.
    Nothing = 3,
}

fn user_data(about: About, file: u32) -> u64 {
    (about as u64) << 32 | u64::from(file)
}

struct Server<'a> {
    submitter: Submitter<'a>,
    queue: SubmissionQueue<'a>,
    buffers: BufferRing,
    /// Buffers the kernel can still pick.
    buffers_free: usize,
    connections: Vec<Connection>,
    /// Connections whose receive ended for want of a buffer.
    starved: VecDeque<u32>,
    listener: types::Fd,
    handler: Handler,
    worker: usize,
    plain_files: bool,
}

fn serve(arguments: &Arguments, worker: usize, listener: TcpListener) -> io::Result<()> {
    let task_run = match arguments.coop {
        true => TaskRun::Cooperative,
        false => TaskRun::Deferred,
    };
    let mut ring = ring::build(RING_ENTRIES, task_run)?;
    if !arguments.plain_files {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(MOST_FILES);
        ring.submitter().register_files_sparse(limit.min(MOST_FILES) as u32)?;
    }
    let buffers = BufferRing::register(&ring.submitter(), GROUP, arguments.buffers, arguments.options.buffer_size())?;
    let (mut submitter, queue, mut completions) = ring.split();
    submitter.register_ring_fd()?;
    let mut server = Server {
        submitter,
        queue,
        buffers_free: buffers.count(),
        buffers,
        connections: Vec::new(),
        starved: VecDeque::new(),
        listener: types::Fd(listener.as_raw_fd()),
        handler: arguments.options.handler(),
        worker,
        plain_files: arguments.plain_files,
    };
    server.accept()?;
    loop {
        server.queue.sync();
        tolerate_interruption(server.submitter.submit_and_wait(1))?;
        server.queue.sync();
        completions.sync();
        for completion in &mut completions {
            server.complete(&completion)?;
        }
        completions.sync();
        server.buffers.publish();
        server.feed_starved()?;
    }
}

impl Server<'_> {
    fn complete(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let file = completion.user_data() as u32;
        let result = completion.result();
        match completion.user_data() >> 32 {
            about if about == About::Receive as u64 => self.received(file, completion),
            about if about == About::Send as u64 => self.sent(file, result),
            about if about == About::Accept as u64 => {
                if result >= 0 {
                    self.accepted(result as u32)?;
                }
                // A failed accept (the peer has gone, or no file is left) is no reason to stop; it ends the multishot.
                match cqueue::more(completion.flags()) {
                    true => Ok(()),
                    false => self.accept(),
                }
            }
            _ => Ok(()),
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        let entry = match self.plain_files {
            true => opcode::AcceptMulti::new(self.listener).flags(libc::SOCK_CLOEXEC).build(),
            false => opcode::AcceptMulti::new(self.listener).allocate_file_index(true).build(),
        };
        self.push(entry.user_data(user_data(About::Accept, 0)))
    }

    fn accepted(&mut self, file: u32) -> io::Result<()> {
        let index = file as usize;
        if self.connections.len() <= index {
            self.connections.resize_with(index + 1, Connection::default);
        }
        let connection = &mut self.connections[index];
        assert!(!connection.receiving && connection.sending.is_none());
        connection.ended = false;
        self.receive(file)
    }

    fn receive(&mut self, file: u32) -> io::Result<()> {
        self.connections[file as usize].receiving = true;
        let entry = opcode::RecvMulti::new(types::Fd(file as i32), GROUP).build();
        self.push_for(file, entry, About::Receive)
    }

    fn received(&mut self, file: u32, completion: &cqueue::Entry) -> io::Result<()> {
        let more = cqueue::more(completion.flags());
        let result = completion.result();
        let picked = cqueue::buffer_select(completion.flags());
        let connection = &mut self.connections[file as usize];
        connection.receiving = more;
        match (result, picked) {
            (1.., Some(buffer)) => {
                self.buffers_free -= 1;
                let len = result as usize;
                // SAFETY: this completion has just handed us the buffer, and it has not been given back.
                let bytes = unsafe { self.buffers.bytes(buffer, len) };
                self.handler.handle(self.worker, bytes);
                let chunk = Chunk { buffer, offset: 0, end: result as u32 };
                if connection.ended {
                    // A send has failed: nobody reads the echo any more.
                    self.give_back(buffer);
                } else if connection.sending.is_some() {
                    connection.waiting.push_back(chunk);
                } else {
                    self.send(file, chunk)?;
                }
                // Multishot may end at any time, without an error; ask again.
                let ended = self.connections[file as usize].ended;
                if !more && !ended {
                    return self.receive(file);
                }
            }
            (libc_error, _) if libc_error == -libc::ENOBUFS => {
                // Not this connection's fault: the receive is armed again as soon as a buffer is back.
                self.starved.push_back(file);
                return Ok(());
            }
            (_, picked) => {
                // 0: the peer has finished. Below 0: the connection is broken. What is to be sent is still sent.
                if let Some(buffer) = picked {
                    self.buffers_free -= 1;
                    self.give_back(buffer);
                }
                self.connections[file as usize].ended = true;
            }
        }
        self.close_if_done(file)
    }

    fn send(&mut self, file: u32, chunk: Chunk) -> io::Result<()> {
        self.connections[file as usize].sending = Some(chunk);
        let pointer = self.buffers.pointer(chunk.buffer).cast_const();
        let entry = opcode::Send::new(
            types::Fd(file as i32),
            pointer.wrapping_add(chunk.offset as usize),
            chunk.end - chunk.offset,
        )
        // With MSG_WAITALL the kernel itself goes on after a short send, as long as there is no error.
        .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
        .build();
        self.push_for(file, entry, About::Send)
    }

    fn sent(&mut self, file: u32, result: i32) -> io::Result<()> {
        let connection = &mut self.connections[file as usize];
        let mut chunk = connection.sending.take().expect("a send ends once, and there was one");
        if result < 0 {
            self.give_back(chunk.buffer);
            self.break_off(file)?;
        } else {
            chunk.offset += result as u32;
            if chunk.offset < chunk.end {
                return self.send(file, chunk);
            }
            let next = connection.waiting.pop_front();
            self.give_back(chunk.buffer);
            if let Some(next) = next {
                return self.send(file, next);
            }
        }
        self.close_if_done(file)
    }

    /// The peer cannot be sent to: nothing of what waits will go out, and the receive must end too.
    fn break_off(&mut self, file: u32) -> io::Result<()> {
        let connection = &mut self.connections[file as usize];
        connection.ended = true;
        for chunk in mem::take(&mut connection.waiting) {
            self.buffers.give_back(chunk.buffer);
            self.buffers_free += 1;
        }
        if !connection.receiving {
            return Ok(());
        }
        // Not a shutdown: the kernel leaves that to a thread of its own, which may get to it when the file has been closed
        // and its number belongs to another connection. A cancel is carried out when it is submitted, before any close.
        let entry = opcode::AsyncCancel::new(user_data(About::Receive, file)).build();
        self.push(entry.user_data(user_data(About::Nothing, file)))
    }

    fn close_if_done(&mut self, file: u32) -> io::Result<()> {
        let connection = &self.connections[file as usize];
        if !connection.ended || connection.receiving || connection.sending.is_some() {
            return Ok(());
        }
        // A starved connection whose send failed meanwhile is closed here; its file may be given out again.
        self.starved.retain(|&starved| starved != file);
        let entry = match self.plain_files {
            true => opcode::Close::new(types::Fd(file as i32)).build(),
            false => opcode::Close::new(types::Fixed(file)).build(),
        };
        self.push(entry.user_data(user_data(About::Nothing, file)))
    }

    fn give_back(&mut self, buffer: u16) {
        self.buffers.give_back(buffer);
        self.buffers_free += 1;
    }

    /// Arms as many receives again as there are buffers for.
    fn feed_starved(&mut self) -> io::Result<()> {
        for _ in 0..self.buffers_free.min(self.starved.len()) {
            if let Some(file) = self.starved.pop_front() {
                self.receive(file)?;
            }
        }
        Ok(())
    }

    /// Queues a request on a connection's file, which is one of the ring's own unless told otherwise.
    fn push_for(&mut self, file: u32, entry: squeue::Entry, about: About) -> io::Result<()> {
        let flags = match self.plain_files {
            true => Flags::empty(),
            false => Flags::FIXED_FILE,
        };
        self.push(entry.flags(flags).user_data(user_data(about, file)))
    }

    fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        // SAFETY: the only memory entries point to is the buffer ring's, which is never unmapped, and a buffer being
        // sent from is given back only when its send has ended.
        unsafe { ring::push(&self.submitter, &mut self.queue, &entry) }
    }
}
