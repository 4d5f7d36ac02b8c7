//! Valid data files of any size for measurements, with any number of tables. A file can grow from
//! checkpoint to checkpoint.
//!
//! Flow: [`LargeFile::create`] writes the tables, manifest, log and superblock of a first
//! checkpoint. [`LargeFile::next_checkpoint`] rewrites some tables after all others, as a server
//! that compacts does. It adds the block of the manifest log that says so, extends the log by a
//! checkpoint's worth of ops, and writes the superblock. Blocks are written one at a time, so that
//! the size of the file does not matter. Where value blocks are sparse, each holds a single record
//! and the rest of it is a hole. Such a file has as many blocks and tables as a large file, without
//! its bytes. This module is only for measurements: the feature `samples`.

use crate::tb_format::checkpoint_state::CheckpointState;
use crate::tb_format::checksum::Checksum;
use crate::tb_format::grid::{BlockKind, BlockReference};
use crate::tb_format::header::PrepareHeader;
use crate::tb_format::image::superblock_zone;
use crate::tb_format::layout::{
    BLOCK_BYTES, CHECKPOINT_OPS, HEADER_BYTES, SUPERBLOCK_HEADER_BYTES, WAL_SLOTS, block_offset, prepare_offset, slot_of, wal_header_offset,
};
use crate::tb_format::record::{RECORD_BYTES, TREE_TRANSFERS};
use crate::tb_format::sample::{
    Roots, block, client_sessions_block, headers_of, index_block, link, log_after, manifest_block, root_header, sample_timestamp,
    seal_superblock, superblock_bytes, table_info, transfer, value_block,
};
use crate::tb_format::superblock::SuperBlock;
use std::fs::File;
use std::io::{Error, Result};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The op of the first checkpoint.
const FIRST_CHECKPOINT_OP: u64 = 959;
/// Ops after each checkpoint. With so many, a server starts from the end of the log without the log
/// before the checkpoint.
const LOG_OPS: u64 = 52;
/// The number of events that fit into a block of the manifest log.
const EVENTS_A_BLOCK: usize = (BLOCK_BYTES - HEADER_BYTES) / 128;
/// Records of a full value block.
const RECORDS_A_BLOCK: usize = (BLOCK_BYTES - HEADER_BYTES) / RECORD_BYTES;
const EVENT_INSERT: u8 = 1;
const EVENT_REMOVE: u8 = 3;

/// The size of a file to create.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Tables.
    pub tables: u32,
    /// Value blocks of each table. Each table also has an index block.
    pub values: u32,
    /// Whether each value block holds one record instead of as many as fit.
    pub sparse: bool,
}

/// A data file that can grow by further checkpoints.
#[derive(Debug)]
pub struct LargeFile {
    file: File,
    shape: Shape,
    tables: Vec<BlockReference>,
    manifest: (BlockReference, BlockReference, u32),
    sessions: (BlockReference, Vec<u8>),
    free_set: (BlockReference, Vec<u8>),
    next_address: u64,
    generation: u64,
    checkpoint_id: Checksum,
    /// The prepares of the last turn of the WAL ring.
    log: Vec<Vec<u8>>,
    records: u64,
}

impl LargeFile {
    /// The cluster of every such file.
    pub const CLUSTER: u128 = 7;

    /// Writes the file at its first checkpoint.
    ///
    /// # Errors
    /// The errors of the file system.
    pub fn create(path: &Path, shape: Shape) -> Result<LargeFile> {
        let file = File::create(path)?;
        let sessions = client_sessions_block(LargeFile::CLUSTER, 1, &[]);
        let free_set = block(LargeFile::CLUSTER, BlockKind::FreeSet, 2, link(None, 0), &[0xff; 64]);
        let none = BlockReference { address: 0, checksum: Checksum(0) };
        let mut large = LargeFile {
            file,
            shape,
            tables: Vec::new(),
            manifest: (none, none, 0),
            sessions,
            free_set,
            next_address: 3,
            generation: 0,
            checkpoint_id: Checksum(0),
            log: log_after(&root_header(LargeFile::CLUSTER), FIRST_CHECKPOINT_OP + LOG_OPS),
            records: 0,
        };
        for (reference, bytes) in [large.sessions.clone(), large.free_set.clone()] {
            large.put(reference, &bytes)?;
        }
        for _ in 0..shape.tables {
            let table = large.table()?;
            large.tables.push(table);
        }
        let events: Vec<_> = large.tables.iter().map(|table| table_info(*table, TREE_TRANSFERS, 1, EVENT_INSERT)).collect();
        large.manifest_blocks(&events)?;
        large.checkpoint()?;
        Ok(large)
    }

    /// Rewrites `changed` tables, at equal distances among all, and writes the next checkpoint.
    /// Returns the bytes of their blocks.
    ///
    /// # Errors
    /// The errors of the file system.
    pub fn next_checkpoint(&mut self, changed: u32) -> Result<u64> {
        let changed = changed.min(self.shape.tables);
        let mut events = Vec::new();
        for number in 0..changed as usize {
            let position = number * self.tables.len() / changed as usize;
            events.push(table_info(self.tables[position], TREE_TRANSFERS, 1, EVENT_REMOVE));
            self.tables[position] = self.table()?;
            events.push(table_info(self.tables[position], TREE_TRANSFERS, 1, EVENT_INSERT));
        }
        self.manifest_blocks(&events)?;
        self.generation += 1;
        let last = headers_of(self.log.last().map(std::slice::from_ref).unwrap_or_default());
        if let [last] = last[..] {
            self.log.extend(log_after(&last, CHECKPOINT_OPS));
        }
        self.checkpoint()?;
        Ok(u64::from(changed) * u64::from(self.shape.values + 1) * BLOCK_BYTES as u64)
    }

    /// The checkpoint's op.
    pub fn checkpoint_op(&self) -> u64 {
        FIRST_CHECKPOINT_OP + self.generation * CHECKPOINT_OPS
    }

    /// Bytes of the blocks of all tables.
    pub fn table_bytes(&self) -> u64 {
        self.tables.len() as u64 * u64::from(self.shape.values + 1) * BLOCK_BYTES as u64
    }

    fn put(&self, reference: BlockReference, bytes: &[u8]) -> Result<()> {
        let offset = block_offset(reference.address).ok_or_else(|| Error::other("a block beyond any file"))?;
        self.file.write_all_at(bytes, offset)
    }

    fn address(&mut self) -> u64 {
        self.next_address += 1;
        self.next_address - 1
    }

    /// Writes a table of new transfers. Returns the reference of its index block.
    fn table(&mut self) -> Result<BlockReference> {
        let mut values = Vec::with_capacity(self.shape.values as usize);
        for _ in 0..self.shape.values {
            let count = if self.shape.sparse { 1 } else { RECORDS_A_BLOCK };
            let records: Vec<[u8; RECORD_BYTES]> = (0..count).map(|_| self.record()).collect();
            let records: Vec<&[u8]> = records.iter().map(|record| record.as_slice()).collect();
            let address = self.address();
            let (reference, bytes) = value_block(LargeFile::CLUSTER, address, TREE_TRANSFERS, &records);
            self.put(reference, &bytes)?;
            values.push(reference);
        }
        let address = self.address();
        let (reference, bytes) = index_block(LargeFile::CLUSTER, address, TREE_TRANSFERS, &values);
        self.put(reference, &bytes)?;
        Ok(reference)
    }

    /// A transfer with a pseudo-random id, accounts and amount.
    fn record(&mut self) -> [u8; RECORD_BYTES] {
        self.records += 1;
        // The finaliser of SplitMix64: it maps every number to a pseudo-random one of its own.
        let mut drawn = self.records.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        drawn ^= drawn >> 31;
        let id = u128::from(self.records >> 10) << 80 | u128::from(drawn) << 8 | u128::from(self.records & 0xff);
        let (debit, credit, amount) = (drawn % 10_000 + 1, (drawn >> 20) % 10_000 + 1, (drawn >> 40) % 1_000_000);
        transfer(id, debit.into(), credit.into(), amount.into(), sample_timestamp(0) + self.records * 3_000 + drawn % 2_000)
    }

    fn manifest_blocks(&mut self, events: &[[u8; 128]]) -> Result<()> {
        for events in events.chunks(EVENTS_A_BLOCK) {
            let address = self.address();
            let (oldest, newest, count) = self.manifest;
            let (reference, bytes) = manifest_block(LargeFile::CLUSTER, address, (count > 0).then_some(newest), events);
            self.put(reference, &bytes)?;
            self.manifest = (if count > 0 { oldest } else { reference }, reference, count + 1);
        }
        Ok(())
    }

    /// Writes the WAL ring and the superblock.
    fn checkpoint(&mut self) -> Result<()> {
        self.log.drain(..self.log.len().saturating_sub(WAL_SLOTS as usize));
        let headers = headers_of(&self.log);
        for (prepare, header) in self.log.iter().zip(&headers) {
            self.file.write_all_at(prepare, prepare_offset(slot_of(header.op())))?;
            self.file.write_all_at(header.bytes(), wal_header_offset(slot_of(header.op())))?;
        }
        let at = headers.iter().find(|header| header.op() == self.checkpoint_op());
        let at: &PrepareHeader = at.ok_or_else(|| Error::other("the log does not hold the checkpoint's op"))?;
        let body = |block: &(BlockReference, Vec<u8>)| (block.0, block.1.iter().skip(HEADER_BYTES).copied().collect());
        let roots = Roots {
            free_set_acquired: Some(body(&self.free_set)),
            client_sessions: Some(body(&self.sessions)),
            manifest: Some(self.manifest),
            grid_blocks: self.next_address - 1,
        };
        let mut bytes: [u8; SUPERBLOCK_HEADER_BYTES] = superblock_bytes(at, &roots, 1);
        bytes[40..48].copy_from_slice(&(self.generation + 1).to_le_bytes());
        bytes[96 + 496..96 + 512].copy_from_slice(&self.checkpoint_id.to_bytes());
        seal_superblock(&mut bytes);
        let superblock = SuperBlock::check(&bytes).map_err(|error| Error::other(error.to_string()))?;
        let state: CheckpointState<'_> = superblock.checkpoint();
        self.checkpoint_id = state.checkpoint_id();
        self.file.set_len(state.storage_size())?;
        self.file.write_all_at(&superblock_zone(&superblock), 0)?;
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::file::ReadOptions;
    use crate::progress::Silent;
    use crate::repository::sample::create;
    use crate::store::memory::MemoryStore;
    use crate::tier::depth::Depth;
    use crate::tier::sample::folder;
    use crate::tier::tigerbeetle::capture::backup;
    use crate::tier::tigerbeetle::restore::RestoreRequest;
    use crate::tier::tigerbeetle::restore::point::Point;
    use crate::tier::tigerbeetle::restore::restore;
    use crate::tier::tigerbeetle::restore::role::Role;
    use crate::verify::verify;

    #[test]
    fn a_large_file_is_backed_up_checkpoint_by_checkpoint() {
        for sparse in [false, true] {
            let folder = tempfile::tempdir_in(folder()).unwrap();
            let path = folder.path().join("data");
            let repository = create(&MemoryStore::new()).unwrap();
            let shape = Shape { tables: 10, values: 2, sparse };
            let mut large = LargeFile::create(&path, shape).unwrap();
            assert_eq!(large.table_bytes(), 30 * BLOCK_BYTES as u64);
            let first = backup(&repository, &path, ReadOptions::default(), &Silent).unwrap();
            // Tables, client sessions, free set, and a block of the manifest log.
            assert_eq!((first.summary.blocks, first.summary.blocks_stored), (33, 33));
            for (changed, generation) in [(2_u64, 1), (3, 2)] {
                assert_eq!(large.next_checkpoint(changed as u32).unwrap(), changed * 3 * BLOCK_BYTES as u64);
                let next = backup(&repository, &path, ReadOptions::default(), &Silent).unwrap();
                assert_eq!((next.summary.blocks_stored, next.summary.blocks), (changed * 3 + 1, 33 + generation));
                assert_eq!(next.summary.checkpoint_op, large.checkpoint_op());
            }
            assert_eq!(verify(&repository, Depth::Full, &Silent).unwrap().problems, []);
            let image = folder.path().join("image");
            let outputs = vec![(image.clone(), Role::Same)];
            let request = RestoreRequest {
                point: Point::Newest,
                outputs,
                overwrite: true,
                binaries: Vec::new(),
                timeline: None,
                base: None,
                fresh: false,
            };
            assert_eq!(restore(&repository, &request, &Silent).unwrap().blocks, 35);
        }
    }
}
