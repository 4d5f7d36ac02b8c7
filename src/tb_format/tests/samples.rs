//! The sample data file is read as a real one is: with the walk that a backup makes.

use super::CLUSTER;
use crate::tb_format::grid::{Block, BlockReference};
use crate::tb_format::layout::{
    BLOCK_BYTES, PREPARE_BYTES_MAX, REPLY_BYTES_MAX, SUPERBLOCK_ZONE_BYTES, WAL_HEADERS_BYTES, WAL_HEADERS_OFFSET, block_offset,
    prepare_offset, reply_offset, slot_of,
};
use crate::tb_format::manifest_log::{LiveTables, ManifestBlock};
use crate::tb_format::record::{Account, TREE_ACCOUNTS, TREE_TRANSFERS, Transfer};
use crate::tb_format::reply::Reply;
use crate::tb_format::sample::SampleFile;
use crate::tb_format::superblock::read_quorum;
use crate::tb_format::table::{IndexBlock, ValueBlock};
use crate::tb_format::trailer::ClientSessions;
use crate::tb_format::wal::{Chain, HeaderRing, Prepare};
use std::collections::{BTreeMap, BTreeSet};

/// A sparse file in memory.
struct Pieces(BTreeMap<u64, Vec<u8>>);

impl Pieces {
    /// Sectors not written are zero; a later piece overwrites an earlier one.
    fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        for (start, piece) in self.0.range(..offset + length as u64) {
            for (at, byte) in (*start..).zip(piece).filter(|(at, _)| *at >= offset && *at < offset + length as u64) {
                bytes[(at - offset) as usize] = *byte;
            }
        }
        bytes
    }
}

#[test]
fn the_sample_file_is_whole() {
    let file = SampleFile::new(CLUSTER, 10);
    let mut pieces = Pieces(BTreeMap::new());
    for (offset, bytes) in file.pieces() {
        pieces.0.insert(offset, bytes);
    }
    let quorum = read_quorum(&pieces.read(0, SUPERBLOCK_ZONE_BYTES)).unwrap();
    let checkpoint = quorum.superblock.checkpoint();
    assert_eq!(checkpoint.checkpoint_id(), file.checkpoint().checkpoint_id());

    let mut seen = BTreeSet::new();
    let mut fetch = |reference: BlockReference| {
        assert!(reference.address <= checkpoint.address_max());
        assert!(seen.insert(reference.address));
        pieces.read(block_offset(reference.address).unwrap(), BLOCK_BYTES)
    };
    for trailer in [checkpoint.free_set_acquired(), checkpoint.client_sessions()] {
        let reference = trailer.last.unwrap();
        let bytes = fetch(reference);
        let block = Block::check(&bytes, reference).unwrap();
        assert_eq!(block.trailer_previous(), Ok(None));
        if let Ok(sessions) = ClientSessions::from_block(&block, trailer.checksum) {
            assert_eq!(sessions.reply_slots().collect::<Vec<_>>(), [0]);
            let slot = pieces.read(reply_offset(0), REPLY_BYTES_MAX);
            assert_eq!(Reply::check(&slot).unwrap().header(), &sessions.sessions()[0].reply);
        }
    }
    let mut tables = LiveTables::new();
    let mut next = checkpoint.manifest_newest();
    for _ in 0..checkpoint.manifest_block_count() {
        let bytes = fetch(next.unwrap());
        let manifest = ManifestBlock::from_block(Block::check(&bytes, next.unwrap()).unwrap()).unwrap();
        tables.absorb(&manifest).unwrap();
        next = manifest.previous();
    }
    let (mut debits, mut credits, mut amounts) = (0, 0, 0);
    for table in tables.tables() {
        let bytes = fetch(table.reference);
        let index = IndexBlock::from_block(Block::check(&bytes, table.reference).unwrap()).unwrap();
        for reference in index.value_blocks() {
            let bytes = fetch(reference);
            let values = ValueBlock::from_block(Block::check(&bytes, reference).unwrap()).unwrap();
            for record in values.records() {
                match values.tree_id() {
                    TREE_ACCOUNTS => {
                        debits += Account::from_bytes(record).unwrap().debits_posted();
                        credits += Account::from_bytes(record).unwrap().credits_posted();
                    }
                    TREE_TRANSFERS => amounts += Transfer::from_bytes(record).unwrap().amount(),
                    other => panic!("tree {other}"),
                }
            }
        }
    }
    assert_eq!((debits, credits, amounts), (30, 30, 30));
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8]);

    let zone = pieces.read(WAL_HEADERS_OFFSET, WAL_HEADERS_BYTES);
    assert_eq!(HeaderRing::new(&zone).unwrap().head().unwrap().op(), 969);
    let mut chain = Chain::after_header(&checkpoint.header());
    for op in 960..=969 {
        let slot = pieces.read(prepare_offset(slot_of(op)), PREPARE_BYTES_MAX);
        chain.accept(Prepare::check(&slot).unwrap().header()).unwrap();
    }
    assert!(Prepare::check(&pieces.read(prepare_offset(slot_of(970)), 4096)).unwrap().header().is_reserved());
}

#[test]
fn a_file_with_an_unsound_superblock_leaves_it_out() {
    let mut file = SampleFile::new(CLUSTER, 0);
    file.superblock[40] ^= 1;
    assert!(file.pieces().iter().all(|(offset, _)| *offset > 0));
}
