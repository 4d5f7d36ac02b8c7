use super::{Extent, Manifest, Summary};
use crate::error::{Error, Kind};
use crate::repository::Repository;
use crate::repository::frame::ObjectKind;
use crate::repository::name::{CheckpointName, PackName, RunId, SegmentName};
use crate::repository::object_writer::ObjectWriter;
use crate::repository::tests::noise;
use crate::tb_format::checksum::Checksum;
use crate::tb_format::grid::BlockReference;
use crate::tb_format::sample::SampleFile;
use crate::tb_format::superblock::SuperBlock;
use crate::tier::tigerbeetle::format::pack::{Location, PackEntry};
use crate::tier::tigerbeetle::format::segment::SegmentEntry;
use std::sync::Arc;

fn name() -> CheckpointName {
    crate::repository::tests::checkpoint(959, 1)
}

fn segment(first_op: u64, last_op: u64) -> SegmentEntry {
    let name = SegmentName { timeline: 1, first_op, last_op, run: RunId(first_op) };
    SegmentEntry { name, stored_bytes: 1000 + first_op, digest: [first_op as u8; 32] }
}

fn extent(address: u64, first_frame: u32, blocks: u32) -> Extent {
    let root = BlockReference { address, checksum: Checksum(u128::from(address) << 100) };
    Extent { root, location: Location { pack: 1, first_frame, blocks } }
}

/// A manifest in which every part fits the others. The objects that it names do not exist.
fn sound() -> Manifest {
    let sample = SampleFile::new(7, 0);
    let superblock = SuperBlock::check(&sample.superblock).unwrap();
    let checkpoint = superblock.checkpoint();
    let summary = Summary {
        cluster: format!("{:032x}", 7),
        timeline: 1,
        replica: 0,
        replica_count: 3,
        release: "0.16.78".into(),
        checkpoint_op: 959,
        checkpoint_id: checkpoint.checkpoint_id().to_string(),
        checkpoint_timestamp_ns: checkpoint.header().timestamp(),
        log_first_op: 960,
        first_restorable_op: 1000,
        recovered_to_op: 1020,
        recovered_to_timestamp_ns: 9,
        recovered_to_checksum: Checksum(1).to_string(),
        commit_known_op: 1019,
        data_file_bytes: checkpoint.storage_size(),
        blocks: 5,
        blocks_stored: 5,
        blocks_reused: 0,
        bytes_read: u64::MAX,
        bytes_stored: 1,
        rounds: 1,
        began_ns: 1,
        ended_ns: 2,
    };
    let pack = |sequence: u32| {
        let name = PackName { checkpoint_op: 959, run: RunId(3), sequence };
        PackEntry { name, blocks: 10, stored_bytes: 77, digest: [sequence as u8; 32] }
    };
    Manifest {
        summary,
        superblock,
        replies: vec![(0, sample.reply.clone()), (63, Vec::new())],
        packs: vec![pack(0), pack(1)],
        extents: vec![extent(1, 0, 4), extent(5, 4, 6)],
        segments: vec![segment(950, 1000), segment(1001, 1019), segment(1015, 1030)],
    }
}

fn repository() -> Arc<Repository> {
    crate::repository::tests::repository().1
}

/// The superblock of another checkpoint.
fn next_superblock() -> SuperBlock {
    SuperBlock::check(&crate::tier::sample::next_checkpoint(&SampleFile::new(7, 960), 0).unwrap().superblock).unwrap()
}

/// Writes a manifest and reads it back.
fn there_and_back(manifest: &Manifest) -> crate::error::Result<Manifest> {
    let repository = repository();
    let stored = manifest.write(&repository, &name())?;
    Manifest::read(&repository, &name(), Some(stored.size_bytes))
}

#[test]
fn a_manifest_reads_back() {
    let manifest = sound();
    let repository = repository();
    let stored = manifest.write(&repository, &name()).unwrap();
    let read = Manifest::read(&repository, &name(), None).unwrap();
    assert_eq!((&read.summary, &read.superblock, &read.replies), (&manifest.summary, &manifest.superblock, &manifest.replies));
    assert_eq!((&read.packs, &read.extents, &read.segments), (&manifest.packs, &manifest.extents, &manifest.segments));
    assert_eq!(Manifest::read_summary(&repository, &name()).unwrap(), manifest.summary);
    assert_eq!(Manifest::read_head(&repository, &name()).unwrap(), (manifest.summary.clone(), manifest.superblock.clone()));
    assert_eq!(Manifest::read(&repository, &name(), Some(stored.size_bytes + 1)).unwrap_err().kind, Kind::Damaged);
}

#[test]
fn tables_larger_than_a_frame_are_cut_between_rows() {
    let mut manifest = sound();
    manifest.packs = (0..20_000)
        .map(|sequence| PackEntry { name: PackName { sequence, ..manifest.packs[0].name }, ..manifest.packs[0].clone() })
        .collect();
    manifest.extents = (0..30_000).map(|address| extent(1 + address, 0, 1)).collect();
    manifest.segments = (0..15_000).map(|number| segment(960 + number, 960 + number)).collect();
    let read = there_and_back(&manifest).unwrap();
    assert!(read.packs == manifest.packs && read.extents == manifest.extents && read.segments == manifest.segments);
}

#[test]
fn parts_that_do_not_fit_one_another_are_damage() {
    type Change = fn(&mut Manifest);
    let cases: [(Change, &str); 21] = [
        (|manifest| manifest.extents.reverse(), "not in ascending order"),
        (|manifest| manifest.extents.push(extent(5, 0, 1)), "not in ascending order"),
        (|manifest| manifest.extents[1].location.blocks = 0, "the extent at address 5 lies outside its pack"),
        (|manifest| manifest.extents[1].location.blocks = 7, "lies outside its pack"),
        (|manifest| manifest.extents[1].location.first_frame = u32::MAX, "lies outside its pack"),
        (|manifest| manifest.extents[1].location.pack = 2, "lies outside its pack"),
        (|manifest| manifest.summary.log_first_op = 961, "its log begins at op 961"),
        (|manifest| manifest.summary.log_first_op = 949, "a gap before op 950"),
        (|manifest| _ = manifest.segments.remove(1), "a gap before op 1015"),
        (|manifest| _ = manifest.segments.remove(2), "its log ends at op 1019 instead of 1020"),
        (|manifest| manifest.segments.clear(), "its log ends at op 959 instead of 1020"),
        (|manifest| manifest.segments[1].name.last_op = 1000, "a gap before op 1001"),
        (|manifest| manifest.segments.swap(0, 2), "a gap before op 1015"),
        (|manifest| manifest.summary.data_file_bytes += 1, "its summary and its superblock disagree"),
        (|manifest| manifest.summary.first_restorable_op = 958, "disagree"),
        (|manifest| manifest.summary.first_restorable_op = 1021, "disagree"),
        (|manifest| manifest.summary.commit_known_op = 1021, "disagree"),
        (|manifest| manifest.summary.commit_known_op = 958, "disagree"),
        (|manifest| manifest.superblock = next_superblock(), "disagree"),
        (|manifest| manifest.summary.timeline = 2, "its summary belongs to another name"),
        (|manifest| manifest.summary.replica = 1, "its summary belongs to another name"),
    ];
    for (change, says) in cases {
        let mut manifest = sound();
        change(&mut manifest);
        let error = forged(&frames_of(&manifest)).0;
        assert!(error.kind == Kind::Damaged && error.message.contains(says), "{says}: {error}");
        assert!(error.message.starts_with(&name().object()), "{error}");
        if !says.contains("another name") {
            let error = there_and_back(&manifest).unwrap_err();
            assert!(error.kind == Kind::Bug && error.message.contains(says), "nor is it ever written: {error}");
        }
    }
}

/// The frames of a manifest as the format defines them, without any check of the manifest.
fn frames_of(manifest: &Manifest) -> Vec<(u8, Vec<u8>)> {
    let mut frames = vec![(1, serde_json::to_vec(&manifest.summary).unwrap()), (2, manifest.superblock.bytes().to_vec())];
    for pack in &manifest.packs {
        let name = [&pack.name.checkpoint_op.to_le_bytes()[..], &pack.name.run.0.to_le_bytes(), &pack.name.sequence.to_le_bytes()].concat();
        frames.push((4, [&name[..], &pack.blocks.to_le_bytes(), &pack.stored_bytes.to_le_bytes(), &pack.digest].concat()));
    }
    for extent in &manifest.extents {
        let root = [&extent.root.address.to_le_bytes()[..], &extent.root.checksum.to_bytes()].concat();
        let location = [extent.location.pack, extent.location.first_frame, extent.location.blocks, 0].map(u32::to_le_bytes).concat();
        frames.push((5, [root, location].concat()));
    }
    for SegmentEntry { name, stored_bytes, digest } in &manifest.segments {
        let name = [u64::from(name.timeline), name.first_op, name.last_op, name.run.0, *stored_bytes].map(u64::to_le_bytes).concat();
        frames.push((6, [&name[..], digest].concat()));
    }
    frames
}

#[test]
fn the_format_of_a_manifest_is_the_documents() {
    let (manifest, repository) = (sound(), repository());
    let mut writer = ObjectWriter::create(&repository, ObjectKind::Checkpoint, name().object()).unwrap();
    let frames = frames_of(&manifest);
    for (_, plain) in &frames {
        writer.push(plain.clone()).unwrap();
    }
    writer.finish(frames.iter().map(|(section, _)| *section).collect()).unwrap().wait().unwrap();
    let read = Manifest::read(&repository, &name(), None).unwrap();
    assert_eq!((&read.packs, &read.extents, &read.segments), (&manifest.packs, &manifest.extents, &manifest.segments));
}

/// An object of these frames, each with its section.
fn forged(frames: &[(u8, Vec<u8>)]) -> (Error, Error) {
    forged_with(frames, frames.iter().map(|(section, _)| *section).collect())
}

fn forged_with(frames: &[(u8, Vec<u8>)], sections: Vec<u8>) -> (Error, Error) {
    let repository = repository();
    let mut writer = ObjectWriter::create(&repository, ObjectKind::Checkpoint, name().object()).unwrap();
    for (_, plain) in frames {
        writer.push(plain.clone()).unwrap();
    }
    writer.finish(sections).unwrap().wait().unwrap();
    let head = Manifest::read_head(&repository, &name()).err().unwrap_or(Error::bug("the head is sound"));
    (Manifest::read(&repository, &name(), None).unwrap_err(), head)
}

#[test]
fn sections_that_do_not_decode_are_damage() {
    let manifest = sound();
    let summary = serde_json::to_vec(&manifest.summary).unwrap();
    let head = vec![(1, summary.clone()), (2, manifest.superblock.bytes().to_vec())];
    let and = |section: u8, plain: Vec<u8>| [&head[..], &[(section, plain)]].concat();
    let mut padded_extent = vec![0; 40];
    padded_extent[39] = 1;
    let mut padded_segment = vec![0; 72];
    padded_segment[7] = 1;
    for (frames, says) in [
        (and(3, vec![64, 0, 0, 0, 0, 0, 0, 0]), "frame 2 (section 3) does not decode"),
        (and(3, vec![0, 0, 0, 0, 1, 0, 0, 0]), "frame 2 (section 3) does not decode"),
        (and(3, vec![0; 7]), "frame 2 (section 3) does not decode"),
        (and(4, vec![0; 63]), "frame 2 (section 4) does not decode"),
        (and(5, vec![0; 41]), "frame 2 (section 5) does not decode"),
        (and(5, padded_extent), "frame 2 (section 5) does not decode"),
        (and(6, vec![0; 71]), "frame 2 (section 6) does not decode"),
        (and(6, padded_segment), "frame 2 (section 6) does not decode"),
        (and(0, vec![]), "frame 2 (section 0) does not decode"),
        (and(7, vec![]), "frame 2 (section 7) does not decode"),
        (and(1, summary.clone()), "frame 2 (section 1) does not decode"),
        (and(2, manifest.superblock.bytes().to_vec()), "frame 2 (section 2) does not decode"),
        (vec![(1, summary.clone()), (2, noise(8192, 1))], "its superblock: header checksum"),
        (vec![(1, summary.clone())], "it holds no superblock"),
        (vec![(2, manifest.superblock.bytes().to_vec())], "it does not begin with a summary"),
        (vec![], "it does not begin with a summary"),
        (vec![(1, b"{}".to_vec())], "its summary does not decode"),
    ] {
        let error = forged(&frames).0;
        assert!(error.kind == Kind::Damaged && error.message.contains(says), "{says}: {error}");
    }
    assert!(forged_with(&head, vec![1]).0.message.contains("does not name a section for each frame"));
    assert!(forged_with(&head, vec![1, 2, 3]).0.message.contains("does not name a section for each frame"));
}

#[test]
fn what_a_newer_writer_adds_is_passed_over() {
    let manifest = sound();
    let mut summary = serde_json::to_vec(&manifest.summary).unwrap();
    summary.pop();
    summary.extend_from_slice(b",\"more\":1}");
    let error = forged(&[(1, summary), (2, manifest.superblock.bytes().to_vec()), (128, vec![1, 2, 3])]).0;
    // All of this forgery decodes. Only the log is missing.
    assert!(error.message.contains("its log"), "{error}");
}

#[test]
fn a_head_is_checked_as_the_whole_is() {
    let manifest = sound();
    let summary = serde_json::to_vec(&manifest.summary).unwrap();
    assert!(forged(&[(1, summary.clone())]).1.message.contains("its second frame is no superblock"));
    assert!(forged(&[(1, summary.clone()), (4, vec![])]).1.message.contains("its second frame is no superblock"));
    assert!(forged(&[(1, summary), (2, noise(8192, 1))]).1.message.contains("its superblock: header checksum"));
    assert!(forged(&[]).1.message.contains("does not begin with a summary"));
}
