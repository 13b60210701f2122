//! `ovl doctor`, and all of the program where io_uring is refused.

use std::process::Command;
use std::thread;

use predicates::prelude::*;
use predicates::str::contains;
use rustix::io::Errno;
use serde_json::Value;

use crate::refusal::refuse_io_uring;
use crate::support::{OVL, Server, echo, ovl};

/// Runs something on a thread that is refused io_uring, as are the processes that it starts.
fn refused<R: Send + 'static>(errno: Errno, run: impl FnOnce() -> R + Send + 'static) -> R {
    let thread = thread::spawn(move || {
        refuse_io_uring(errno.raw_os_error() as u32).expect("a filter may be set");
        run()
    });
    thread.join().expect("as the test wants it")
}

/// What `ovl doctor --json` says, and its exit code.
fn diagnosis(engine: Option<&str>) -> (Value, Option<i32>) {
    let mut command = Command::new(OVL);
    command.args(["doctor", "--json"]).env_remove("OVERLAPPED_ENGINE");
    if let Some(engine) = engine {
        command.env("OVERLAPPED_ENGINE", engine);
    }
    let output = command.output().expect("ovl starts");
    (serde_json::from_slice(&output.stdout).expect("JSON"), output.status.code())
}

fn lines(diagnosis: &Value) -> String {
    let findings = diagnosis["findings"].as_array().expect("an array");
    findings
        .iter()
        .flat_map(|finding| finding["cures"].as_array().expect("an array"))
        .map(|cure| cure.to_string())
        .collect()
}

#[test]
fn the_doctor_says_what_operations_run_on_and_what_the_system_allows() {
    let (diagnosis, code) = diagnosis(None);
    assert_eq!(code, Some(0));
    assert_eq!(diagnosis["schema"], "overlapped.doctor/1");
    assert_eq!(diagnosis["engine"], "io_uring");
    assert_eq!(diagnosis["io_uring"]["obstacle"], Value::Null);
    let features = diagnosis["io_uring"]["features"].as_array().expect("an array");
    assert!(features.iter().all(|feature| feature["needed"] == false || feature["present"] == true));
    assert!(features.iter().any(|feature| feature["name"] == "accept"));
    let limits = &diagnosis["limits"];
    let [first, last] = [0, 1].map(|at| limits["ephemeral_ports"][at].as_u64().expect("a port"));
    assert!(first < last);
    ovl(["doctor"]).assert().success().stdout(contains("io_uring").and(contains("ephemeral ports")));
}

#[test]
fn each_way_of_refusing_io_uring_is_told_apart_and_has_its_cure() {
    for (errno, obstacle, cure) in [
        (Errno::PERM, "a sandbox forbids", "--security-opt seccomp="),
        (Errno::NOSYS, "has no io_uring", "CONFIG_IO_URING"),
        (Errno::ACCESS, "security module", "audit2allow"),
        (Errno::NOMEM, "locked memory", "ulimit -l"),
    ] {
        let (diagnosis, code) = refused(errno, || diagnosis(None));
        assert_eq!((&diagnosis["engine"], code), (&Value::from("readiness"), Some(0)), "{errno:?}");
        let said = diagnosis["io_uring"]["obstacle"].as_str().expect("text");
        assert!(said.contains(obstacle), "{errno:?}: {said}");
        assert!(lines(&diagnosis).contains(cure), "{errno:?}: {}", lines(&diagnosis));
    }
}

/// The same in a mount namespace of its own, where the sysctl reads `value`; the kernel's own stays as it is, and so the filter has to do the
/// refusing. `None`: such a namespace is not to be had here.
fn diagnosis_with_sysctl(value: &'static str) -> Option<(Value, Option<i32>)> {
    const SCRIPT: &str = r#"mount --bind "$1" /proc/sys/kernel/io_uring_disabled || exit 99; exec "$2" doctor --json"#;
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(&file, value).expect("room for a digit");
    // As root a namespace of mounts is enough; anybody else needs one of users around it.
    let ways: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];
    refused(Errno::PERM, move || {
        ways.iter().find_map(|way| {
            let mut command = Command::new("unshare");
            command
                .args(*way)
                .args(["sh", "-c", SCRIPT, "sh"])
                .arg(file.path())
                .arg(OVL)
                .env_remove("OVERLAPPED_ENGINE");
            let output = command.output().ok()?;
            Some((serde_json::from_slice(&output.stdout).ok()?, output.status.code()))
        })
    })
}

#[test]
fn a_sysctl_that_switches_io_uring_off_is_told_apart_from_a_sandbox() {
    for (value, obstacle, cure) in [
        ("1\n", "io_uring_disabled is 1: only privileged processes", "kernel.io_uring_disabled=0"),
        ("2\n", "io_uring_disabled is 2: nobody may", "kernel.io_uring_disabled=0"),
        ("0\n", "a sandbox forbids", "--security-opt seccomp="),
    ] {
        let Some((diagnosis, code)) = diagnosis_with_sysctl(value) else {
            println!("SKIPPED: no mount namespace is to be had here, or this kernel has no such sysctl");
            return;
        };
        assert_eq!((&diagnosis["engine"], code), (&Value::from("readiness"), Some(0)), "{value}");
        let said = diagnosis["io_uring"]["obstacle"].as_str().expect("text");
        assert!(said.contains(obstacle), "{value}: {said}");
        assert!(lines(&diagnosis).contains(cure), "{value}: {}", lines(&diagnosis));
    }
}

#[test]
fn what_was_asked_for_and_is_not_to_be_had_is_an_error_that_says_why() {
    let (forced, code) = refused(Errno::PERM, || diagnosis(Some("uring")));
    assert_eq!((&forced["engine"], code), (&Value::Null, Some(1)));
    assert!(forced["error"].as_str().expect("text").contains("io_uring is forbidden here"), "{forced}");
    let output = refused(Errno::PERM, || {
        let mut serve = Command::new(OVL);
        serve
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env("OVERLAPPED_ENGINE", "io_uring")
            .output()
            .expect("ovl starts")
    });
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(err.contains("io_uring is forbidden here") && err.contains("ovl doctor"), "{err}");

    let (wrong, code) = diagnosis(Some("kqueue"));
    assert_eq!((&wrong["engine"], code), (&Value::Null, Some(1)));
    assert!(wrong["error"].as_str().expect("text").contains("OVERLAPPED_ENGINE names no engine"), "{wrong}");
    let (asked, code) = diagnosis(Some("readiness"));
    assert_eq!((&asked["engine"], &asked["forced"], code), (&Value::from("readiness"), &Value::from(true), Some(0)));
}

#[test]
fn where_io_uring_is_refused_each_model_serves_on_readiness() {
    for errno in [Errno::PERM, Errno::NOSYS] {
        refused(errno, || {
            for model in ["port", "routine", "event", "async"] {
                let server = Server::start(&["--model", model]);
                assert!(server.ready[0].contains("engine readiness"), "{:?}", server.ready);
                echo(&mut server.connect(), b"hello");
                let address = server.address();
                let load = ["load", &address, "--messages", "2000", "--connections", "8"];
                ovl(load).assert().success().stdout(contains("came back right"));
                server.stop();
            }
        });
    }
}

#[test]
fn where_io_uring_is_refused_the_demo_shows_all_models_on_readiness() {
    refused(Errno::PERM, || {
        let demo = ["demo", "--duration", "200ms", "--connections", "4"];
        ovl(demo).assert().success().stdout(contains("readiness").and(contains("came back right")));
    });
}
