use super::*;

#[test]
fn parts_below_others_are_indented_and_titles_set_apart() {
    let table = |rows: &[&str]| Section {
        headings: vec!["op"],
        rows: rows.iter().map(|row| vec![(*row).to_owned()]).collect(),
        ..Section::default()
    };
    let sections = [
        Section { title: Some("timeline 1".into()), lines: vec!["log".into()], ..table(&["959"]) },
        Section { depth: 1, title: Some("timeline 2".into()), lines: vec!["none".into()], ..table(&[]) },
    ];
    assert_eq!(sections_text(&sections), "timeline 1\n  op\n  959\n  log\n\n  timeline 2\n    none\n\n");
    let plain = [Section { lines: vec!["log".into()], ..table(&["959"]) }];
    assert_eq!(sections_text(&plain), "op\n959\n\nlog\n");
    assert_eq!(sections_text(&[table(&["959"])]), "op\n959\n");
}

#[test]
fn a_tier_that_nobody_here_knows_is_listed_with_the_others() {
    let (store, repository) = crate::tier::toy::tests::with_jars();
    let report = list(&repository).unwrap();
    let lines: Vec<&str> = report.text.lines().collect();
    assert_eq!(lines[0], format!("3 jars in {}", repository.describe()));
    assert_eq!(lines[2], "jar     stored at             run");
    assert!(lines[3].starts_with("plum    1970-01-01T00:00:01Z  0000000000000001"), "{}", report.text);
    assert_eq!((report.json["toy"].as_array().map(Vec::len), &report.json["toy"][2]["name"]), (Some(3), &json!("quince")));
    assert_eq!((&report.json["backups"], &report.json["files"]), (&json!([]), &json!([])));
    // A damaged one is listed, and is the command's failure.
    store.corrupt("toy/records/plum/0000000000000001", 50, 1);
    let report = list(&repository).unwrap();
    assert_eq!(report.failure.map(|error| error.kind), Some(crate::error::Kind::Damaged));
    assert_eq!(report.json["toy"][0]["run"], "0000000000000001");
}

#[test]
fn an_empty_repository_says_so() {
    let repository = crate::repository::sample::create(&crate::store::memory::MemoryStore::new()).unwrap();
    assert!(list(&repository).unwrap().text.ends_with(": no backups yet"));
}
