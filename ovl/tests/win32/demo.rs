//! `ovl demo --win32`: the servers in C beside those in Rust, and under Wine.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::bench::{Bench, OVL, has, run};

const NATIVE: [&str; 2] = ["port, C", "routine, C"];
const UNDER_WINE: [&str; 2] = ["port, .exe under Wine", "routine, .exe under Wine"];

/// Runs it with its temporary files in a directory of ours, and gives what it said.
fn demo(bench: &Bench, change: impl FnOnce(&mut Command)) -> String {
    let temporary = bench.path("tmp");
    fs::create_dir(&temporary).expect("a directory");
    let mut command = Command::new(OVL);
    command.args(["demo", "--win32", "--duration", "300ms", "--connections", "8"]).env("TMPDIR", &temporary);
    change(&mut command);
    let (output, in_time) = run(&mut command, Duration::from_secs(240)); // Wine takes its time, beside other tests above all
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(in_time && output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(said.contains("came back right"), "{said}");
    let left: Vec<_> = fs::read_dir(&temporary).expect("it is there").flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    assert_eq!(processes_of(&temporary), Vec::<PathBuf>::new(), "these still run");
    said
}

/// The numbers in a row of the table: messages each second, threads, bytes verified.
fn numbers(said: &str, name: &str) -> Option<[u64; 3]> {
    let cells = said.lines().filter_map(|line| line.strip_prefix('│')?.strip_suffix('│'));
    let row = cells.map(|row| row.split('┆').map(str::trim).collect::<Vec<_>>()).find(|cells| cells[0] == name)?;
    Some([1, 5, 6].map(|column: usize| row[column].replace(',', "").parse().expect("a number")))
}

/// Whoever has a directory in its environment.
fn processes_of(directory: &Path) -> Vec<PathBuf> {
    let directory = directory.to_str().expect("text").as_bytes().to_vec();
    let mentions = |process: &PathBuf| {
        fs::read(process.join("environ"))
            .is_ok_and(|environment| environment.windows(directory.len()).any(|part| part == directory))
    };
    fs::read_dir("/proc").expect("Linux").flatten().map(|entry| entry.path()).filter(mentions).collect()
}

#[test]
fn the_same_sources_run_natively_and_under_wine_and_nothing_is_left() {
    let tools = ["wine", "wineserver", "x86_64-w64-mingw32-gcc"];
    if !tools.into_iter().all(|tool| has(tool).is_some()) {
        return;
    }
    let said = demo(&Bench::new("demo"), |_| ());
    for name in [NATIVE, UNDER_WINE].concat() {
        let numbers = numbers(&said, name).unwrap_or_else(|| panic!("no row of {name}:\n{said}"));
        assert!(numbers.iter().all(|number| *number > 0), "{name}: {numbers:?}");
    }
}

#[test]
fn without_wine_the_demo_says_what_is_missing_and_shows_the_rest() {
    let bench = Bench::new("demo");
    // As much as compiles a program.
    let tools = bench.path("bin");
    fs::create_dir(&tools).expect("a directory");
    let path = std::env::var_os("PATH").expect("there is one");
    for tool in ["cc", "as", "ld"] {
        let found = std::env::split_paths(&path).map(|directory| directory.join(tool)).find(|path| path.is_file());
        symlink(found.expect("a compiler"), tools.join(tool)).expect("a link");
    }
    let said = demo(&bench, |command| {
        command.env("PATH", &tools).env_remove("CC");
    });
    assert!(NATIVE.iter().all(|name| numbers(&said, name).is_some()), "{said}");
    assert!(UNDER_WINE.iter().all(|name| numbers(&said, name).is_none()), "{said}");
    let line = "were left out: not on the PATH: wine, wineserver, x86_64-w64-mingw32-gcc.";
    assert!(said.lines().any(|said| said.ends_with(line)), "{said}");
}
