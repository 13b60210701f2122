//! `ovl cc` and `ovl c++`: the system's compiler, for programs that were written for Windows.
//!
//! Such sources include headers in any spelling, so those that are not there as they are written get a file of that name in a directory
//! that lasts as long as the compiler runs. The rest is flags.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::cli::Compile;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    C,
    Cxx,
}

pub(crate) fn run(language: Language, options: &Compile) -> Result<u8> {
    let request = Request::new(language, &options.arguments);
    let home = Home::find()?;
    let compiler = Compiler::find(language);
    let aliases = tempfile::Builder::new().prefix("ovl-cc-").tempdir().context("no temporary directory")?;

    let mut command = Command::new(&compiler.program);
    command.args(&compiler.arguments);
    if request.compiles() {
        // Deep in it, so that names which begin with `../` stay inside.
        let root = aliases.path().join("1/2/3/4/5/6");
        fs::create_dir_all(&root)?;
        let mut sources = Sources::new(&request.include_dirs, &home.headers, root);
        sources.unicode = request.unicode;
        for source in &request.sources {
            sources.read(source)?;
        }
        command.args(compiler.flags(&request, &home, &sources));
    }
    command.args(&request.passed_on);
    if request.links() {
        command.args(home.libraries(&request)?);
    }
    if request.verbose {
        eprintln!("{command:?}");
    }
    let status = command.status().with_context(|| format!("cannot run {}", compiler.program.display()))?;
    drop(aliases);
    Ok(status.code().map_or(1, |code| code as u8)) // a compiler that a signal ended has failed
}

/// Where programs for Windows are that come with the library.
pub(crate) fn programs() -> Result<PathBuf> {
    let headers = Home::find()?.headers;
    let places = [headers.join("../tests/c"), headers.join("../../share/doc/overlapped-win32/examples")];
    places.into_iter().find(|place| place.is_dir()).context("the examples of overlapped-win32 are not there")
}

/// For another compiler with Windows' headers: files in a directory under the names by which a source includes what is in lower case.
pub(crate) fn spellings(source: &Path, directory: &Path) -> Result<()> {
    let home = Home::find()?;
    fs::create_dir_all(directory)?;
    Sources::new(&[], &home.headers, directory.to_owned()).read(source)
}

/// What the arguments ask for.
#[derive(Debug, Default)]
struct Request {
    language: Option<Language>,
    /// Without what concerns Windows or this tool only.
    passed_on: Vec<OsString>,
    sources: Vec<PathBuf>,
    include_dirs: Vec<PathBuf>,
    objects: bool,
    language_forced: bool,
    standard_given: bool,
    no_link: bool,
    shared_library: bool,
    fully_static: bool,
    verbose: bool,
    /// -D_UNICODE.
    unicode: bool,
}

/// Options whose value is the next argument.
const WITH_VALUE: &[&str] = &[
    "-o",
    "-I",
    "-D",
    "-U",
    "-L",
    "-l",
    "-x",
    "-include",
    "-imacros",
    "-isystem",
    "-iquote",
    "-idirafter",
    "-MF",
    "-MT",
    "-MQ",
    "-Xlinker",
    "-Xassembler",
    "-Xpreprocessor",
    "-Xclang",
    "-u",
    "-T",
    "-z",
    "-arch",
    "-target",
    "--param",
    "-B",
];

/// Import libraries of Windows', for which this library stands in.
const WINDOWS_LIBRARIES: &[&str] = &[
    "ws2_32",
    "wsock32",
    "mswsock",
    "kernel32",
    "user32",
    "gdi32",
    "advapi32",
    "winmm",
    "iphlpapi",
    "ntdll",
    "ole32",
    "oleaut32",
    "uuid",
    "shell32",
    "psapi",
    "synchronization",
    "libcmt",
    "libcmtd",
    "msvcrt",
    "msvcrtd",
];

impl Request {
    fn new(language: Language, arguments: &[OsString]) -> Self {
        let mut request = Self { language: Some(language), ..Self::default() };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let text = argument.to_string_lossy();
            if !text.starts_with('-') || text == "-" {
                request.input(argument, &text);
                continue;
            }
            if text == "--ovl-shared" {
                request.shared_library = true;
                continue;
            }
            if text.strip_prefix("-l").is_some_and(is_of_windows) {
                continue;
            }
            match &*text {
                "-c" | "-S" | "-E" | "-M" | "-MM" | "-fsyntax-only" => request.no_link = true,
                "-static" | "-static-pie" => request.fully_static = true,
                "-v" | "-###" => request.verbose = true,
                _ if text == "-D_UNICODE" || text.starts_with("-D_UNICODE=") => request.unicode = true,
                _ if text.starts_with("-std=") || text == "-ansi" => request.standard_given = true,
                _ => {}
            }
            let mut value = None;
            if WITH_VALUE.contains(&&*text) {
                value = arguments.next();
                if text == "-l" && value.is_some_and(|value| is_of_windows(&value.to_string_lossy())) {
                    continue;
                }
                request.language_forced |= text == "-x";
                request.unicode |=
                    text == "-D" && value.is_some_and(|value| value == "_UNICODE" || value == "_UNICODE=1");
            }
            let directory = match (text.strip_prefix("-I"), &*text, value) {
                (_, "-I" | "-iquote" | "-isystem", Some(value)) => Some(PathBuf::from(value)),
                (Some(directory), _, _) if !directory.is_empty() => Some(PathBuf::from(directory)),
                _ => None,
            };
            request.include_dirs.extend(directory);
            request.passed_on.push(argument.clone());
            request.passed_on.extend(value.cloned());
        }
        request
    }

    fn input(&mut self, argument: &OsStr, text: &str) {
        let path = PathBuf::from(argument);
        let extension = path.extension().map(|extension| extension.to_string_lossy().into_owned()).unwrap_or_default();
        if extension.eq_ignore_ascii_case("lib") && is_of_windows(text.trim_end_matches(&format!(".{extension}"))) {
            return;
        }
        if matches!(&*extension.to_ascii_lowercase(), "c" | "cc" | "cp" | "cpp" | "cxx" | "c++" | "i" | "ii")
            || self.language_forced
        {
            self.sources.push(path);
        } else {
            self.objects = true;
        }
        self.passed_on.push(argument.to_owned());
    }

    fn compiles(&self) -> bool {
        !self.sources.is_empty() || self.language_forced
    }

    fn links(&self) -> bool {
        !self.no_link && (self.compiles() || self.objects)
    }

    /// Whether a source is C++: by its name, or because the C++ compiler takes it for that.
    fn is_cxx(&self, source: &Path) -> bool {
        self.language == Some(Language::Cxx) || source.extension().is_some_and(|extension| extension != "c")
    }
}

fn is_of_windows(library: &str) -> bool {
    WINDOWS_LIBRARIES.iter().any(|known| library.eq_ignore_ascii_case(known))
}

/// Where the headers and the library are.
struct Home {
    headers: PathBuf,
    libraries: PathBuf,
}

const STATIC_LIBRARY: &str = "liboverlapped_win32.a";
const SHARED_LIBRARY: &str = "liboverlapped_win32.so";
/// What the static library itself uses.
const SYSTEM_LIBRARIES: &[&str] = &["-lpthread", "-ldl", "-lm"];

impl Home {
    fn find() -> Result<Self> {
        let executable = env::current_exe().and_then(fs::canonicalize).context("no path of this program")?;
        let beside = executable.parent().context("this program is in no directory")?;
        let mut prefixes: Vec<PathBuf> = env::var_os("OVERLAPPED_WIN32").map(PathBuf::from).into_iter().collect();
        prefixes.extend(beside.parent().map(Path::to_owned));

        let mut headers: Vec<PathBuf> = prefixes.iter().map(|prefix| prefix.join("include/overlapped-win32")).collect();
        headers.extend(beside.ancestors().map(|directory| directory.join("overlapped-win32/include")));
        headers.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlapped-win32/include"));
        let mut libraries: Vec<PathBuf> = Vec::new();
        for prefix in &prefixes {
            libraries.extend([prefix.join("lib"), prefix.join("lib64")]);
            libraries.push(prefix.join("lib").join(format!("{}-linux-gnu", env::consts::ARCH)));
        }
        libraries.extend(newest([beside.join("deps"), beside.to_owned()]));

        let found = headers.iter().find(|directory| directory.join("ovl/prelude.h").is_file());
        let headers = found.context(
            "the headers of overlapped-win32 are not there: install the library, or name where it is with OVERLAPPED_WIN32=<prefix>",
        )?;
        let found = libraries.iter().find(|directory| built(directory).is_some());
        let libraries = found.context(
            "the library overlapped-win32 is not there: build it (cargo build --release -p overlapped-win32) or install it, or name \
             where it is with OVERLAPPED_WIN32=<prefix>",
        )?;
        Ok(Self { headers: headers.canonicalize()?, libraries: libraries.canonicalize()? })
    }

    /// What the linker is told, after all that uses it.
    fn libraries(&self, request: &Request) -> Result<Vec<OsString>> {
        let library = |name: &str| self.libraries.join(name);
        let shared = request.shared_library || !library(STATIC_LIBRARY).is_file();
        if !shared {
            let mut arguments = vec![library(STATIC_LIBRARY).into_os_string()];
            arguments.extend(SYSTEM_LIBRARIES.iter().map(OsString::from));
            return Ok(arguments);
        }
        if request.fully_static {
            bail!("{STATIC_LIBRARY} is not in {}, and -static needs it", self.libraries.display());
        }
        let mut path = OsString::from("-Wl,-rpath,");
        path.push(&self.libraries);
        Ok(vec![library(SHARED_LIBRARY).into_os_string(), path])
    }
}

/// When the library in a directory was built, if there is one.
fn built(directory: &Path) -> Option<SystemTime> {
    [STATIC_LIBRARY, SHARED_LIBRARY].iter().find_map(|name| fs::metadata(directory.join(name)).ok()?.modified().ok())
}

/// Cargo puts the library into one of two directories, according to what it was told to build.
fn newest(mut directories: [PathBuf; 2]) -> [PathBuf; 2] {
    directories.sort_by_key(|directory| Reverse(built(directory)));
    directories
}

/// The system's compiler.
struct Compiler {
    program: OsString,
    /// `CC="ccache gcc"` is two words.
    arguments: Vec<OsString>,
    language: Language,
    is_clang: bool,
    major: u32,
}

impl Compiler {
    fn find(language: Language) -> Self {
        let (variable, usual) = match language {
            Language::C => ("CC", "cc"),
            Language::Cxx => ("CXX", "c++"),
        };
        // `CC="ovl cc" make` puts it into our environment, too: we are not the compiler that we look for.
        let chosen = env::var(variable).ok().filter(|chosen| !chosen.trim().is_empty() && !is_this_tool(chosen));
        let chosen = chosen.unwrap_or_else(|| usual.to_owned());
        let mut words = chosen.split_whitespace().map(OsString::from);
        let program = words.next().unwrap_or_else(|| usual.into());
        let mut compiler = Self { program, arguments: words.collect(), language, is_clang: false, major: 0 };
        let ask = |argument: &str| {
            let output = Command::new(&compiler.program).args(&compiler.arguments).arg(argument).output();
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
        };
        let (version, number) = (ask("--version"), ask("-dumpversion"));
        compiler.is_clang = version.contains("clang");
        compiler.major = number.split('.').next().and_then(|major| major.trim().parse().ok()).unwrap_or(0);
        compiler
    }

    fn flags(&self, request: &Request, home: &Home, sources: &Sources) -> Vec<OsString> {
        let mut flags: Vec<OsString> = Vec::new();
        for directory in [&sources.aliases, &home.headers] {
            flags.extend(["-isystem".into(), directory.into()]);
        }
        flags.extend(["-include".into(), home.headers.join("ovl/prelude.h").into_os_string()]);
        let mut add = |words: &[&str]| flags.extend(words.iter().map(OsString::from));
        // What Microsoft's compilers take for granted: any pointer may point to anything, numbers wrap, `char` has a sign.
        add(&["-fno-strict-aliasing", "-fwrapv", "-fsigned-char", "-fms-extensions", "-U_FORTIFY_SOURCE"]);
        // Formats are Microsoft's (ovl/crt.h), `#pragma comment` is theirs, and handles are kept in numbers.
        add(&["-Wno-format", "-Wno-unknown-pragmas", "-Wno-multichar", "-Wno-int-to-pointer-cast"]);
        if request.sources.iter().any(|source| !request.is_cxx(source)) || request.language_forced {
            add(&["-Wno-main"]);
        }
        match self.language {
            Language::C => {
                add(&["-Wno-pointer-to-int-cast"]);
                if !request.standard_given && !request.sources.iter().any(|source| request.is_cxx(source)) {
                    add(&["-std=gnu17"]); // later ones take `f()` for `f(void)`, and know `bool`
                }
                // Errors in newer compilers; the old ones let it pass.
                match self.is_clang {
                    true => add(&[
                        "-Wno-error=implicit-function-declaration",
                        "-Wno-error=implicit-int",
                        "-Wno-error=int-conversion",
                        "-Wno-error=incompatible-pointer-types",
                        "-Wno-error=return-type",
                    ]),
                    false if self.major >= 14 => add(&["-fpermissive"]),
                    false => {}
                }
            }
            Language::Cxx => {
                add(&["-Wno-write-strings", "-Wno-narrowing"]);
                match self.is_clang {
                    true => add(&[
                        "-Wno-microsoft",
                        "-Wno-c++11-narrowing",
                        "-Wno-unused-value",
                        "-Wno-void-pointer-to-int-cast",
                    ]),
                    false => add(&["-fpermissive"]), // a HANDLE cast to a DWORD, say
                }
            }
        }
        if self.is_clang {
            add(&["-Wno-ignored-attributes", "-Wno-pragma-pack", "-Wno-nonportable-include-path"]);
        }
        if sources.void_main {
            add(&["-DOVL_VOID_MAIN"]);
        }
        if sources.wide_main {
            add(&["-DOVL_WIDE_MAIN"]);
        }
        if sources.filesystem {
            add(&["-DOVL_FILESYSTEM"]);
        }
        flags
    }
}

/// Whether a command, such as `CC` holds, runs this program.
fn is_this_tool(command: &str) -> bool {
    let program = command.split_whitespace().next().map(Path::new).and_then(Path::file_name);
    let this = env::current_exe().ok().and_then(|path| path.file_name().map(OsStr::to_owned));
    program.is_some() && (program == this.as_deref() || program == Some(OsStr::new("ovl")))
}

/// The sources, and what they include.
struct Sources<'a> {
    include_dirs: &'a [PathBuf],
    headers: &'a Path,
    aliases: PathBuf,
    seen: BTreeSet<PathBuf>,
    void_main: bool,
    wide_main: bool,
    /// _UNICODE was given as an argument.
    unicode: bool,
    filesystem: bool,
}

/// Headers that Visual Studio's projects have and that say nothing here.
const PRECOMPILED: &[&str] = &["stdafx.h", "pch.h", "framework.h", "targetver.h"];
/// Headers of the C library's that are in use under capital letters.
const C_LIBRARY: &[&str] = &[
    "assert.h",
    "ctype.h",
    "errno.h",
    "fcntl.h",
    "float.h",
    "limits.h",
    "locale.h",
    "malloc.h",
    "math.h",
    "memory.h",
    "search.h",
    "setjmp.h",
    "signal.h",
    "stdarg.h",
    "stddef.h",
    "stdint.h",
    "stdio.h",
    "stdlib.h",
    "string.h",
    "time.h",
    "wchar.h",
    "sys/types.h",
    "sys/stat.h",
    "sys/timeb.h",
    "iostream",
    "string",
    "vector",
    "map",
    "list",
    "algorithm",
];

impl<'a> Sources<'a> {
    fn new(include_dirs: &'a [PathBuf], headers: &'a Path, aliases: PathBuf) -> Self {
        Self {
            include_dirs,
            headers,
            aliases,
            seen: BTreeSet::new(),
            void_main: false,
            wide_main: false,
            unicode: false,
            filesystem: false,
        }
    }

    /// Reads a file and those it includes, and gives each that is not there under its name one.
    fn read(&mut self, path: &Path) -> Result<()> {
        // One that cannot be read is the compiler's to complain about.
        let Ok(bytes) = fs::read(path) else { return Ok(()) };
        if !self.seen.insert(path.canonicalize().unwrap_or_else(|_| path.to_owned())) {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&bytes);
        self.void_main |= has_void_main(&text);
        self.wide_main |= has_wide_main(&text, self.unicode);
        for include in includes(&text) {
            self.filesystem |= include.name == "filesystem";
            self.resolve(path.parent().unwrap_or(Path::new("")), &include)?;
        }
        Ok(())
    }

    fn resolve(&mut self, beside: &Path, include: &Include<'_>) -> Result<()> {
        let own = include.quoted.then_some(beside);
        let directories: Vec<PathBuf> =
            own.into_iter().map(Path::to_owned).chain(self.include_dirs.iter().cloned()).collect();
        let exact = directories.iter().map(|directory| directory.join(include.name)).find(|path| path.is_file());
        if let Some(path) = exact {
            return self.read(&path);
        }
        let slashes = include.name.replace('\\', "/");
        if self.headers.join(include.name).is_file() {
            return Ok(());
        }
        if let Some(path) = directories.iter().find_map(|directory| find_in_any_case(directory, &slashes)) {
            self.alias(include.name, &format!("#include \"{}\"\n", path.canonicalize()?.display()))?;
            return self.read(&path);
        }
        let lower = slashes.to_ascii_lowercase();
        if find_in_any_case(self.headers, &lower).is_some() || (C_LIBRARY.contains(&&*lower) && lower != include.name) {
            return self.alias(include.name, &format!("#include <{lower}>\n"));
        }
        if PRECOMPILED.contains(&&*lower) {
            return self.alias(include.name, "#include <windows.h>\n#include <tchar.h>\n");
        }
        Ok(()) // the system's, or the compiler says that it is missing
    }

    fn alias(&self, name: &str, content: &str) -> Result<()> {
        let path = self.aliases.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A file whose name differs in capital letters only.
fn find_in_any_case(directory: &Path, name: &str) -> Option<PathBuf> {
    let mut path = if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory.to_owned() };
    for component in Path::new(name).components() {
        match component {
            Component::Normal(wanted) => {
                let same = |entry: &fs::DirEntry| entry.file_name().eq_ignore_ascii_case(wanted);
                path = fs::read_dir(&path).ok()?.flatten().find(same)?.path();
            }
            Component::ParentDir => path.push(".."),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    path.is_file().then_some(path)
}

struct Include<'a> {
    name: &'a str,
    quoted: bool,
}

/// The `#include` lines of a text, those that are left out by conditions too: an alias too many does no harm.
fn includes(text: &str) -> impl Iterator<Item = Include<'_>> {
    text.lines().filter_map(|line| {
        let line = line
            .trim_start_matches('\u{feff}')
            .trim_start()
            .strip_prefix('#')?
            .trim_start()
            .strip_prefix("include")?
            .trim_start();
        let (quoted, end) = match line.chars().next()? {
            '"' => (true, '"'),
            '<' => (false, '>'),
            _ => return None,
        };
        let (name, _) = line[1..].split_once(end)?;
        Some(Include { name: name.trim(), quoted })
    })
}

/// Whether the program begins with `wmain`, or with a `_tmain` that is one.
fn has_wide_main(text: &str, unicode: bool) -> bool {
    let mut words = text.split_whitespace();
    let mut defines = false;
    let unicode = unicode
        || text.lines().any(|line| {
            let mut words = line.trim_start().trim_start_matches('#').split_whitespace();
            words.next() == Some("define") && words.next() == Some("_UNICODE")
        });
    words.any(|word| {
        let begins = |main: &str| word.strip_prefix(main).is_some_and(|rest| rest.is_empty() || rest.starts_with('('));
        let found = defines && (begins("wmain") || unicode && begins("_tmain"));
        defines = matches!(word, "int" | "INT" | "void" | "VOID" | "__cdecl" | "_cdecl" | "WINAPIV" | "CDECL");
        found
    })
}

/// Whether `main` returns nothing, for which C++ has no flag.
fn has_void_main(text: &str) -> bool {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace()).filter(|word| !word.is_empty()).collect();
    words.windows(3).any(|three| {
        let is_main = |word: &str| {
            ["main", "_tmain", "wmain"]
                .iter()
                .any(|main| word.strip_prefix(main).is_some_and(|rest| rest.is_empty() || rest.starts_with('(')))
        };
        let is_convention = |word: &str| matches!(word, "__cdecl" | "_cdecl" | "WINAPIV" | "CDECL");
        matches!(three[0], "void" | "VOID") && (is_main(three[1]) || (is_convention(three[1]) && is_main(three[2])))
    }) || matches!(words[..], [.., "void", last] if last.starts_with("main("))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(language: Language, arguments: &[&str]) -> Request {
        Request::new(language, &arguments.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn sources_objects_and_libraries_are_told_apart() {
        let made = request(
            Language::C,
            &["-O2", "a.c", "-o", "b.c", "-lws2_32", "WS2_32.LIB", "c.o", "-l", "mswsock", "-lm", "-Iinc", "-I", "x"],
        );
        assert_eq!(made.sources, [PathBuf::from("a.c")]);
        assert!(made.compiles() && made.links() && made.objects);
        let passed: Vec<_> = made.passed_on.iter().map(|word| word.to_str().expect("ASCII")).collect();
        assert_eq!(passed, ["-O2", "a.c", "-o", "b.c", "c.o", "-lm", "-Iinc", "-I", "x"]);
        assert_eq!(made.include_dirs, [PathBuf::from("inc"), PathBuf::from("x")]);
    }

    #[test]
    fn compiling_alone_does_not_link_and_linking_alone_does_not_compile() {
        assert!(!request(Language::C, &["-c", "a.c"]).links());
        let link = request(Language::Cxx, &["a.o", "-o", "a"]);
        assert!(link.links() && !link.compiles());
        assert!(!request(Language::C, &["--version"]).links());
    }

    #[test]
    fn includes_are_found_in_every_spelling() {
        let text = "\u{feff}#include <WinSock2.h>\r\n  # include\t\"..\\Common\\X.h\" // x\n#include MACRO\nint include;\n#include<a.h>";
        let names: Vec<_> = includes(text).map(|include| (include.name, include.quoted)).collect();
        assert_eq!(names, [("WinSock2.h", false), ("..\\Common\\X.h", true), ("a.h", false)]);
    }

    #[test]
    fn the_tool_does_not_take_itself_for_the_compiler() {
        assert!(is_this_tool("ovl cc") && is_this_tool("/usr/local/bin/ovl c++"));
        assert!(!is_this_tool("ccache gcc") && !is_this_tool("") && !is_this_tool("ovl/gcc"));
    }

    #[test]
    fn a_wide_main_is_recognized() {
        assert!(has_wide_main("int wmain(int argc, wchar_t **argv)", false));
        assert!(has_wide_main("int __cdecl wmain (void)", false));
        assert!(has_wide_main("#define _UNICODE\nint _tmain(int argc, TCHAR *argv[])", false));
        assert!(has_wide_main("void _tmain()", true));
        assert!(!has_wide_main("int _tmain(int argc, TCHAR *argv[])", false));
        assert!(!has_wide_main("/* no wmain here */ int main(void)", true));
    }

    #[test]
    fn a_void_main_is_recognized() {
        for text in ["void main()\n{", "x; VOID main (int", "void __cdecl main(", "void\r\n_tmain(int argc"] {
            assert!(has_void_main(text), "{text}");
        }
        for text in ["int main() {", "void mainly()", "void domain()", "main()"] {
            assert!(!has_void_main(text), "{text}");
        }
    }
}
