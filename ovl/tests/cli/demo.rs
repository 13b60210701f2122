//! `ovl demo`.

use predicates::prelude::*;
use predicates::str::contains;

use crate::support::ovl;

#[test]
fn the_demo_verifies_every_byte_and_says_so() {
    ovl(["demo", "--duration", "500ms", "--connections", "8"])
        .assert()
        .code(0)
        .stdout(contains("port").and(contains("all right")).and(contains("messages/s")).and(contains("ovl serve")))
        .stderr("");
}

#[test]
fn messages_of_any_size_will_do() {
    ovl(["demo", "-d", "300ms", "-c", "3", "-s", "100K"]).assert().code(0).stdout(contains("all right"));
}
