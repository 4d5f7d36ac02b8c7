//! `amber inspect`: what is in a data file, for people.
//!
//! It uses the same readers as a backup, on a file that may be in use. Nothing is written, and
//! nothing is locked.

use super::Manner;
use super::inspect_books::books;
use super::output::{Report, facts, table};
use crate::disk::file::ReadOptions;
use crate::error::Error;
use crate::error::Result;
use crate::monitor::progress::for_people;
use crate::progress::Progress;
use crate::replica::checkpoint::{CheckpointSink, Walk};
use crate::replica::extent::{BlockSink, CheckedBlock};
use crate::replica::tail::header_ring;
use crate::tb_format::grid::{Block, BlockReference};
use crate::tb_format::header::{operation_name, release_text};
use crate::tb_format::layout::{CHECKPOINT_OPS, WAL_SLOTS, prepare_max_for_checkpoint};
use crate::tb_format::quorum::Quorum;
use crate::tb_format::superblock::SuperBlock;
use crate::tb_format::wal::{HeaderRing, SlotHeader};
use crate::units::{bytes_text, time_text};
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Arguments of `amber inspect`.
#[derive(Debug, Args)]
pub struct InspectArguments {
    /// A TigerBeetle data file; its server may be running.
    file: PathBuf,
    /// Do not walk the reachable blocks: quick, however large the file is.
    #[arg(long)]
    no_blocks: bool,
    /// Count the accounts and transfers and add up their balances, by ledger.
    #[arg(long)]
    books: bool,
}

/// Inspects.
pub fn run(arguments: &InspectArguments, manner: Manner) -> Result<Report> {
    let mut walk = Walk::open(&arguments.file, ReadOptions::default())?;
    let quorum = walk.quorum()?;
    let (mut text, superblock_json) = superblock_facts(&quorum);
    let (log_text, log_json) = log_facts(&arguments.file, &quorum.superblock)?;
    text.push_str(&log_text);
    let mut json = json!({ "file": arguments.file.display().to_string(), "superblock": superblock_json, "log": log_json });
    if !arguments.no_blocks {
        let progress = for_people(manner.quiet);
        let mut tally = Tally { progress: &*progress, bytes: 0, kinds: BTreeMap::new(), checkpoint_op: 0 };
        walk.run(&mut tally)?;
        progress.end();
        text.push_str(&tally.text());
        if let Value::Object(fields) = &mut json {
            fields.insert("blocks".into(), tally.json());
        }
    }
    if arguments.books {
        let progress = for_people(manner.quiet);
        let books = books(&arguments.file, &mut walk, &*progress)?;
        progress.end();
        text.push_str(&books.text());
        if let Value::Object(fields) = &mut json {
            fields.insert("books".into(), books.json());
        }
    }
    for note in walk.notes() {
        text.push_str(&format!("note: {note}\n"));
    }
    Ok(Report::new(text, json))
}

fn superblock_facts(quorum: &Quorum) -> (String, Value) {
    let superblock = &quorum.superblock;
    let checkpoint = superblock.checkpoint();
    let header = checkpoint.header();
    let copies: Vec<String> = quorum.copies.iter().map(|copy| format!("{copy:?}").to_lowercase()).collect();
    let members = superblock.members().iter().filter(|member| **member != 0).count();
    let rows = [
        ("superblock", format!("sequence {}, copies {}", superblock.sequence(), copies.join(" "))),
        ("cluster", superblock.cluster().to_string()),
        ("replica", format!("{} of {} ({members} members known)", superblock.replica_index(), superblock.replica_count())),
        ("release", format!("{}, formatted by {}", release_text(checkpoint.release()), release_text(superblock.release_format()))),
        ("view", format!("{}, log view {}", superblock.view(), superblock.log_view())),
        ("checkpoint", format!("op {} at {}, id {}", header.op(), time_text(header.timestamp()), checkpoint.checkpoint_id())),
        ("commit max", format!("op {} (the next checkpoint comes at op {})", superblock.commit_max(), header.op() + CHECKPOINT_OPS)),
        ("state sync", if superblock.sync_op_max() == 0 { "no".into() } else { format!("up to op {}", superblock.sync_op_max()) }),
        ("data file", bytes_text(checkpoint.storage_size())),
        ("manifest log", format!("{} blocks", checkpoint.manifest_block_count())),
    ];
    let json = json!({
        "sequence": superblock.sequence(),
        "copies": copies,
        "cluster": superblock.cluster().to_string(),
        "replica": superblock.replica_index(),
        "replica_count": superblock.replica_count(),
        "release": release_text(checkpoint.release()),
        "view": superblock.view(),
        "log_view": superblock.log_view(),
        "checkpoint_op": header.op(),
        "checkpoint_timestamp_ns": header.timestamp(),
        "checkpoint_id": checkpoint.checkpoint_id().to_string(),
        "commit_max": superblock.commit_max(),
        "sync_op_max": superblock.sync_op_max(),
        "data_file_bytes": checkpoint.storage_size(),
        "manifest_blocks": checkpoint.manifest_block_count(),
    });
    (facts(&rows), json)
}

fn log_facts(path: &Path, superblock: &SuperBlock) -> Result<(String, Value)> {
    let zone = header_ring(path, ReadOptions::default())?;
    let ring = HeaderRing::new(&zone).map_err(|error| Error::damaged(format!("{}: log ring: {error}", path.display())).caused_by(error))?;
    let (mut valid, mut reserved, mut invalid, mut lowest) = (0, 0, 0, u64::MAX);
    for slot in 0..WAL_SLOTS {
        match ring.slot(slot) {
            SlotHeader::Valid(header) => {
                valid += 1;
                lowest = lowest.min(header.op());
            }
            SlotHeader::Reserved => reserved += 1,
            SlotHeader::Invalid => invalid += 1,
        }
    }
    let head = ring.head();
    let newest = head.map_or_else(
        || "empty".to_owned(),
        |head| {
            format!(
                "op {} at {} ({}, view {}, commit {})",
                head.op(),
                time_text(head.timestamp()),
                operation_name(head.operation()),
                head.view(),
                head.commit()
            )
        },
    );
    let room = prepare_max_for_checkpoint(superblock.checkpoint().header().op());
    let rows = [
        ("log head", newest),
        (
            "log ring",
            format!("{valid} prepares, {reserved} empty, {invalid} damaged or being written; up to op {room} with this checkpoint"),
        ),
    ];
    let json = json!({
        "head_op": head.map(|head| head.op()),
        "head_timestamp_ns": head.map(|head| head.timestamp()),
        "lowest_op": (valid > 0).then_some(lowest),
        "prepares": valid,
        "empty": reserved,
        "damaged": invalid,
    });
    Ok((facts(&rows), json))
}

/// Blocks by kind and tree.
struct Tally<'a> {
    progress: &'a dyn Progress,
    bytes: u64,
    /// Maps kind and tree to blocks and bytes.
    kinds: BTreeMap<(String, String), (u64, u64)>,
    checkpoint_op: u64,
}

impl Tally<'_> {
    fn text(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .kinds
            .iter()
            .map(|((kind, tree), (blocks, bytes))| vec![kind.clone(), tree.clone(), blocks.to_string(), bytes_text(*bytes)])
            .collect();
        let blocks: u64 = self.kinds.values().map(|(blocks, _)| blocks).sum();
        format!(
            "\n{blocks} reachable blocks of checkpoint {}, {}, every checksum good\n\n{}",
            self.checkpoint_op,
            bytes_text(self.bytes),
            table(&["kind", "tree", "blocks", "bytes"], &rows)
        )
    }

    fn json(&self) -> Value {
        let kinds = self
            .kinds
            .iter()
            .map(|((kind, tree), (blocks, bytes))| json!({ "kind": kind, "tree": tree, "blocks": blocks, "bytes": bytes }));
        json!({ "checkpoint_op": self.checkpoint_op, "bytes": self.bytes, "kinds": kinds.collect::<Vec<_>>() })
    }
}

impl BlockSink for Tally<'_> {
    fn holds(&mut self, _root: BlockReference) -> bool {
        false
    }

    fn begin_extent(&mut self, _root: BlockReference) -> Result<()> {
        Ok(())
    }

    fn block(&mut self, reference: BlockReference, block: CheckedBlock) -> Result<()> {
        let bytes = block.as_ref();
        self.bytes += bytes.len() as u64;
        self.progress.position(self.bytes);
        if let Ok(checked) = Block::check(bytes, reference) {
            let entry = self.kinds.entry((checked.kind().name().to_owned(), tree_of(checked))).or_default();
            entry.0 += 1;
            entry.1 += bytes.len() as u64;
        }
        Ok(())
    }

    fn end_extent(&mut self) -> Result<()> {
        Ok(())
    }

    fn abandon_extent(&mut self) {}
}

fn tree_of(block: Block<'_>) -> String {
    use crate::tb_format::table::{IndexBlock, ValueBlock};
    let index = IndexBlock::from_block(block).map(|index| index.tree_id());
    let tree = index.or_else(|_| ValueBlock::from_block(block).map(|values| values.tree_id()));
    tree.map_or_else(|_| "-".to_owned(), |tree_id| tree_id.to_string())
}

impl CheckpointSink for Tally<'_> {
    fn begin_round(&mut self, superblock: &SuperBlock) -> Result<()> {
        self.kinds.clear();
        self.bytes = 0;
        self.checkpoint_op = superblock.checkpoint().header().op();
        self.progress.begin("reachable blocks", None);
        Ok(())
    }

    fn expect_extents(&mut self, _extents: u64) {}
}
