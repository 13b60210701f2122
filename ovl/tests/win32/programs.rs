//! Whole programs of the kinds that were written for Windows: servers are put under verified load, others run to their end.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::bench::{Bench, OVL, Server, has, output_of, run, sources};

fn source(name: &str) -> PathBuf {
    sources().join(name)
}

/// Compiles a server and drives it: each byte of each connection has to come back.
fn echoes(wrapper: &str, name: &str, connections: u32) {
    let bench = Bench::new("echo");
    let mut server = Server::start(&bench.compile(wrapper, &[&source(name)], &[]));
    load(&server, connections, "64", "1");
    load(&server, 3, "100K", "2");
    assert!(server.is_running());
}

fn load(server: &Server, connections: u32, size: &str, pipeline: &str) {
    let mut command = Command::new(OVL);
    command.arg("load").arg(format!("127.0.0.1:{}", server.port));
    command.args(["-c", &connections.to_string(), "-s", size, "-p", pipeline, "-n", "500", "--timeout", "20s"]);
    let said = output_of(&mut command);
    assert!(said.contains("OK: every byte came back right"), "{said}");
}

#[test]
fn an_iocp_server_that_accepts_in_main() {
    echoes("cc", "IOCPEchoServ.c", 64);
}

#[test]
fn an_iocp_server_as_cxx() {
    echoes("c++", "IOCPEchoServ.c", 64);
}

#[test]
fn a_completion_routine_server() {
    echoes("cc", "CmplRouEchoServ.c", 64);
}

#[test]
fn an_event_select_server() {
    echoes("cc", "EventSelectEchoServ.c", 50);
}

#[test]
fn an_overlapped_event_server() {
    echoes("cc", "OverlappedEventEchoServ.c", 50);
}

#[test]
fn an_accept_ex_server_in_cxx_with_a_void_main() {
    echoes("c++", "AcceptExServer.cpp", 64);
}

#[test]
fn a_thread_pool_server() {
    echoes("cc", "BindIoEchoServ.c", 64);
}

#[test]
fn a_select_server() {
    echoes("cc", "SelectEchoServ.c", 40);
}

#[test]
fn the_client_finds_its_bytes_again() {
    let bench = Bench::new("client");
    let server = Server::start(&bench.compile("cc", &[&source("CmplRouEchoServ.c")], &[]));
    let client = bench.compile("cc", &[&source("echo_client.c")], &[]);
    let mut child = Command::new(client)
        .args(["127.0.0.1", &server.port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the client starts");
    child.stdin.take().expect("piped").write_all(b"Hello\nWorld\nq\n").expect("it reads");
    let output = child.wait_with_output().expect("a child of ours");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.matches("Message from server").count() == 2, "{said}");
}

#[test]
fn a_udp_server_answers_each_datagram() {
    let bench = Bench::new("udp");
    let program = bench.compile("cc", &[&source("UdpEchoServ.c")], &[]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let mut child =
        Command::new(program).arg(port.to_string()).stdout(Stdio::null()).spawn().expect("the server starts");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a time limit");
    let mut answered = 0;
    let mut buffer = [0; 2048];
    for number in 0..200_u32 {
        let message = [number.to_le_bytes().as_slice(), &[number as u8; 500]].concat();
        let _ = socket.send_to(&message, ("127.0.0.1", port)); // before the server is there it is refused
        if let Ok((length, _)) = socket.recv_from(&mut buffer) {
            assert_eq!(&buffer[..length], message);
            answered += 1;
        }
        if answered == 50 {
            break;
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(answered, 50);
}

#[test]
fn a_chat_server_tells_everybody() {
    let bench = Bench::new("chat");
    let server = Server::start(&bench.compile("c++", &[&source("ChatServ.cpp")], &[]));
    let mut clients: Vec<TcpStream> =
        (0..5).map(|_| TcpStream::connect(("127.0.0.1", server.port)).expect("it listens")).collect();
    let mut line = [0; 6];
    for client in &mut clients {
        client.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
        // Its own words come back when it is known to the server.
        client.write_all(b"hello\n").expect("it reads");
    }
    for client in &mut clients {
        client.read_exact(&mut line).expect("an answer");
        assert_eq!(&line, b"hello\n");
    }
}

#[test]
fn files_are_copied_whole() {
    let bench = Bench::new("copy");
    let content: Vec<u8> = (0..1_000_003_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(bench.path("from"), &content).expect("a file of ours");
    for name in ["CopyEx.c", "CopyPort.c"] {
        let program = bench.compile("cc", &[&source(name)], &[]);
        output_of(Command::new(program).args([bench.path("from"), bench.path("to")]));
        assert!(std::fs::read(bench.path("to")).expect("the copy") == content, "{name}");
        std::fs::remove_file(bench.path("to")).expect("the copy");
    }
}

#[test]
fn programs_that_test_themselves() {
    let bench = Bench::new("self");
    for (wrapper, name) in [("cc", "SendRecv.c"), ("cc", "PoolStop.c"), ("c++", "Idioms.cpp"), ("cc", "Crt.c")] {
        let said = output_of(&mut Command::new(bench.compile(wrapper, &[&source(name)], &[])));
        assert!(said.contains("OK"), "{name}:\n{said}");
    }
}

#[test]
fn ctrl_c_is_told_to_the_program() {
    let bench = Bench::new("ctrl");
    let program = bench.compile("cc", &[&source("CtrlHandler.c")], &[]);
    let said =
        output_of(Command::new("sh").arg("-c").arg(format!("{} & sleep 1; kill -INT $!; wait $!", program.display())));
    assert!(said.contains("stopped in order"), "{said}");
}

/// Tests by statement, in C: one program for each topic.
#[test]
fn every_test_program_passes() {
    let bench = Bench::new("tests");
    let mut skipped = 0;
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(sources()).expect("the programs").flatten().map(|entry| entry.path()).collect();
    names.sort();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "c") && is_a_test(path));
    assert!(names.len() >= 3, "the tests have gone");
    for path in names {
        let (program, output) = bench.try_compile("cc", None, &[&path], &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (output, in_time) = run(Command::new(&program).current_dir(bench.path("")), Duration::from_secs(120));
        let said = String::from_utf8_lossy(&output.stdout);
        print!("{}", said);
        assert!(in_time && output.status.success(), "{}: {}\n{said}", path.display(), output.status);
        skipped += said.lines().filter(|line| line.starts_with("skipped")).count();
    }
    println!("{skipped} skipped");
}

fn is_a_test(path: &std::path::Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.contains("\"check.h\""))
}

/// All programs, with every compiler there is: also those that run elsewhere only once.
#[test]
fn every_compiler_takes_every_program() {
    let bench = Bench::new("compilers");
    let mut compiled = 0;
    for entry in std::fs::read_dir(sources()).expect("the programs").flatten() {
        let path = entry.path();
        let wrappers: &[(&str, &str)] = match path.extension().and_then(|extension| extension.to_str()) {
            Some("c") => &[("cc", "gcc"), ("cc", "clang")],
            Some("cpp") => &[("c++", "g++"), ("c++", "clang++")],
            _ => continue,
        };
        for &(wrapper, compiler) in wrappers {
            if has(compiler).is_none() {
                continue;
            }
            let (_, output) = bench.try_compile(wrapper, Some(compiler), &[&path], &["-Wall", "-c"]);
            assert!(
                output.status.success(),
                "{compiler} {}:\n{}",
                path.display(),
                String::from_utf8_lossy(&output.stderr)
            );
            compiled += 1;
        }
    }
    assert!(compiled > 10, "{compiled} were compiled");
}

/// They are what they claim to be: Windows' own headers take them, too.
#[test]
fn the_same_sources_compile_for_windows() {
    let bench = Bench::new("windows");
    // mingw-w64 has its headers in lower case only, and so do we look for them.
    for entry in std::fs::read_dir(sources()).expect("the programs").flatten() {
        let path = entry.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let compiler = match extension {
            Some("c") => "x86_64-w64-mingw32-gcc",
            Some("cpp") => "x86_64-w64-mingw32-g++",
            _ => continue,
        };
        if has(compiler).is_none() {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source");
        if text.contains("void main") && extension == Some("cpp") {
            continue; // Microsoft's compiler alone takes that
        }
        if text.contains("__try") {
            continue; // as above: GCC has no structured exceptions
        }
        let lower: String = text
            .lines()
            .map(|line| if line.starts_with("#include") { line.to_lowercase() + "\n" } else { format!("{line}\n") })
            .collect();
        let copy = bench.write(path.file_name().and_then(|name| name.to_str()).expect("a name"), &lower);
        let output = Command::new(compiler)
            .args(["-D_WIN32_WINNT=0x0A00", "-DSTRSAFE_NO_DEPRECATE", "-fsyntax-only", "-fpermissive", "-w"])
            .arg("-I")
            .arg(sources())
            .arg(copy)
            .output()
            .expect("the compiler");
        assert!(output.status.success(), "{}:\n{}", path.display(), String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn what_is_not_there_is_named() {
    let bench = Bench::new("missing");
    for (call, name) in [
        ("WSAAsyncSelect(0, NULL, WM_USER, FD_READ)", "WSAAsyncSelect"),
        ("MessageBox(NULL, TEXT(\"x\"), TEXT(\"y\"), MB_OK)", "MessageBoxA"),
        ("RegCloseKey(HKEY_LOCAL_MACHINE)", "RegCloseKey"),
    ] {
        let source =
            bench.write("missing.c", &format!("#include <windows.h>\nint main(void) {{ return (int){call}; }}\n"));
        for wrapper in ["cc", "c++"] {
            let (_, output) = bench.try_compile(wrapper, None, &[&source], &[]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains(&format!("{name} is not available")), "{said}");
        }
    }
}

#[test]
fn names_of_headers_are_found_in_every_spelling() {
    let bench = Bench::new("spelling");
    bench.write("Common/Tools.h", "#pragma once\n#include <WINSOCK2.H>\n#define TOOLS 7\n");
    bench.write("other.c", "#include \"common\\tools.h\"\nint other(void) { return TOOLS; }\n");
    let source = bench.write(
        "main.c",
        "#include \"StdAfx.h\"\n#include <Windows.h>\n#include <WS2tcpip.h>\n#include <MSWSock.h>\n#include \"COMMON/tools.H\"\n#include <Tchar.h>\n\
         extern int other(void);\nint _tmain(int argc, TCHAR *argv[]) { return other() == TOOLS ? 0 : 1; }\n",
    );
    let object = bench.path("other.o");
    let status = Command::new(OVL)
        .args(["cc", "-c"])
        .arg(bench.path("other.c"))
        .arg("-o")
        .arg(&object)
        .status()
        .expect("ovl runs");
    assert!(status.success());
    // A source and an object; then all in one; then statically.
    for (inputs, flags) in
        [(vec![&source, &object], vec![]), (vec![&source, &bench.path("other.c")], vec!["-O2", "-static", "-lws2_32"])]
    {
        let inputs: Vec<_> = inputs.into_iter().map(PathBuf::as_path).collect();
        output_of(&mut Command::new(bench.compile("cc", &inputs, &flags)));
    }
}

/// `wmain`, and `_tmain` with _UNICODE, in every form, by both compilers.
#[test]
fn a_program_that_begins_with_wide_arguments() {
    let bench = Bench::new("wide");
    let tmain = "#include <windows.h>\n#include <tchar.h>\nint _tmain(int argc, TCHAR *argv[])\n{\n\
                 TCHAR text[16];\n_tcscpy(text, argv[1]);\n_tprintf(_T(\"%d %s %d\\n\"), argc, text, (int)_tcslen(text));\nreturn 0;\n}\n";
    let wmain = "#include <stdio.h>\nint wmain(int argc, wchar_t **argv, wchar_t **envp)\n{\n\
                 wprintf(L\"%d %ls %d\\n\", argc, argv[1], envp[0] ? (int)wcslen(argv[1]) : 0);\nreturn 0;\n}\n";
    let void = "#define UNICODE\n#define _UNICODE\n#include <windows.h>\n#include <tchar.h>\nvoid _tmain(int argc, TCHAR *argv[])\n{\n\
                _tprintf(_T(\"%d %s 5\\n\"), argc, argv[1]);\nExitProcess(0);\n}\n";
    for (name, text, flags) in
        [("tmain", tmain, ["-DUNICODE", "-D_UNICODE"].as_slice()), ("wmain", wmain, &[]), ("void", void, &[])]
    {
        for (wrapper, extension, compilers) in [("cc", "c", ["gcc", "clang"]), ("c++", "cpp", ["g++", "clang++"])] {
            let source = bench.write(&format!("{name}.{extension}"), text);
            for compiler in compilers {
                if has(compiler).is_none() {
                    continue;
                }
                let (program, output) = bench.try_compile(wrapper, Some(compiler), &[&source], flags);
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success() && said.is_empty(), "{name} {compiler}:\n{said}");
                assert_eq!(output_of(Command::new(program).arg("grüße")), "2 grüße 5\n", "{name} {compiler}");
            }
        }
    }
}

#[test]
fn a_program_runs_with_the_shared_library() {
    let bench = Bench::new("shared");
    let mut server = Server::start(&bench.compile("cc", &[&source("IOCPEchoServ.c")], &["--ovl-shared"]));
    load(&server, 8, "64", "1");
    assert!(server.is_running());
}

/// What `install.sh` puts somewhere is enough: for `ovl` there, and for a plain compiler that pkg-config tells what it needs.
#[test]
fn what_is_installed_serves_without_the_build_tree() {
    let bench = Bench::new("install");
    let prefix = bench.path("prefix");
    let libraries = PathBuf::from(OVL).with_file_name("deps");
    output_of(Command::new(sources().join("../../install.sh")).arg(&prefix).arg(libraries));

    let examples = prefix.join("share/doc/overlapped-win32/examples");
    let program = bench.path("by-ovl");
    let mut ovl = Command::new(prefix.join("bin/ovl"));
    output_of(ovl.args(["cc", "-v"]).arg(examples.join("IOCPEchoServ.c")).arg("-o").arg(&program).env("CC", "cc"));
    load(&Server::start(&program), 4, "64", "1");

    if has("pkg-config").is_none() {
        return;
    }
    let program = bench.path("by-pkg-config");
    let line = "cc $1 -o $2 $(pkg-config --cflags --libs overlapped-win32) -Wl,-rpath,$(pkg-config --variable=libdir overlapped-win32)";
    let mut shell = Command::new("sh");
    shell.args(["-c", line, "sh"]).arg(examples.join("CmplRouEchoServ.c")).arg(&program);
    output_of(shell.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")));
    load(&Server::start(&program), 4, "64", "1");
}
