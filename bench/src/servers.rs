//! The table of echo servers. To add one: a file `src/bin/echo-NAME.rs`, and a line here.

use std::str::FromStr;

use anyhow::{Context, bail};

/// Who decides which worker serves a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The kernel when it arrives (`SO_REUSEPORT`), and then it stays there.
    AtArrival,
    /// The server, for each receive anew.
    EachReceive,
}

/// A way to serve, as the table has it.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub name: &'static str,
    pub binary: &'static str,
    pub arguments: &'static [&'static str],
    pub placement: Placement,
    /// Beyond so many connections it is not asked.
    pub most_connections: u32,
    /// Whether it takes part unless told otherwise.
    pub by_default: bool,
    pub made_from: MadeFrom,
}

/// What a server is built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadeFrom {
    /// A program of this workspace.
    Rust,
    /// `c/echo-win32.c`, a C program for Windows, by `ovl cc`.
    C,
    /// The same source, by mingw-w64, to run under Wine.
    CForWindows,
}

#[rustfmt::skip]
pub const KINDS: &[Kind] = &[
    kind("uring",   "echo-uring",   &[],                          Placement::AtArrival,   true),
    kind("coop",    "echo-uring",   &["--coop"],                  Placement::AtArrival,   false),
    kind("port",    "echo-port",    &[],                          Placement::EachReceive, true),
    kind("port-readiness", "echo-port", &["--readiness"],         Placement::EachReceive, true),
    kind("routine", "echo-routine", &[],                          Placement::AtArrival,   true),
    kind("event",   "echo-event",   &[],                          Placement::EachReceive, true),
    kind("async",   "echo-async",   &[],                          Placement::AtArrival,   true),
    Kind { made_from: MadeFrom::C,
    ..kind("win32", "echo-win32",   &[],                          Placement::EachReceive, false) },
    Kind { made_from: MadeFrom::CForWindows,
    ..kind("wine",  "echo-wine",    &[],                          Placement::EachReceive, false) },
    kind("epoll",   "echo-epoll",   &[],                          Placement::AtArrival,   true),
    Kind { most_connections: 1000,
    ..kind("threads", "echo-threads", &[],                        Placement::EachReceive, true) },
    kind("tokio",   "echo-tokio",   &[],                          Placement::EachReceive, true),
    kind("compio",  "echo-compio",  &[],                          Placement::AtArrival,   true),
    kind("compio-multishot", "echo-compio", &["--tuned", "--multishot"], Placement::AtArrival, true),
    kind("monoio",  "echo-monoio",  &[],                          Placement::AtArrival,   true),
];

const fn kind(
    name: &'static str,
    binary: &'static str,
    arguments: &'static [&'static str],
    placement: Placement,
    by_default: bool,
) -> Kind {
    Kind { name, binary, arguments, placement, most_connections: u32::MAX, by_default, made_from: MadeFrom::Rust }
}

impl Kind {
    fn find(name: &str) -> anyhow::Result<Kind> {
        let found = KINDS.iter().find(|kind| kind.name == name);
        found.copied().with_context(|| {
            let known: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
            format!("there is no server {name:?}, but: {}", known.join(", "))
        })
    }
}

/// A server that takes part: a kind, with arguments of its own.
#[derive(Clone, Debug)]
pub struct Contender {
    pub name: String,
    pub kind: Kind,
    pub arguments: Vec<String>,
}

impl Contender {
    pub fn named(name: &str) -> anyhow::Result<Contender> {
        Ok(Contender { name: name.to_owned(), kind: Kind::find(name)?, arguments: Vec::new() })
    }
}

/// `NAME=KIND ARGUMENTS`, or `KIND=ARGUMENTS` for other arguments under the same name.
impl FromStr for Contender {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Contender> {
        let Some((name, rest)) = text.split_once('=') else {
            bail!("a server is given as NAME=KIND ARGUMENTS");
        };
        let mut words = rest.split_whitespace().map(str::to_owned).peekable();
        let kind = match words.next_if(|word| !word.starts_with('-')) {
            Some(kind) => Kind::find(&kind)?,
            None => Kind::find(name)?,
        };
        Ok(Contender { name: name.to_owned(), kind, arguments: words.collect() })
    }
}
