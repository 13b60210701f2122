//! What programs of the kind this is for call: each name is there, in C and in C++, with and without UNICODE, and links.

use std::fmt::Write as _;
use std::process::Command;

use crate::bench::{Bench, OVL, has, output_of, sources};

/// Functions, and macros that stand for a function's name. `*` stands for nothing, `A` and `W`.
const FUNCTIONS: &[(&str, &str)] = &[
    (
        "Winsock",
        "WSAStartup WSACleanup WSAGetLastError WSASetLastError closesocket bind htons htonl ntohs ntohl listen accept WSAAccept connect \
         WSAConnect socket WSASocket* WSADuplicateSocket* WSARecv WSASend WSARecvFrom WSASendTo WSASendMsg send recv sendto recvfrom \
         shutdown getsockopt setsockopt getsockname getpeername WSAIoctl WSACreateEvent WSACloseEvent WSASetEvent WSAResetEvent \
         WSAWaitForMultipleEvents WSAGetOverlappedResult WSAEventSelect WSAEnumNetworkEvents WSAPoll select AcceptEx \
         GetAcceptExSockaddrs TransmitFile inet_addr inet_ntoa inet_pton inet_ntop InetPtonW InetNtopW InetPton InetNtop \
         WSAAddressToString* WSAStringToAddress* getaddrinfo freeaddrinfo getnameinfo GetAddrInfoW FreeAddrInfoW GetNameInfoW GetAddrInfo \
         FreeAddrInfo GetNameInfo gethostname gethostbyname gethostbyaddr getservbyname getservbyport getprotobyname",
    ),
    (
        "completion and waiting",
        "CloseHandle DuplicateHandle CreateIoCompletionPort GetQueuedCompletionStatus GetQueuedCompletionStatusEx PostQueuedCompletionStatus \
         SetFileCompletionNotificationModes Sleep SleepEx WaitForSingleObject WaitForSingleObjectEx WaitForMultipleObjects \
         WaitForMultipleObjectsEx SignalObjectAndWait CreateEvent* OpenEvent* SetEvent ResetEvent PulseEvent CreateMutex* OpenMutex* \
         ReleaseMutex CreateSemaphore* OpenSemaphore* ReleaseSemaphore QueueUserAPC GetOverlappedResult GetOverlappedResultEx CancelIo \
         CancelIoEx CancelSynchronousIo BindIoCompletionCallback QueueUserWorkItem RegisterWaitForSingleObject UnregisterWait \
         UnregisterWaitEx CreateThreadpoolIo StartThreadpoolIo CancelThreadpoolIo WaitForThreadpoolIoCallbacks CloseThreadpoolIo \
         CreateThreadpoolWork SubmitThreadpoolWork WaitForThreadpoolWorkCallbacks CloseThreadpoolWork TrySubmitThreadpoolCallback",
    ),
    (
        "threads and the rest",
        "CreateThread _beginthreadex _beginthread _endthreadex _endthread ExitThread GetExitCodeThread GetCurrentThread GetCurrentThreadId \
         GetThreadId OpenThread ResumeThread TerminateThread SetThreadPriority GetThreadPriority SwitchToThread GetCurrentProcess \
         GetCurrentProcessId ExitProcess TlsAlloc TlsGetValue TlsSetValue TlsFree GetSystemInfo GetNativeSystemInfo GetLastError SetLastError \
         InitializeCriticalSection InitializeCriticalSectionAndSpinCount InitializeCriticalSectionEx SetCriticalSectionSpinCount \
         EnterCriticalSection TryEnterCriticalSection LeaveCriticalSection DeleteCriticalSection InitializeSRWLock AcquireSRWLockExclusive \
         AcquireSRWLockShared ReleaseSRWLockExclusive ReleaseSRWLockShared TryAcquireSRWLockExclusive TryAcquireSRWLockShared \
         InitializeConditionVariable SleepConditionVariableCS SleepConditionVariableSRW WakeConditionVariable WakeAllConditionVariable \
         InitOnceExecuteOnce SetConsoleCtrlHandler GenerateConsoleCtrlEvent GetTickCount GetTickCount64 QueryPerformanceCounter \
         QueryPerformanceFrequency GetSystemTime GetLocalTime GetSystemTimeAsFileTime FormatMessage* GlobalAlloc GlobalReAlloc GlobalFree \
         GlobalLock GlobalUnlock GlobalSize LocalAlloc LocalReAlloc LocalFree GetProcessHeap HeapCreate HeapDestroy HeapAlloc HeapReAlloc \
         HeapFree HeapSize VirtualAlloc VirtualFree VirtualProtect OutputDebugString* GetModuleFileName* GetCommandLine* \
         GetEnvironmentVariable* SetConsoleTitle* GetStdHandle GetConsoleMode SetConsoleMode GetComputerName*",
    ),
    (
        "files",
        "CreateFile* ReadFile WriteFile ReadFileEx WriteFileEx GetFileSize GetFileSizeEx GetFileType SetFilePointer SetFilePointerEx \
         SetEndOfFile FlushFileBuffers DeleteFile* GetTempPath* GetTempFileName* GetFileAttributes* CreateDirectory* RemoveDirectory* \
         MoveFile* CopyFile* GetCurrentDirectory* SetCurrentDirectory* CreateNamedPipe* ConnectNamedPipe DisconnectNamedPipe WaitNamedPipe* \
         CallNamedPipe* TransactNamedPipe PeekNamedPipe SetNamedPipeHandleState GetNamedPipeHandleState* GetNamedPipeInfo CreatePipe lstrlen* lstrcpy* lstrcat* \
         lstrcmp* lstrcmpi* lstrcpyn* wsprintf*",
    ),
    (
        "text and the C run-time library",
        "_tprintf _tprintf_s _ftprintf _stprintf_s _sntprintf _tscanf _tscanf_s _tcslen _tcscpy _tcscpy_s _tcsncpy _tcsncpy_s _tcscat _tcscat_s \
         _tcscmp _tcsncmp _tcsicmp _tcsnicmp _tcschr _tcsrchr _tcsstr _tcstok_s _tcsdup _ttoi _tstoi _tcstol _tcstoul _itot _itot_s \
         _tfopen _tfopen_s _fgetts _fputts _putts _puttchar _gettchar printf_s fprintf_s sprintf_s vsprintf_s _snprintf _vsnprintf _snprintf_s \
         strcpy_s strncpy_s strcat_s strncat_s strtok_s strerror_s wcscpy_s wcsncpy_s wcscat_s memcpy_s memmove_s scanf_s sscanf_s fscanf_s \
         fopen_s _wfopen_s _wfopen gets_s _stricmp _strnicmp _wcsicmp _wcsnicmp _strdup _wcsdup _itoa _itoa_s _itow _ltoa _ultoa _i64toa _atoi64 \
         localtime_s gmtime_s ctime_s asctime_s getenv_s rand_s _getch _getche _kbhit _putch _cputs _cprintf MultiByteToWideChar \
         WideCharToMultiByte StringCchCopy* StringCchCopyN* StringCchCat* StringCchCatN* StringCchLength* StringCchPrintf* StringCchVPrintf*",
    ),
];

/// What is used otherwise: macros that take arguments, types, inline functions.
const USES: &[&str] = &[
    "OVERLAPPED o = {0}; (void)HasOverlappedIoCompleted(&o)",
    "u_long on = 1; (void)ioctlsocket((SOCKET)4, FIONBIO, &on)",
    "int on = 1; (void)ioctlsocket((SOCKET)4, FIONBIO, (u_long *)&on)",
    "fd_set set; FD_ZERO(&set); FD_SET((SOCKET)4, &set); if (FD_ISSET((SOCKET)4, &set)) FD_CLR((SOCKET)4, &set)",
    "LPFN_CONNECTEX f = NULL; GUID id = WSAID_CONNECTEX; (void)f; (void)id",
    "LPFN_DISCONNECTEX f = NULL; GUID id = WSAID_DISCONNECTEX; (void)f; (void)id",
    "LPFN_ACCEPTEX f = AcceptEx; GUID id = WSAID_ACCEPTEX; (void)f; (void)id",
    "LPFN_TRANSMITFILE f = TransmitFile; GUID id = WSAID_TRANSMITFILE; (void)f; (void)id",
    "LPFN_GETACCEPTEXSOCKADDRS f = GetAcceptExSockaddrs; GUID id = WSAID_GETACCEPTEXSOCKADDRS; (void)f; (void)id",
    "LONG n = 1; InterlockedIncrement(&n); InterlockedDecrement(&n); InterlockedExchange(&n, 2); InterlockedExchangeAdd(&n, 1); \
     InterlockedCompareExchange(&n, 4, 3); InterlockedAnd(&n, 6); InterlockedOr(&n, 1); InterlockedXor(&n, 1)",
    "LONG64 n = 1; InterlockedIncrement64(&n); InterlockedDecrement64(&n); InterlockedExchange64(&n, 2); InterlockedExchangeAdd64(&n, 1); \
     InterlockedCompareExchange64(&n, 4, 3)",
    "PVOID p = NULL; InterlockedExchangePointer(&p, NULL); InterlockedCompareExchangePointer(&p, NULL, NULL)",
    "char b[8], c[8]; ZeroMemory(b, 8); FillMemory(b, 8, 1); CopyMemory(c, b, 8); MoveMemory(c, b, 8); SecureZeroMemory(c, 8); \
     RtlZeroMemory(b, 8)",
    "TCHAR text[] = _T(\"x\"); LPCTSTR other = TEXT(\"y\"); (void)text; (void)other",
    "ADDRINFOW hints; ADDRINFOA narrow; ADDRINFOT either; (void)hints; (void)narrow; (void)either",
    "WSAPROTOCOL_INFOA a; WSAPROTOCOL_INFOW w; WSAPROTOCOL_INFO t; (void)a; (void)w; (void)t",
    "SOCKADDR_IN a = {0}; a.sin_addr.S_un.S_addr = INADDR_ANY; a.sin_addr.s_addr = htonl(INADDR_LOOPBACK); (void)a",
    "int n[3]; (void)n; if (_countof(n) + ARRAYSIZE(n) != 6) return 1",
    "TCHAR text[] = _T(\"a b\"); (void)_tcstok(text, _T(\" \"))",
    "__int64 n = 1; unsigned __int64 m = 2; __int32 i = 3; (void)n; (void)m; (void)i",
];

const INCLUDES: &str = "#include <winsock2.h>\n#include <ws2tcpip.h>\n#include <mswsock.h>\n#include <windows.h>\n#include <process.h>\n\
                        #include <tchar.h>\n#include <conio.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n\
                        #include <time.h>\n#include <strsafe.h>\n";

fn functions() -> impl Iterator<Item = String> {
    FUNCTIONS.iter().flat_map(|(_, names)| names.split_whitespace()).flat_map(|name| match name.strip_suffix('*') {
        Some(stem) => ["", "A", "W"].iter().map(|width| format!("{stem}{width}")).collect(),
        None => vec![name.to_owned()],
    })
}

/// In C++ these have several forms: some take the size of an array by themselves, others give back what they get, constant or not.
const OVERLOADED: [&str; 17] = [
    "wcsncpy_s",
    "strcpy_s",
    "strcat_s",
    "strncpy_s",
    "wcscpy_s",
    "wcscat_s",
    "_itoa_s",
    "gets_s",
    "sprintf_s",
    "_tcscpy_s",
    "_tcscat_s",
    "_tcsncpy_s",
    "_tcschr",
    "_tcsrchr",
    "_tcsstr",
    "_stprintf_s",
    "_itot_s",
];

/// There is no wide form of these, which their use says.
const NARROW_ONLY: [&str; 2] = ["_tscanf", "_tscanf_s"];

/// A program that takes the address of each function, and one of each line of `USES` in a block.
fn program(is_cxx: bool, is_wide: bool) -> String {
    let mut text = INCLUDES.to_owned();
    text.push_str("int main(void)\n{\n");
    for name in functions().filter(|name| !is_wide || !NARROW_ONLY.contains(&&**name)) {
        match is_cxx && OVERLOADED.contains(&&*name) {
            true => writeln!(text, "{{ using ::{name}; }}"),
            false => writeln!(text, "if ((void *){name} == NULL) return 1;"),
        }
        .expect("a string");
    }
    for uses in USES {
        writeln!(text, "{{ {uses}; }}").expect("a string");
    }
    text.push_str("return 0;\n}\n");
    text
}

/// Each name that the compiler complains of.
fn complaints(said: &str) -> String {
    said.lines().filter(|line| line.contains("error:")).collect::<Vec<_>>().join("\n")
}

#[test]
fn each_name_is_there_in_c_and_in_cxx_narrow_and_wide() {
    let bench = Bench::new("names");
    assert!(functions().count() > 380, "{} names", functions().count());
    for (wrapper, extension, compilers) in [("cc", "c", ["gcc", "clang"]), ("c++", "cpp", ["g++", "clang++"])] {
        for compiler in compilers.into_iter().filter(|compiler| has(compiler).is_some()) {
            for flags in [&[][..], &["-DUNICODE", "-D_UNICODE"]] {
                let source = bench.write(&format!("names.{extension}"), &program(wrapper == "c++", !flags.is_empty()));
                let (program, output) = bench.try_compile(wrapper, Some(compiler), &[&source], flags);
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{compiler} {flags:?}:\n{}", complaints(&said));
                output_of(&mut Command::new(program));
            }
        }
    }
}

/// The names are Windows': its own headers have them, too.
#[test]
fn each_name_is_there_for_windows() {
    let bench = Bench::new("names");
    let Some(compiler) = bench.mingw() else { return };
    for flags in [&[][..], &["-DUNICODE", "-D_UNICODE"]] {
        let source = bench.write("names.c", &program(false, !flags.is_empty()));
        let output = Command::new(compiler)
            .args(["-D_WIN32_WINNT=0x0A00", "-DSTRSAFE_NO_DEPRECATE", "-D_CRT_RAND_S", "-fsyntax-only", "-w"])
            .args(flags)
            .arg(&source)
            .output()
            .expect("the compiler");
        assert!(output.status.success(), "{flags:?}:\n{}", complaints(&String::from_utf8_lossy(&output.stderr)));
    }
}

/// What a source defines in its first lines holds, as on Windows: what `ovl cc` puts before it has not decided anything.
#[test]
fn a_source_decides_with_its_first_lines() {
    let bench = Bench::new("defines");
    let check = |name: &str, wrapper: &str, text: &str| {
        let extension = if wrapper == "cc" { "c" } else { "cpp" };
        let source = bench.write(&format!("{name}.{extension}"), text);
        let compilers = if wrapper == "cc" { ["gcc", "clang"] } else { ["g++", "clang++"] };
        for compiler in compilers.into_iter().filter(|compiler| has(compiler).is_some()) {
            let (program, output) = bench.try_compile(wrapper, Some(compiler), &[&source], &["-Wall"]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{name} {compiler}:\n{said}");
            output_of(&mut Command::new(program));
        }
    };
    let all = "#define WIN32_LEAN_AND_MEAN\n#define NOMINMAX\n#define _WIN32_WINNT 0x0601\n#define _WINSOCK_DEPRECATED_NO_WARNINGS\n\
               #define _CRT_SECURE_NO_WARNINGS\n#define _CRT_SECURE_NO_DEPRECATE 1\n#define STRICT\n#define FD_SETSIZE 200\n";
    let includes = "#include <windows.h>\n#include <winsock2.h>\n#include <ws2tcpip.h>\n";

    // Names that the macros would break.
    let body = "static int min(int a, int b) { return a + b; }\nstatic int max(int a, int b) { return a - b; }\n\
                int main(void)\n{\nint interface = 3;\nfd_set set;\nSOCKET s;\nFD_ZERO(&set);\n\
                for (s = 4; s <= 4 * 150; s += 4) FD_SET(s, &set);\n\
                if (_WIN32_WINNT != 0x0601 || WINVER != 0x0601) return 1;\n\
                if (sizeof set.fd_array / sizeof set.fd_array[0] != 200 || set.fd_count != 150) return 2;\n\
                return min(2, 3) == 5 && max(2, 3) == -1 && interface == 3 ? 0 : 3;\n}\n";
    check("all", "cc", &format!("{all}{includes}{body}"));
    check("all", "c++", &format!("{all}{includes}#include <algorithm>\n#include <limits>\n{body}"));
    // C++'s own names and Windows' side by side.
    let std = "#include <algorithm>\n#include <limits>\nusing namespace std;\nint main()\n{\n\
               return min(2, 3) == 2 && max(2, 3) == 3 && numeric_limits<int>::max() > 0 ? 0 : 1;\n}\n";
    check("std", "c++", &format!("{all}{includes}{std}"));

    // And without them it is as it always is.
    let usual = "interface Shape { int sides; };\nint main(void)\n{\nfd_set set;\nFD_ZERO(&set);\n\
                 if (sizeof set != 520 || FD_SETSIZE != 64 || _WIN32_WINNT != 0x0A00 || WINVER != 0x0A00) return 1;\n\
                 return min(2, 3) == 2 && max(2, 3) == 3 ? 0 : 2;\n}\n";
    check("usual", "cc", &format!("{includes}{usual}"));
    check("usual", "c++", &format!("{includes}{usual}"));
    // What the C library knows by that name, included first, is not the program's choice.
    check("select", "cc", &format!("#include <stdlib.h>\n#include <time.h>\n{includes}{usual}"));

    // UNICODE, in the source and not on the command line.
    let wide = "#define UNICODE\n#define _UNICODE\n#include <windows.h>\n#include <tchar.h>\n\
                int _tmain(int argc, TCHAR *argv[])\n{\nTCHAR text[8];\nHANDLE event = CreateEvent(NULL, TRUE, FALSE, TEXT(\"decides\"));\n\
                lstrcpy(text, TEXT(\"abc\"));\nif (sizeof(TCHAR) != sizeof(wchar_t) || argc != 1 || argv[0] == NULL) return 1;\n\
                if (event == NULL || OpenEventW(EVENT_ALL_ACCESS, FALSE, L\"decides\") == NULL) return 2;\n\
                return lstrlen(text) == 3 && wcscmp(text, L\"abc\") == 0 ? 0 : 3;\n}\n";
    check("wide", "cc", wide);
    check("wide", "c++", wide);
    let sizes = "#define UNICODE\n#define _UNICODE\n#include <windows.h>\n#include <tchar.h>\nint _tmain()\n{\nTCHAR text[8];\n\
                 if (_stprintf_s(text, _T(\"%d-%s\"), 42, _T(\"ab\")) != 5 || lstrcmp(text, _T(\"42-ab\"))) return 1;\n\
                 if (_tcsncpy_s(text, _T(\"abcdef\"), 3) || lstrcmp(text, _T(\"abc\"))) return 2;\n\
                 return _itot_s(255, text, 16) || lstrcmp(text, _T(\"ff\"));\n}\n";
    check("sizes", "c++", sizes);
    check("sizes", "c++", &sizes.replace("#define UNICODE\n#define _UNICODE\n", "#define STRICT\n"));
}

/// Each header is enough by itself, and goes with all others in any order.
#[test]
fn headers_are_included_alone_and_in_any_order() {
    let bench = Bench::new("order");
    let mut names: Vec<String> = std::fs::read_dir(sources().join("../../include"))
        .expect("the headers")
        .flatten()
        .map(|entry| entry.file_name().into_string().expect("ASCII"))
        .filter(|name| name.ends_with(".h"))
        .collect();
    names.sort();
    let usual = "winsock2.h WinSock2.h Winsock2.h Windows.h ws2tcpip.h WS2tcpip.h MSWSock.h process.h tchar.h conio.h io.h strsafe.h synchapi.h";
    let lines = |names: &mut dyn Iterator<Item = &str>| {
        names.fold(String::new(), |text, name| text + &format!("#include <{name}>\n"))
    };
    let mut all = vec![
        lines(&mut usual.split(' ')),
        lines(&mut usual.split(' ').rev()),
        lines(&mut names.iter().map(String::as_str)),
        lines(&mut names.iter().rev().map(String::as_str)),
    ];
    all.extend(names.iter().map(|name| lines(&mut [&**name].into_iter())));
    for (wrapper, extension) in [("cc", "c"), ("c++", "cpp")] {
        let sources: Vec<_> = (0..)
            .zip(&all)
            .map(|(number, includes)| {
                let text = format!("{includes}HANDLE port_{number}(SOCKET s)\n{{\nreturn CreateIoCompletionPort((HANDLE)s, NULL, 0, 0);\n}}\n");
                bench.write(&format!("{wrapper}/{number}.{extension}"), &text)
            })
            .collect();
        let output = Command::new(OVL)
            .args([wrapper, "-fsyntax-only", "-Wall", "-Wextra"])
            .args(&sources)
            .output()
            .expect("ovl runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{wrapper}:\n{said}");
    }
}
