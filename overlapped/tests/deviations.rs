//! `docs/deviations.md` is complete and names tests that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn every_statement_is_accounted_for_and_every_test_named_exists() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(here.join("../docs/deviations.md")).expect("docs/deviations.md");
    let (mut tests, mut tests_in_c) = (BTreeSet::new(), BTreeSet::new());
    for file in fs::read_dir(here.join("tests")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(path).unwrap();
            let tested = source.split("#[test]\n").skip(1);
            let named = tested.filter_map(|rest| rest.split_once("fn ")?.1.split_once('('));
            tests.extend(named.map(|(name, _)| name.to_owned()));
        }
    }
    // Those of the C face.
    for file in fs::read_dir(here.join("../overlapped-win32/tests/c")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "c") {
            let source = fs::read_to_string(path).unwrap();
            let run = source.split("RUN(").skip(1).filter_map(|rest| rest.split_once(')'));
            tests_in_c.extend(run.map(|(name, _)| name.to_owned()));
        }
    }
    let (_, c_face) = table.split_once("\n## The C face\n").expect("the table of the C face");
    for (group, last) in [('P', 17), ('A', 8), ('C', 17), ('S', 18), ('X', 5), ('R', 10), ('E', 4), ('F', 3), ('T', 1)]
    {
        for number in 1..=last {
            let id = format!("{group}{number:02}");
            let rows: Vec<_> = table.lines().filter(|line| line.starts_with(&format!("| {id} |"))).collect();
            assert_eq!(rows.len(), 1, "{id} has {} rows", rows.len());
            let row = rows[0];
            let said = ["kept", "types", "**deviates**", "C face"].iter().any(|word| row.contains(word));
            assert!(said, "{id} is neither kept, nor kept by types, nor a deviation, nor of the C face");
            // And in C, where each has a test by its id, or its row says why there is nothing to test.
            let rows: Vec<_> = c_face.lines().filter(|line| line.starts_with(&format!("| **{id}** |"))).collect();
            assert_eq!(rows.len(), 1, "{id} has {} rows among those of the C face", rows.len());
            let by_id =
                |name: &&String| ids(name).any(|of| of.eq_ignore_ascii_case(&id)) && rows[0].contains(name.as_str());
            assert!(
                tests_in_c.iter().any(|name| by_id(&name)) || rows[0].contains("nothing to test"),
                "no test in C that carries the id of {id} stands in its row"
            );
        }
    }
    tests.extend(tests_in_c);
    let named: BTreeSet<_> = table
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| carries_an_id(word) || word.matches('_').count() >= 3)
        .map(str::to_owned)
        .collect();
    for name in &named {
        assert!(tests.contains(name), "docs/deviations.md names a test that does not exist: {name}");
    }
    // A test that carries a statement's id stands in that statement's table.
    for name in &tests {
        if carries_an_id(name) {
            assert!(named.contains(name), "docs/deviations.md does not name {name}");
        }
    }
}

/// The ids of statements at the beginning of a test's name.
fn ids(name: &str) -> impl Iterator<Item = &str> {
    name.split('_').take_while(|part| carries_an_id(&format!("{part}_")))
}

/// Whether a test's name begins with the id of a statement.
fn carries_an_id(name: &str) -> bool {
    let (id, rest) = name.split_at_checked(3).unwrap_or_default();
    rest.starts_with('_') && "pacsxreftnwm".contains(&id[..1]) && id[1..].chars().all(|c| c.is_ascii_digit())
}
