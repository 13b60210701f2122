//! Compiles what has to be C: functions with a variable number of arguments. For cargo-c it makes the files that are installed and lie nowhere.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=src/crt.c");
    if env::var_os("CARGO_CFG_TARGET_OS").is_none_or(|system| system != "linux") {
        return Ok(()); // the library is empty there
    }
    cc::Build::new().file("src/crt.c").std("gnu11").warnings(true).extra_warnings(true).compile("ovl_crt");
    match env::var_os("CARGO_FEATURE_CAPI") {
        Some(_) => for_cargo_c(),
        None => Ok(()),
    }
}

/// What `install.sh` makes, too: headers in the usual spellings, and what pkg-config says of all headers.
fn for_cargo_c() -> io::Result<()> {
    println!("cargo:rerun-if-changed=spellings");
    println!("cargo:rerun-if-changed=headers.pc.in");
    let variable = |name: &str| env::var(name).expect("cargo sets it");
    let out = variable("OUT_DIR");
    let headers = Path::new(&out).join("spellings");
    fs::create_dir_all(&headers)?;
    for name in fs::read_to_string("spellings")?.split_whitespace() {
        fs::write(headers.join(name).with_extension("h"), format!("#include \"{}.h\"\n", name.to_lowercase()))?;
    }
    let flags = fs::read_to_string("headers.pc.in")?.replace("@VERSION@", &variable("CARGO_PKG_VERSION"));
    fs::write(Path::new(&out).join("overlapped-win32-headers.pc"), flags)
}
