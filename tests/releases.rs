//! A data file of TigerBeetle 0.17.9, killed under load: captured, verified, restored, inspected,
//! and its books decoded. `fixtures/README.md` describes it. No registry has a server of 0.17, so
//! nothing here starts one; `tools/test --tigerbeetle` does so for those who have one.

use crate::support::folder;
use crate::support::program::{Program, number, text};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The file is a gigabyte of log, most of it zeros, so it is unpacked in chunks.
const CHUNK_BYTES: usize = 1 << 20;
/// It was compressed with `zstd --long=27`.
const WINDOW_LOG: u32 = 27;
const FILE_BYTES: u64 = 1_244_663_808;
const FILE_SHA256: &str = "a0157473da6eff4951ea7afdf9aa5cf6a66e9ad34333477aa0507b2a31060ef4";

/// Unpacks the fixture; zeros become holes.
fn unpack(to: &Path) {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tigerbeetle-0.17.9/data.tigerbeetle.zst");
    let mut unpacked = zstd::Decoder::new(File::open(packed).unwrap()).unwrap();
    unpacked.window_log_max(WINDOW_LOG).unwrap();
    let file = File::create(to).unwrap();
    let (mut chunk, mut offset, mut digest) = (vec![0; CHUNK_BYTES], 0, Sha256::new());
    loop {
        let mut length = 0;
        while length < CHUNK_BYTES {
            match unpacked.read(&mut chunk[length..]).unwrap() {
                0 => break,
                more => length += more,
            }
        }
        if length == 0 {
            break;
        }
        digest.update(&chunk[..length]);
        if chunk[..length].iter().any(|byte| *byte != 0) {
            file.write_all_at(&chunk[..length], offset).unwrap();
        }
        offset += length as u64;
    }
    file.set_len(offset).unwrap();
    let digest: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((offset, digest.as_str()), (FILE_BYTES, FILE_SHA256), "the fixture is what its description says");
}

/// The value of a number that is given as text.
fn amount(value: &Value) -> u128 {
    value.as_str().unwrap().parse().unwrap()
}

#[test]
fn a_data_file_of_0_17_is_captured_restored_and_decoded() {
    let place = folder("releases");
    let data_file = place.path().join("0.tigerbeetle");
    unpack(&data_file);
    let program = Program::in_folder(&place.path().join("repository"));
    program.init();

    let seen = program.ok(&["inspect", "--books", text(&data_file)]);
    let superblock = &seen["superblock"];
    let facts = ["cluster", "replica_count", "release", "view", "checkpoint_op", "checkpoint_id"].map(|fact| superblock[fact].clone());
    let expected = [json!("7"), json!(1), json!("0.17.9"), json!(1), json!(5759), json!("03875b7cd7c052ea66db81d810993473")];
    assert_eq!(facts, expected, "{superblock:#}");
    assert_eq!(number(&seen["log"], "head_op"), 6618);
    assert_eq!(number(&seen["log"], "head_timestamp_ns"), 1_796_033_267_117_701_149);

    let backup = program.backup(&data_file);
    assert_eq!((number(&backup, "checkpoint_op"), number(&backup, "recovered_to_op")), (5759, 6618), "{backup:#}");
    let verified = program.ok(&["verify", "--full"]);
    assert_eq!(verified["ok"], json!(true), "{verified:#}");
    let image = place.path().join("restored.tigerbeetle");
    let restored = program.restore(&image, &[]);
    assert_eq!((number(&restored, "op"), &restored["operation"]), (6618, &json!("create_transfers")), "{restored:#}");

    let again = program.ok(&["inspect", "--books", text(&image)]);
    assert_eq!(again["books"], seen["books"], "the restored file has the same books");
    assert_eq!(again["blocks"], seen["blocks"], "and every block");
    let books = &again["books"];
    let [ledger] = &books["ledgers"].as_array().unwrap()[..] else { panic!("one ledger: {books:#}") };
    assert_eq!((number(ledger, "ledger"), number(ledger, "accounts"), &ledger["balanced"]), (1, 10_000, &json!(true)), "{ledger:#}");
    let log = &books["log"];
    assert_eq!((number(log, "op"), number(log, "accounts_asked_for")), (6618, 0), "{log:#}");
    assert_eq!(number(ledger, "transfers") + number(log, "transfers_asked_for"), 79_368);
    assert_eq!(amount(&ledger["debits_posted"]) + amount(&log["amount_asked_for"]), 39_740_854);
    assert_eq!(amount(&ledger["credits_posted"]) + amount(&log["amount_asked_for"]), 39_740_854);

    // A point in between: the checkpoint is the same, and the log ends there.
    let earlier = place.path().join("earlier.tigerbeetle");
    program.restore(&earlier, &["--op", "6000"]);
    let earlier = program.ok(&["inspect", "--no-blocks", "--books", text(&earlier)]);
    assert_eq!((&earlier["books"]["ledgers"], number(&earlier["books"]["log"], "op")), (&books["ledgers"], 6000));
}
