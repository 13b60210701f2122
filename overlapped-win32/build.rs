//! Compiles what has to be C: functions with a variable number of arguments.

fn main() {
    println!("cargo:rerun-if-changed=src/crt.c");
    cc::Build::new().file("src/crt.c").std("gnu11").warnings(true).extra_warnings(true).compile("ovl_crt");
}
