use super::*;
use crate::error::Kind;
use crate::tier::toy::tests::with_jars;

#[test]
fn a_backup_of_any_tier_is_found_by_run_or_name() {
    let (_, repository) = with_jars();
    for wanted in ["0000000000000003", "toy/records/quince/0000000000000003"] {
        let report = show(&repository, Some(wanted)).unwrap();
        assert!(report.text.contains("quince/0000000000000003"), "{}", report.text);
        assert_eq!(report.json["name"], "quince");
    }
    let newest = show(&repository, None).unwrap();
    assert_eq!(newest.json["run"], "0000000000000003");
    let none = show(&repository, Some("jam")).map(|report| report.text).unwrap_err();
    assert!(none.kind == Kind::Input && none.message.contains("no backup \"jam\""), "{none}");
    let empty = crate::repository::sample::create(&crate::store::memory::MemoryStore::new()).unwrap();
    assert_eq!(show(&empty, None).map(|report| report.text).unwrap_err().kind, Kind::Input);
}
