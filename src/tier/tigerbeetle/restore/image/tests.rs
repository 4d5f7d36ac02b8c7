use crate::error::{Error, Kind};
use crate::progress::Silent;
use crate::repository::name::{PackName, RunId};
use crate::tb_format::grid::{BlockKind, BlockReference};
use crate::tb_format::header::PrepareHeader;
use crate::tb_format::layout::{BLOCK_BYTES, GRID_OFFSET, HEADER_BYTES};
use crate::tb_format::record::TREE_ACCOUNTS;
use crate::tb_format::sample::{
    PrepareSample, Roots, SampleFile, block, headers_of, index_block_with, log_after, manifest_block, root_header, sample_timestamp,
    superblock_bytes, table_info, value_block,
};
use crate::tb_format::wal::{Prepare, root_prepare};
use crate::tier::sample::{LOG_OPS, as_replica, edited, first_difference};
use crate::tier::tigerbeetle::format::manifest::{Extent, Manifest};
use crate::tier::tigerbeetle::format::pack::{PackEntry, PackWriter};
use crate::tier::tigerbeetle::format::segment::{SegmentBuilder, SegmentEntry, segment_entry};
use crate::tier::tigerbeetle::restore::RestoreRequest;
use crate::tier::tigerbeetle::restore::check::check_image;
use crate::tier::tigerbeetle::restore::log::{earlier, op_at, prepares, timestamp_of};
use crate::tier::tigerbeetle::restore::point::Point;
use crate::tier::tigerbeetle::restore::restore;
use crate::tier::tigerbeetle::restore::role::Role;
use crate::tier::tigerbeetle::restore::tests::Fixture;
use std::os::unix::fs::FileExt;

/// A superblock that says that everything up to `commit_max` is committed, and whose view began
/// with `newest`, newest first.
fn with_consensus(sample: &SampleFile, commit_max: u64, newest: &[PrepareHeader]) -> SampleFile {
    edited(sample, |bytes| {
        bytes[1328..1336].copy_from_slice(&commit_max.to_le_bytes());
        bytes[2152..2156].copy_from_slice(&(newest.len() as u32).to_le_bytes());
        bytes[4096..4096 + 11 * HEADER_BYTES].fill(0);
        for (slot, header) in newest.iter().enumerate() {
            bytes[4096 + slot * HEADER_BYTES..][..HEADER_BYTES].copy_from_slice(header.bytes());
        }
    })
}

/// The headers of a sample's log from op `from` down to op `to`.
fn newest_first(sample: &SampleFile, from: u64, to: u64) -> Vec<PrepareHeader> {
    headers_of(&sample.log).into_iter().rev().filter(|header| (to..=from).contains(&header.op())).collect()
}

/// The image that ends at `op`. If that is right after the checkpoint, its superblock must say that
/// all of it is committed.
fn ending_at(op: u64) -> SampleFile {
    let sample = SampleFile::new(7, op - 959);
    let newest = if op == 959 { vec![sample.checkpoint().header()] } else { newest_first(&sample, op, op - 8) };
    if op < 1008 { with_consensus(&sample, op, &newest) } else { sample }
}

#[test]
fn every_op_of_the_window_gives_the_image_that_ends_there() {
    let fixture = Fixture::of(&SampleFile::new(7, LOG_OPS));
    for op in 1000..=1011 {
        let restored = fixture.restore(Point::Op(op)).unwrap();
        assert_eq!((restored.op, restored.timestamp_ns, restored.blocks), (op, sample_timestamp(op), 8));
        fixture.assert_image(&ending_at(op));
    }
    assert_eq!(fixture.restore(Point::Newest).unwrap().op, 1011);
    fixture.assert_image(&SampleFile::new(7, LOG_OPS));
    assert_eq!(fixture.restore(Point::Op(999)).unwrap_err().kind, Kind::Input);
}

/// A data file as a later release may write it: a tree that is not known, with keys and values of
/// its own sizes, and a table of the accounts with longer keys and values.
fn with_unknown_trees() -> SampleFile {
    let plain = SampleFile::new(7, LOG_OPS);
    let unknown_values = value_block(7, 10, 99, &[&[1; 40], &[2; 40]]);
    let unknown_index = index_block_with(7, 11, 99, 24, &[(unknown_values.0, (1, 2))]);
    let account_values = value_block(7, 12, TREE_ACCOUNTS, &[&[3; 256]]);
    let account_index = index_block_with(7, 13, TREE_ACCOUNTS, 16, &[(account_values.0, (5, 5))]);
    let [oldest, newest, _, _, _, _, sessions, free_set, ..] = &plain.blocks[..] else { panic!("the sample has too few blocks") };
    let tables = [table_info(unknown_index.0, 99, 6, 1), table_info(account_index.0, TREE_ACCOUNTS, 2, 1)];
    let manifest = manifest_block(7, 14, Some(newest.0), &tables);
    let body = |bytes: &[u8]| bytes[HEADER_BYTES..].to_vec();
    let roots = Roots {
        free_set_acquired: Some((free_set.0, body(&free_set.1))),
        client_sessions: Some((sessions.0, body(&sessions.1))),
        manifest: Some((oldest.0, manifest.0, 3)),
        grid_blocks: 14,
    };
    let superblock = superblock_bytes(&plain.checkpoint().header(), &roots, 3);
    let more = [unknown_values, unknown_index, account_values, account_index, manifest];
    SampleFile { superblock, blocks: [plain.blocks.clone(), more.to_vec()].concat(), ..plain }
}

#[test]
fn trees_that_are_not_known_come_back_as_they_were() {
    let sample = with_unknown_trees();
    let fixture = Fixture::of(&sample);
    let restored = fixture.restore(Point::Newest).unwrap();
    assert_eq!((restored.op, restored.blocks), (1011, 13));
    fixture.assert_image(&sample);
}

#[test]
fn a_backup_that_ends_right_behind_its_checkpoint_holds_the_log_before_it() {
    let fixture = Fixture::of(&SampleFile::new(7, 12));
    for op in 959..=971 {
        assert_eq!(fixture.restore(Point::Op(op)).unwrap().op, op);
        fixture.assert_image(&ending_at(op));
    }
}

#[test]
fn a_superblock_that_knows_later_ops_is_set_back() {
    let plain = SampleFile::new(7, 62);
    let sample = with_consensus(&plain, 1009, &newest_first(&plain, 1021, 1018));
    let fixture = Fixture::of(&sample);
    assert_eq!(fixture.restore(Point::Op(1021)).unwrap().op, 1021);
    fixture.assert_image(&sample);
    let same_consensus = |log_ops| SampleFile { superblock: sample.superblock, ..SampleFile::new(7, log_ops) };
    for op in 1009..1021 {
        fixture.restore(Point::Op(op)).unwrap();
        // At most nine headers: as many as a primary may have in flight, and one.
        fixture.assert_image(&with_consensus(&same_consensus(op - 959), 1009, &newest_first(&plain, op, op - 8)));
    }
    assert_eq!(fixture.restore(Point::Op(1008)).unwrap_err().kind, Kind::Input);
}

#[test]
fn an_image_without_a_log_is_set_back_to_its_checkpoint() {
    let plain = SampleFile::new(7, 2);
    let fixture = Fixture::of(&with_consensus(&plain, 959, &newest_first(&plain, 961, 960)));
    fixture.restore(Point::Op(959)).unwrap();
    fixture.assert_image(&with_consensus(&SampleFile::new(7, 0), 959, &[plain.checkpoint().header()]));
}

#[test]
fn the_log_of_a_whole_interval_goes_round_the_ring() {
    let fixture = Fixture::of(&SampleFile::new(7, 1008));
    assert_eq!(fixture.restore(Point::Newest).unwrap().op, 1967);
    fixture.assert_image(&SampleFile::new(7, 1008));
}

#[test]
fn a_file_that_never_made_a_checkpoint_is_restored_with_its_root() {
    let root = root_header(7);
    let superblock = superblock_bytes(&root, &Roots::default(), 1);
    let log = |ops| [vec![root_prepare(7).to_vec()], log_after(&root, ops)].concat();
    let sample = |ops| SampleFile { superblock, blocks: Vec::new(), earlier: Vec::new(), log: log(ops), reply: Vec::new() };
    let fixture = Fixture::of(&sample(3));
    for op in 0..=3 {
        assert_eq!(fixture.restore(Point::Op(op)).unwrap().op, op);
        fixture.assert_image(&sample(op));
    }
    assert_eq!(fixture.restore(Point::Time(sample_timestamp(2))).unwrap().op, 2);
    // Before its first op the ledger was empty, so nobody asks for a time before that.
    let error = fixture.restore(Point::Time(sample_timestamp(1) - 1)).unwrap_err();
    assert_eq!(error.kind, Kind::Input);
    assert_eq!(std::fs::metadata(fixture.path("image")).unwrap().len(), GRID_OFFSET);
}

#[test]
fn one_backup_becomes_every_replica_or_a_cluster_of_one() {
    let sample = SampleFile::new(7, LOG_OPS);
    // Captured from the second replica: whose file it was must not matter.
    let fixture = Fixture::of(&as_replica(&sample, 1).unwrap());
    let outputs: Vec<_> = (0..3).map(|index| (fixture.path(&format!("{index}")), Role::Replica { index })).collect();
    let mut request =
        RestoreRequest { point: Point::Newest, outputs, overwrite: false, binaries: Vec::new(), timeline: None, base: None, fresh: false };
    request.outputs.extend([(fixture.path("same"), Role::Same), (fixture.path("solo"), Role::Solo)]);
    restore(&fixture.repository, &request, &Silent).unwrap();
    assert_eq!(fixture.files(), ["0", "1", "2", "same", "solo"]);
    for index in 0..3 {
        assert_eq!(first_difference(&fixture.path(&index.to_string()), &as_replica(&sample, index).unwrap()).unwrap(), None);
    }
    assert_eq!(first_difference(&fixture.path("same"), &as_replica(&sample, 1).unwrap()).unwrap(), None);
    let solo = edited(&sample, |bytes| bytes[1364] = 1);
    assert_eq!(first_difference(&fixture.path("solo"), &solo).unwrap(), None);
}

#[test]
fn a_replica_that_the_cluster_does_not_have_is_refused() {
    let fixture = Fixture::of(&SampleFile::new(7, LOG_OPS));
    for index in [3, 6, 255] {
        let error = restore(&fixture.repository, &fixture.request(Point::Newest, Role::Replica { index }), &Silent).unwrap_err();
        assert_eq!(error.kind, Kind::Input);
        assert!(error.message.contains(&format!("there is no replica {index}: the cluster has 3 replicas, 0 to 2")), "{error}");
        assert_eq!(fixture.files(), [""; 0]);
    }
}

#[test]
fn a_log_that_does_not_continue_the_checkpoint_is_refused() {
    let fixture = Fixture::empty();
    let backup = fixture.backup(&SampleFile::new(7, LOG_OPS));
    let mut forged = SampleFile::new(7, LOG_OPS);
    let first = PrepareSample { parent: crate::tb_format::Checksum(9), ..PrepareSample::after(&forged.checkpoint().header()) };
    forged.log[0] = first.bytes();
    let entry = write_segment(&fixture, &forged.log);
    fixture.replace_manifest(&backup, |manifest| manifest.segments = vec![entry]);
    let error = fixture.refused(Point::Newest);
    assert_eq!(error.kind, Kind::Damaged);
    assert!(error.message.contains("op 960: the log is broken"), "{error}");
}

#[test]
fn an_earlier_log_that_does_not_lead_to_the_checkpoint_is_refused() {
    type Change = fn(&mut Manifest, SegmentEntry);
    let cases: [(Change, &str); 2] = [
        (|manifest, forged| manifest.segments[0] = forged, "op 10: the log is broken"),
        (|manifest, _| manifest.summary.log_first_op = 960, "the log before checkpoint 959 does not lead to it"),
    ];
    for (change, says) in cases {
        let fixture = Fixture::empty();
        let sample = SampleFile::new(7, 12);
        let backup = fixture.backup(&sample);
        let mut earlier = sample.earlier.clone();
        earlier[9] = PrepareSample { parent: crate::tb_format::Checksum(9), ..PrepareSample::after(&headers_of(&earlier)[8]) }.bytes();
        let forged = write_segment(&fixture, &earlier);
        fixture.replace_manifest(&backup, |manifest| change(manifest, forged));
        let error = fixture.refused(Point::Newest);
        assert!(error.kind == Kind::Damaged && error.message.contains(says), "{says}: {error}");
    }
}

#[test]
fn a_log_in_several_segments_that_overlap_is_restored_as_one() {
    let fixture = Fixture::empty();
    let sample = SampleFile::new(7, 12);
    let backup = fixture.backup(&sample);
    let whole = Manifest::read(&fixture.repository, &backup.name, None).unwrap();
    let first_op = whole.summary.log_first_op;
    let log = [&sample.earlier[..], &sample.log].concat();
    let part = |first: u64, last: u64| write_segment(&fixture, &log[(first - first_op) as usize..=(last - first_op) as usize]);
    // Before the checkpoint, across it and behind it; each begins where the one before ends, an op
    // later, or within it.
    let parts = [(first_op, 300), (301, 700), (690, 958), (958, 959), (959, 961), (962, 965), (964, 971)];
    let segments: Vec<SegmentEntry> = parts.iter().map(|(first, last)| part(*first, *last)).collect();
    fixture.replace_manifest(&backup, |manifest| manifest.segments = segments);
    assert_eq!(fixture.restore(Point::Newest).unwrap().op, 971);
    fixture.assert_image(&with_consensus(&sample, 971, &newest_first(&sample, 971, 963)));
    for op in [959, 960, 961, 962, 970] {
        assert_eq!(fixture.restore(Point::Op(op)).unwrap().op, op);
    }
    let manifest = fixture.repository.newest_checkpoint().unwrap().best.unwrap().0;
    let manifest = Manifest::read(&fixture.repository, &manifest, None).unwrap();
    let headers = earlier(&fixture.repository, &manifest, &mut |_| Ok(())).unwrap();
    assert_eq!(headers.iter().map(|header| header.op()).collect::<Vec<_>>(), (first_op..=959).collect::<Vec<_>>());
    for op in [959, 960, 961, 962, 965, 971] {
        assert_eq!(timestamp_of(&fixture.repository, &manifest, op).unwrap(), sample_timestamp(op), "op {op}");
        assert_eq!(op_at(&fixture.repository, &manifest, sample_timestamp(op)).unwrap(), op);
        assert_eq!(op_at(&fixture.repository, &manifest, sample_timestamp(op) + 1).unwrap(), op);
    }
    assert_eq!(timestamp_of(&fixture.repository, &manifest, 972).unwrap(), 0);
}

/// A segment of these prepares, whether they continue one another or not.
fn write_segment(fixture: &Fixture, log: &[Vec<u8>]) -> SegmentEntry {
    let mut builder = SegmentBuilder::default();
    for bytes in log {
        builder.push(&Prepare::check(bytes).unwrap());
    }
    let (name, finishing) = builder.write(&fixture.repository, 1, RunId(1)).unwrap().unwrap();
    segment_entry(name, finishing).unwrap()
}

#[test]
fn a_pack_that_nothing_needs_is_not_read() {
    let fixture = Fixture::empty();
    let backup = fixture.backup(&SampleFile::new(7, LOG_OPS));
    fixture.replace_manifest(&backup, |manifest| {
        let gone = PackEntry { name: PackName { sequence: 9, ..manifest.packs[0].name }, ..manifest.packs[0].clone() };
        manifest.packs.push(gone);
    });
    fixture.restore(Point::Newest).unwrap();
    fixture.assert_image(&SampleFile::new(7, LOG_OPS));
}

#[test]
fn a_log_that_ends_before_the_op_is_refused() {
    let fixture = Fixture::empty();
    let backup = fixture.backup(&SampleFile::new(7, LOG_OPS));
    let manifest = Manifest::read(&fixture.repository, &backup.name, None).unwrap();
    let error = prepares(&fixture.repository, &manifest, 1012, &mut |_| Ok(())).unwrap_err();
    assert!(error.kind == Kind::Damaged && error.message.contains("ends at op 1011, op 1012 is wanted"), "{error}");
}

#[test]
fn the_promised_end_is_compared() {
    let fixture = Fixture::empty();
    let backup = fixture.backup(&SampleFile::new(7, LOG_OPS));
    fixture.replace_manifest(&backup, |manifest| manifest.summary.recovered_to_checksum = "0".repeat(32));
    let error = fixture.refused(Point::Newest);
    assert_eq!(error.kind, Kind::Damaged);
    assert!(error.message.contains("the backup promised 0000"), "{error}");
    assert_eq!(fixture.restore(Point::Op(1005)).unwrap().op, 1005);
}

/// What a restore says of a backup whose manifest names one block more.
fn refused_with(root: BlockReference, bytes: Vec<u8>) -> Error {
    let fixture = Fixture::empty();
    let backup = fixture.backup(&SampleFile::new(7, LOG_OPS));
    let mut packs = PackWriter::new(&fixture.repository, RunId(1), 959, 1);
    packs.begin_extent().unwrap();
    packs.block(root, bytes).unwrap();
    let location = packs.end_extent().unwrap();
    let entries = packs.finish().unwrap();
    fixture.replace_manifest(&backup, |manifest| {
        manifest.packs.extend(entries);
        manifest.extents.push(Extent { root, location });
    });
    fixture.refused(Point::Newest)
}

#[test]
fn a_block_beyond_the_file_is_refused() {
    let (root, bytes) = block(7, BlockKind::Value, 99, [0; 96], &[1; 64]);
    let error = refused_with(root, bytes);
    assert_eq!(error.kind, Kind::Damaged);
    assert!(error.message.contains("block address 99 lies beyond the data file"), "{error}");
}

#[test]
fn a_frame_larger_than_any_block_is_refused() {
    let root = block(7, BlockKind::Value, 9, [0; 96], &[1; 64]).0;
    let error = refused_with(root, vec![0; BLOCK_BYTES + 1]);
    assert!(error.kind == Kind::Damaged && error.message.contains("holds 524289 bytes: no block is so large"), "{error}");
}

#[test]
fn the_written_image_is_checked_against_the_backup() {
    let fixture = Fixture::empty();
    let backup = fixture.backup(&SampleFile::new(7, LOG_OPS));
    fixture.replace_manifest(&backup, |manifest| manifest.summary.blocks = 9);
    let error = fixture.refused(Point::Newest);
    assert!(error.message.contains("has 8 reachable blocks, the backup had 9"), "{error}");
}

#[test]
fn a_damaged_image_does_not_pass_the_check() {
    let fixture = Fixture::empty();
    let backup = fixture.backup(&SampleFile::new(7, LOG_OPS));
    fixture.restore(Point::Newest).unwrap();
    let (path, manifest) = (fixture.path("image"), Manifest::read(&fixture.repository, &backup.name, None).unwrap());
    check_image(&path, Some(manifest.summary.blocks), 1011, &Silent).unwrap();
    let error = check_image(&path, Some(manifest.summary.blocks), 1012, &Silent).unwrap_err();
    assert!(error.kind == Kind::Damaged && error.message.contains("ends at op 1011, not at op 1012"), "{error}");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xff], GRID_OFFSET + 4 * BLOCK_BYTES as u64 + 300).unwrap();
    let error = check_image(&path, Some(manifest.summary.blocks), 1011, &Silent).unwrap_err();
    assert!(
        error.kind == Kind::Damaged && error.message.starts_with("the restored image is damaged") && error.message.contains("address 5"),
        "{error}"
    );
}
