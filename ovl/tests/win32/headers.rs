//! The headers have Windows' values: they are compared with mingw-w64's, name by name, by the compilers themselves. A program of ours says
//! what each name is here; a source full of assertions asks the other compiler whether it is so there.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use crate::bench::{Bench, output_of, sources};

/// Structures, and the fields that programs use. Both are compared: size, alignment and offsets.
const LAYOUTS: &[(&str, &[&str])] = &[
    ("OVERLAPPED", &["Internal", "InternalHigh", "Offset", "OffsetHigh", "Pointer", "hEvent"]),
    ("WSAOVERLAPPED", &["Internal", "InternalHigh", "Offset", "hEvent"]),
    ("OVERLAPPED_ENTRY", &["lpCompletionKey", "lpOverlapped", "Internal", "dwNumberOfBytesTransferred"]),
    ("WSABUF", &["len", "buf"]),
    (
        "WSADATA",
        &["wVersion", "wHighVersion", "iMaxSockets", "iMaxUdpDg", "lpVendorInfo", "szDescription", "szSystemStatus"],
    ),
    ("SOCKADDR", &["sa_family", "sa_data"]),
    ("SOCKADDR_IN", &["sin_family", "sin_port", "sin_addr", "sin_zero"]),
    ("SOCKADDR_IN6", &["sin6_family", "sin6_port", "sin6_flowinfo", "sin6_addr", "sin6_scope_id"]),
    ("SOCKADDR_STORAGE", &["ss_family"]),
    ("SOCKET_ADDRESS", &["lpSockaddr", "iSockaddrLength"]),
    ("IN_ADDR", &["S_un.S_addr", "S_un.S_un_b.s_b2"]),
    ("IN6_ADDR", &["u.Byte", "u.Word"]),
    ("LINGER", &["l_onoff", "l_linger"]),
    ("TIMEVAL", &["tv_sec", "tv_usec"]),
    ("FD_SET", &["fd_count", "fd_array"]),
    ("HOSTENT", &["h_name", "h_aliases", "h_addrtype", "h_length", "h_addr_list"]),
    (
        "ADDRINFOA",
        &["ai_flags", "ai_family", "ai_socktype", "ai_protocol", "ai_addrlen", "ai_canonname", "ai_addr", "ai_next"],
    ),
    ("WSAPOLLFD", &["fd", "events", "revents"]),
    ("WSANETWORKEVENTS", &["lNetworkEvents", "iErrorCode"]),
    (
        "WSAPROTOCOL_INFOA",
        &["dwProviderFlags", "ProviderId", "ProtocolChain", "iAddressFamily", "iProtocol", "szProtocol"],
    ),
    ("WSAMSG", &["name", "namelen", "lpBuffers", "dwBufferCount", "Control", "dwFlags"]),
    ("TRANSMIT_FILE_BUFFERS", &["Head", "HeadLength", "Tail", "TailLength"]),
    ("TRANSMIT_PACKETS_ELEMENT", &["dwElFlags", "cLength", "nFileOffset", "hFile", "pBuffer"]),
    ("GUID", &["Data1", "Data2", "Data3", "Data4"]),
    ("LARGE_INTEGER", &["LowPart", "HighPart", "QuadPart", "u.HighPart"]),
    ("ULARGE_INTEGER", &["LowPart", "HighPart", "QuadPart"]),
    ("FILETIME", &["dwLowDateTime", "dwHighDateTime"]),
    ("SYSTEMTIME", &["wYear", "wMonth", "wDayOfWeek", "wDay", "wHour", "wMinute", "wSecond", "wMilliseconds"]),
    (
        "SYSTEM_INFO",
        &[
            "dwOemId",
            "dwPageSize",
            "lpMinimumApplicationAddress",
            "dwActiveProcessorMask",
            "dwNumberOfProcessors",
            "wProcessorRevision",
        ],
    ),
    ("SECURITY_ATTRIBUTES", &["nLength", "lpSecurityDescriptor", "bInheritHandle"]),
    ("CRITICAL_SECTION", &["LockCount", "RecursionCount", "OwningThread", "SpinCount"]),
    ("SRWLOCK", &[]),
    ("CONDITION_VARIABLE", &[]),
    ("INIT_ONCE", &[]),
    ("SLIST_HEADER", &[]),
    ("SLIST_ENTRY", &["Next"]),
    ("LIST_ENTRY", &["Flink", "Blink"]),
    ("COORD", &["X", "Y"]),
];

/// Types whose size is part of what programs rely on.
const TYPES: &[&str] = &[
    "BOOL",
    "BYTE",
    "BOOLEAN",
    "CHAR",
    "WORD",
    "SHORT",
    "USHORT",
    "INT",
    "UINT",
    "LONG",
    "ULONG",
    "DWORD",
    "LONGLONG",
    "ULONGLONG",
    "DWORD64",
    "LONG_PTR",
    "ULONG_PTR",
    "DWORD_PTR",
    "SIZE_T",
    "SSIZE_T",
    "HANDLE",
    "SOCKET",
    "LPVOID",
    "LPSTR",
    "HRESULT",
    "u_char",
    "u_short",
    "u_int",
    "u_long",
    "WSAEVENT",
    "GROUP",
    "WPARAM",
    "LPARAM",
    "__int64",
    "__int32",
    "__int16",
    "__int8",
    "LPOVERLAPPED_COMPLETION_ROUTINE",
];

/// Words that are no numbers.
const NO_NUMBERS: &[&str] = &[
    "WINAPI",
    "APIENTRY",
    "CALLBACK",
    "WINAPIV",
    "WSAAPI",
    "PASCAL",
    "NTAPI",
    "FAR",
    "NEAR",
    "CONST",
    "VOID",
    "IN",
    "OUT",
    "OPTIONAL",
    "UNALIGNED",
    "CDECL",
    "FORCEINLINE",
    "REFGUID",
    "REFIID",
    "EXTERN_C",
    "OVERLAPPED_H",
];

/// Names of numbers that the headers define, with what they are told apart by: whether the definition is a pointer.
fn constants() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let headers = sources().join("../../include/ovl");
    for header in ["base.h", "codes.h", "kernel.h", "socket.h", "crt.h", "elsewhere.h"] {
        let text = fs::read_to_string(headers.join(header)).expect("a header of ours");
        for line in text.lines() {
            let Some((name, value)) = line.strip_prefix("#define ").and_then(|rest| rest.split_once(' ')) else {
                continue;
            };
            let is_upper = name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
                && !name.starts_with('_');
            let is_pointer = ["(HANDLE)", "(HKEY)", "(WSAEVENT)", "(SOCKET)"].iter().any(|cast| value.contains(cast));
            let is_text = value.contains('{')
                || value.contains('"')
                || value.contains("__")
                || value.ends_with('\\')
                || value.contains("OVL_");
            // What the C library has as its own, and Windows' programs meet nowhere else.
            let is_crt = header == "crt.h" && !name.starts_with("STRSAFE");
            if is_upper
                && !is_pointer
                && !is_text
                && !is_crt
                && !name.starts_with("OVL_")
                && !NO_NUMBERS.contains(&name)
            {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

const INCLUDES: &str = "#include <winsock2.h>\n#include <ws2tcpip.h>\n#include <mswsock.h>\n#include <mstcpip.h>\n#include <windows.h>\n\
                        #include <strsafe.h>\n#include <mmsystem.h>\n#include <stdio.h>\n#include <stddef.h>\n";

#[test]
fn constants_sizes_and_offsets_are_those_of_mingw_w64() {
    let bench = Bench::new("headers");
    let Some(mingw) = bench.mingw() else { return };

    // What they are here.
    let names = constants();
    assert!(names.len() > 500, "only {} constants were found in the headers", names.len());
    let mut program = format!("{INCLUDES}int main(void)\n{{\n");
    for name in &names {
        writeln!(program, "printf(\"#ifdef {name}\\n_Static_assert((unsigned)({name}) == %uu, \\\"{name}\\\");\\n#else\\n#warning {name}\\n#endif\\n\", (unsigned)({name}));").expect("a string");
    }
    let mut exact = |what: String, of: String| {
        writeln!(program, "printf(\"_Static_assert({what} == %u, \\\"{of}\\\");\\n\", (unsigned){what});")
            .expect("a string");
    };
    for name in TYPES {
        exact(format!("sizeof({name})"), format!("size of {name}"));
    }
    for (name, fields) in LAYOUTS {
        exact(format!("sizeof({name})"), format!("size of {name}"));
        exact(format!("_Alignof({name})"), format!("alignment of {name}"));
        for field in *fields {
            exact(format!("offsetof({name}, {field})"), format!("{name}.{field}"));
        }
    }
    program.push_str("return 0;\n}\n");
    let source = bench.write("here.c", &program);
    let here = bench.compile("cc", &[&source], &["-Wall"]);
    let assertions = output_of(&mut std::process::Command::new(here));

    // Whether they are so there.
    let source = bench.write("there.c", &format!("{INCLUDES}{assertions}"));
    let checked = std::process::Command::new(mingw)
        .arg("-D_WIN32_WINNT=0x0A00")
        .arg("-fsyntax-only")
        .arg(source)
        .output()
        .expect("mingw-w64's compiler");
    let said = String::from_utf8_lossy(&checked.stderr);
    let missing = said.matches("#warning").count();
    println!(
        "{} constants compared, {missing} that mingw-w64 has not; {} types",
        names.len() - missing,
        TYPES.len() + LAYOUTS.len()
    );
    let wrong: Vec<&str> = said.lines().filter(|line| line.contains("error:")).collect();
    assert!(checked.status.success(), "{}", wrong.join("\n"));
    assert!(missing < 20, "too many are not compared:\n{said}");
}

/// What a header promises the library has: a program that names every function links.
#[test]
fn every_declared_function_is_there() {
    let mut functions = BTreeSet::new();
    for header in ["kernel.h", "socket.h", "crt.h"] {
        let text = fs::read_to_string(sources().join("../../include/ovl").join(header)).expect("a header of ours");
        for rest in text.split("OVL_FN(").skip(1) {
            let name = rest
                .split([',', '\n'])
                .map(str::trim)
                .filter(|word| !word.is_empty())
                .nth(1)
                .expect("a result and a name");
            functions.insert(name.to_owned());
        }
    }
    println!("{} functions", functions.len());
    assert!(functions.len() > 300, "only {} functions were found in the headers", functions.len());
    let names: Vec<String> = functions.iter().map(|name| format!("(void *){name}")).collect();
    let text = format!(
        "#include <windows.h>\nvoid *all[] = {{\n{}\n}};\nint main(void) {{ return all[0] == NULL; }}\n",
        names.join(",\n")
    );
    let bench = Bench::new("declared");
    output_of(&mut std::process::Command::new(bench.compile("cc", &[&bench.write("all.c", &text)], &[])));
}
