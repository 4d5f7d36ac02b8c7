//! Synthetic ledger bytes for tests: valid ones, and the means to make invalid ones on purpose.
//!
//! Each builder returns bytes that the checks of this module accept. So a test can build a small
//! log, a tree of a few blocks and a superblock without a server ([`SampleFile`] does all of it).
//! Fields are set with plain values. [`seal_header`] and [`seal_superblock`] recompute the
//! checksums after a test changed something. Only for tests: the feature `samples` makes it
//! available to the tests of other modules.

use super::bytes::put;
use super::checkpoint_state::CheckpointState;
use super::checksum::{Checksum, checksum};
use super::frame::{COMMAND_BLOCK, COMMAND_PREPARE, COMMAND_REPLY, header_checksum};
use super::grid::{BlockKind, BlockReference};
use super::header::{PrepareHeader, reserved_header, root};
use super::image::superblock_zone;
use super::layout::{
    BLOCK_BYTES, GRID_OFFSET, HEADER_BYTES, SUPERBLOCK_HEADER_BYTES, WAL_HEADERS_OFFSET, WAL_SLOTS, block_offset,
    durable_op_for_checkpoint, prepare_offset, reply_offset, sector_ceil, slot_of, wal_header_offset,
};
use super::manifest_log::TABLE_INFO_BYTES;
use super::record::{RECORD_BYTES, TREE_ACCOUNTS, TREE_TRANSFERS};
use super::superblock::{SuperBlock, superblock_checksum};
use super::trailer::CLIENT_SESSIONS_BYTES;
use super::wal::root_sector;
use std::ops::RangeInclusive;

/// The release that the samples are "of": 0.16.78.
pub const SAMPLE_RELEASE: u32 = (16 << 8) | 78;

/// The timestamp of a sample's op, in nanoseconds: one second an op, from 2023-11-14 on.
pub fn sample_timestamp(op: u64) -> u64 {
    1_700_000_000_000_000_000 + op * 1_000_000_000
}

/// Makes a complete message of `header` and `body`: sets size, body checksum and header checksum,
/// whatever they were.
pub fn seal_header(header: &mut [u8; HEADER_BYTES], body: &[u8]) -> Vec<u8> {
    put::<96, 4, _>(header, ((HEADER_BYTES + body.len()) as u32).to_le_bytes());
    put::<32, 16, _>(header, checksum(body).to_bytes());
    let computed = header_checksum(header);
    put::<0, 16, _>(header, computed.to_bytes());
    [header.as_slice(), body].concat()
}

/// A prepare to be made.
#[derive(Debug, Clone)]
pub struct PrepareSample {
    /// The cluster.
    pub cluster: u128,
    /// Its op, from 1 on.
    pub op: u64,
    /// The checksum of the op before.
    pub parent: Checksum,
    /// The op that was committed when it was prepared; below its own op.
    pub commit: u64,
    /// The view.
    pub view: u32,
    /// The operation, from 2 on.
    pub operation: u8,
    /// Nanoseconds since the Unix epoch.
    pub timestamp: u64,
    /// The id of the checkpoint that it names.
    pub checkpoint_id: Checksum,
    /// The events.
    pub body: Vec<u8>,
}

impl PrepareSample {
    /// An op that creates transfers, after the op `parent`.
    pub fn after(parent: &PrepareHeader) -> PrepareSample {
        let op = parent.op() + 1;
        PrepareSample {
            cluster: parent.cluster(),
            op,
            parent: parent.checksum(),
            commit: op - 1,
            view: parent.view(),
            operation: 139,
            timestamp: sample_timestamp(op),
            checkpoint_id: Checksum(0),
            body: op.to_le_bytes().repeat(32),
        }
    }

    /// Header and body.
    pub fn bytes(&self) -> Vec<u8> {
        let mut header = [0; HEADER_BYTES];
        put::<80, 16, _>(&mut header, self.cluster.to_le_bytes());
        put::<104, 4, _>(&mut header, self.view.to_le_bytes());
        put::<108, 4, _>(&mut header, SAMPLE_RELEASE.to_le_bytes());
        put::<114, 1, _>(&mut header, [COMMAND_PREPARE]);
        put::<128, 16, _>(&mut header, self.parent.to_bytes());
        put::<192, 16, _>(&mut header, self.checkpoint_id.to_bytes());
        put::<208, 16, _>(&mut header, 7u128.to_le_bytes());
        put::<224, 8, _>(&mut header, self.op.to_le_bytes());
        put::<232, 8, _>(&mut header, self.commit.to_le_bytes());
        put::<240, 8, _>(&mut header, self.timestamp.to_le_bytes());
        put::<248, 4, _>(&mut header, (self.op as u32).to_le_bytes());
        put::<252, 1, _>(&mut header, [self.operation]);
        seal_header(&mut header, &self.body)
    }
}

/// The header of a sample prepare, which is known to be valid.
fn header_of(prepare: &[u8]) -> PrepareHeader {
    PrepareHeader::trusted(prepare.first_chunk().copied().unwrap_or([0; HEADER_BYTES]))
}

/// The header of op 0 of a cluster.
pub fn root_header(cluster: u128) -> PrepareHeader {
    PrepareHeader::trusted(root(cluster))
}

/// The `count` prepares that follow `parent`, in order.
pub fn log_after(parent: &PrepareHeader, count: u64) -> Vec<Vec<u8>> {
    let mut log: Vec<Vec<u8>> = Vec::new();
    for _ in 0..count {
        let parent = log.last().map_or(*parent, |prepare| header_of(prepare));
        log.push(PrepareSample::after(&parent).bytes());
    }
    log
}

/// The headers of complete prepares.
pub fn headers_of(log: &[Vec<u8>]) -> Vec<PrepareHeader> {
    log.iter().map(|prepare| header_of(prepare)).collect()
}

/// A reply with a body, which gives client `client` (not 0) the result of op `op`.
pub fn reply(cluster: u128, client: u128, op: u64, body: &[u8]) -> Vec<u8> {
    let mut header = [0; HEADER_BYTES];
    put::<80, 16, _>(&mut header, cluster.to_le_bytes());
    put::<108, 4, _>(&mut header, SAMPLE_RELEASE.to_le_bytes());
    put::<114, 1, _>(&mut header, [COMMAND_REPLY]);
    put::<192, 16, _>(&mut header, client.to_le_bytes());
    put::<208, 8, _>(&mut header, op.to_le_bytes());
    put::<216, 8, _>(&mut header, op.to_le_bytes());
    put::<224, 8, _>(&mut header, sample_timestamp(op).to_le_bytes());
    put::<232, 4, _>(&mut header, (op as u32).to_le_bytes());
    put::<236, 1, _>(&mut header, [139]);
    seal_header(&mut header, body)
}

/// A block and its name. `body` must not be empty.
pub fn block(cluster: u128, kind: BlockKind, address: u64, metadata: [u8; 96], body: &[u8]) -> (BlockReference, Vec<u8>) {
    let mut header = [0; HEADER_BYTES];
    put::<80, 16, _>(&mut header, cluster.to_le_bytes());
    put::<108, 4, _>(&mut header, SAMPLE_RELEASE.to_le_bytes());
    put::<114, 1, _>(&mut header, [COMMAND_BLOCK]);
    put::<128, 96, _>(&mut header, metadata);
    put::<224, 8, _>(&mut header, address.to_le_bytes());
    put::<232, 8, _>(&mut header, u64::from(matches!(kind, BlockKind::Index | BlockKind::Value)).to_le_bytes());
    put::<240, 1, _>(&mut header, [kind as u8]);
    let bytes = seal_header(&mut header, body);
    (BlockReference { address, checksum: super::frame::stored_checksum(&header) }, bytes)
}

/// The metadata that links a block to the one before it in its list.
pub fn link(previous: Option<BlockReference>, entry_count: u32) -> [u8; 96] {
    let mut metadata = [0; 96];
    if let Some(previous) = previous {
        put::<0, 16, _>(&mut metadata, previous.checksum.to_bytes());
        put::<32, 8, _>(&mut metadata, previous.address.to_le_bytes());
    }
    put::<40, 4, _>(&mut metadata, entry_count.to_le_bytes());
    metadata
}

/// An event of the manifest log. `event`: 1 insert, 2 update, 3 remove.
pub fn table_info(table: BlockReference, tree_id: u16, level: u8, event: u8) -> [u8; TABLE_INFO_BYTES] {
    let mut info = [0; TABLE_INFO_BYTES];
    put::<0, 8, _>(&mut info, 1u64.to_le_bytes());
    put::<32, 8, _>(&mut info, 9u64.to_le_bytes());
    put::<64, 16, _>(&mut info, table.checksum.to_bytes());
    put::<96, 8, _>(&mut info, table.address.to_le_bytes());
    put::<104, 8, _>(&mut info, 1u64.to_le_bytes());
    put::<112, 8, _>(&mut info, u64::MAX.to_le_bytes());
    put::<120, 4, _>(&mut info, 2u32.to_le_bytes());
    put::<124, 2, _>(&mut info, tree_id.to_le_bytes());
    put::<126, 1, _>(&mut info, [(event << 6) | level]);
    info
}

/// The same for a table whose keys are the timestamps in `keys`.
pub fn table_info_of(table: BlockReference, tree_id: u16, keys: RangeInclusive<u64>, event: u8) -> [u8; TABLE_INFO_BYTES] {
    let mut info = table_info(table, tree_id, 0, event);
    put::<0, 8, _>(&mut info, keys.start().to_le_bytes());
    put::<32, 8, _>(&mut info, keys.end().to_le_bytes());
    info
}

/// A block of the manifest log with at least one event.
pub fn manifest_block(
    cluster: u128,
    address: u64,
    previous: Option<BlockReference>,
    events: &[[u8; TABLE_INFO_BYTES]],
) -> (BlockReference, Vec<u8>) {
    block(cluster, BlockKind::Manifest, address, link(previous, events.len() as u32), events.as_flattened())
}

/// An index block for these value blocks (at least one), with room for one more, and keys of 8
/// bytes that are all zero.
pub fn index_block(cluster: u128, address: u64, tree_id: u16, values: &[BlockReference]) -> (BlockReference, Vec<u8>) {
    let values: Vec<(BlockReference, (u64, u64))> = values.iter().map(|value| (*value, (0, 0))).collect();
    index_block_of(cluster, address, tree_id, &values)
}

/// An index block for these value blocks (at least one) and their lowest and highest keys, with
/// room for one more.
pub fn index_block_of(cluster: u128, address: u64, tree_id: u16, values: &[(BlockReference, (u64, u64))]) -> (BlockReference, Vec<u8>) {
    index_block_with(cluster, address, tree_id, 8, values)
}

/// The same with keys of `key_bytes`, 8 to 32: each number is padded with zeros.
pub fn index_block_with(
    cluster: u128,
    address: u64,
    tree_id: u16,
    key_bytes: usize,
    values: &[(BlockReference, (u64, u64))],
) -> (BlockReference, Vec<u8>) {
    let count_max = values.len() + 1;
    let mut metadata = [0; 96];
    put::<0, 4, _>(&mut metadata, (values.len() as u32).to_le_bytes());
    put::<4, 4, _>(&mut metadata, (count_max as u32).to_le_bytes());
    put::<8, 4, _>(&mut metadata, (key_bytes as u32).to_le_bytes());
    put::<12, 2, _>(&mut metadata, tree_id.to_le_bytes());
    let key = |number: u64| {
        let mut key = number.to_le_bytes().to_vec();
        key.resize(key_bytes, 0);
        key
    };
    let mut body: Vec<u8> = values.iter().flat_map(|(value, _)| [value.checksum.to_bytes(), [0; 16]].concat()).collect();
    body.resize(count_max * 32, 0);
    body.extend(values.iter().flat_map(|(_, (min, _))| key(*min)));
    body.resize(count_max * (32 + key_bytes), 0);
    body.extend(values.iter().flat_map(|(_, (_, max))| key(*max)));
    body.resize(count_max * (32 + 2 * key_bytes), 0);
    body.extend(values.iter().flat_map(|(value, _)| value.address.to_le_bytes()));
    body.resize(count_max * (32 + 2 * key_bytes + 8), 0);
    block(cluster, BlockKind::Index, address, metadata, &body)
}

/// A value block of these records (at least one), each as long as the first.
pub fn value_block(cluster: u128, address: u64, tree_id: u16, records: &[&[u8]]) -> (BlockReference, Vec<u8>) {
    let mut metadata = [0; 96];
    put::<0, 4, _>(&mut metadata, (records.len() as u32 + 3).to_le_bytes());
    put::<4, 4, _>(&mut metadata, (records.len() as u32).to_le_bytes());
    put::<8, 4, _>(&mut metadata, (records.first().map_or(0, |record| record.len()) as u32).to_le_bytes());
    put::<12, 2, _>(&mut metadata, tree_id.to_le_bytes());
    block(cluster, BlockKind::Value, address, metadata, &records.concat())
}

/// An account of ledger 1 with these posted debits and credits.
pub fn account(id: u128, debits: u128, credits: u128, timestamp: u64) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    put::<0, 16, _>(&mut record, id.to_le_bytes());
    put::<32, 16, _>(&mut record, debits.to_le_bytes());
    put::<64, 16, _>(&mut record, credits.to_le_bytes());
    put::<112, 4, _>(&mut record, 1u32.to_le_bytes());
    put::<116, 2, _>(&mut record, 10u16.to_le_bytes());
    put::<120, 8, _>(&mut record, timestamp.to_le_bytes());
    record
}

/// A transfer of ledger 1.
pub fn transfer(id: u128, debit_account_id: u128, credit_account_id: u128, amount: u128, timestamp: u64) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    put::<0, 16, _>(&mut record, id.to_le_bytes());
    put::<16, 16, _>(&mut record, debit_account_id.to_le_bytes());
    put::<32, 16, _>(&mut record, credit_account_id.to_le_bytes());
    put::<48, 16, _>(&mut record, amount.to_le_bytes());
    put::<112, 4, _>(&mut record, 1u32.to_le_bytes());
    put::<116, 2, _>(&mut record, 20u16.to_le_bytes());
    put::<120, 8, _>(&mut record, timestamp.to_le_bytes());
    record
}

/// The client-sessions block: `replies` (whole replies) in the slots from 0 on.
pub fn client_sessions_block(cluster: u128, address: u64, replies: &[Vec<u8>]) -> (BlockReference, Vec<u8>) {
    let mut headers: Vec<u8> = replies.iter().flat_map(|reply| reply.iter().copied().take(HEADER_BYTES)).collect();
    headers.resize(CLIENT_SESSIONS_BYTES / (HEADER_BYTES + 8) * HEADER_BYTES, 0);
    headers.extend(replies.iter().flat_map(|_| 1u64.to_le_bytes()));
    headers.resize(CLIENT_SESSIONS_BYTES, 0);
    block(cluster, BlockKind::ClientSessions, address, link(None, 0), &headers)
}

/// What a sample superblock points to; the default is the state after formatting.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    /// Last block of the acquired free set, and its body.
    pub free_set_acquired: Option<(BlockReference, Vec<u8>)>,
    /// The client-sessions block, and its body.
    pub client_sessions: Option<(BlockReference, Vec<u8>)>,
    /// Oldest and newest block of the manifest, and how many there are.
    pub manifest: Option<(BlockReference, BlockReference, u32)>,
    /// Number of blocks for which the grid has room.
    pub grid_blocks: u64,
}

/// A valid superblock of replica 0 of `replica_count`, sequence 1, with the checkpoint at
/// `checkpoint`.
pub fn superblock_bytes(checkpoint: &PrepareHeader, roots: &Roots, replica_count: u8) -> [u8; SUPERBLOCK_HEADER_BYTES] {
    let mut bytes = [0; SUPERBLOCK_HEADER_BYTES];
    put::<34, 2, _>(&mut bytes, 2u16.to_le_bytes());
    put::<36, 4, _>(&mut bytes, SAMPLE_RELEASE.to_le_bytes());
    put::<40, 8, _>(&mut bytes, 1u64.to_le_bytes());
    put::<48, 16, _>(&mut bytes, checkpoint.cluster().to_le_bytes());
    put::<96, HEADER_BYTES, _>(&mut bytes, *checkpoint.bytes());
    put_roots(&mut bytes, roots);
    let member = |index: u128| checksum(&(checkpoint.cluster() ^ (index << 64)).to_le_bytes()).to_bytes();
    put::<1120, 16, _>(&mut bytes, member(0));
    let members: Vec<u8> = (0..12).flat_map(member).collect();
    put::<1136, { 12 * 16 }, _>(&mut bytes, members.first_chunk().copied().unwrap_or([0; 12 * 16]));
    put::<1328, 8, _>(&mut bytes, checkpoint.op().to_le_bytes());
    put::<1356, 4, _>(&mut bytes, checkpoint.view().to_le_bytes());
    put::<1360, 4, _>(&mut bytes, checkpoint.view().to_le_bytes());
    put::<1364, 1, _>(&mut bytes, [replica_count]);
    put::<2152, 4, _>(&mut bytes, 1u32.to_le_bytes());
    put::<4096, HEADER_BYTES, _>(&mut bytes, *checkpoint.bytes());
    seal_superblock(&mut bytes);
    bytes
}

fn put_roots(bytes: &mut [u8; SUPERBLOCK_HEADER_BYTES], roots: &Roots) {
    let empty = checksum(&[]).to_bytes();
    put::<{ 96 + 448 }, 16, _>(bytes, empty);
    put::<{ 96 + 464 }, 16, _>(bytes, empty);
    put::<{ 96 + 480 }, 16, _>(bytes, empty);
    if let Some((last, body)) = &roots.free_set_acquired {
        put::<{ 96 + 256 }, 16, _>(bytes, last.checksum.to_bytes());
        put::<{ 96 + 448 }, 16, _>(bytes, checksum(body).to_bytes());
        put::<{ 96 + 528 }, 8, _>(bytes, last.address.to_le_bytes());
        put::<{ 96 + 584 }, 8, _>(bytes, (body.len() as u64).to_le_bytes());
    }
    if let Some((last, body)) = &roots.client_sessions {
        put::<{ 96 + 320 }, 16, _>(bytes, last.checksum.to_bytes());
        put::<{ 96 + 480 }, 16, _>(bytes, checksum(body).to_bytes());
        put::<{ 96 + 544 }, 8, _>(bytes, last.address.to_le_bytes());
        put::<{ 96 + 600 }, 8, _>(bytes, (body.len() as u64).to_le_bytes());
    }
    if let Some((oldest, newest, count)) = roots.manifest {
        put::<{ 96 + 352 }, 16, _>(bytes, oldest.checksum.to_bytes());
        put::<{ 96 + 384 }, 16, _>(bytes, newest.checksum.to_bytes());
        put::<{ 96 + 552 }, 8, _>(bytes, oldest.address.to_le_bytes());
        put::<{ 96 + 560 }, 8, _>(bytes, newest.address.to_le_bytes());
        put::<{ 96 + 608 }, 4, _>(bytes, count.to_le_bytes());
    }
    put::<{ 96 + 576 }, 8, _>(bytes, (GRID_OFFSET + roots.grid_blocks * BLOCK_BYTES as u64).to_le_bytes());
    put::<{ 96 + 612 }, 4, _>(bytes, SAMPLE_RELEASE.to_le_bytes());
}

/// Recomputes the checksum of a superblock.
pub fn seal_superblock(bytes: &mut [u8; SUPERBLOCK_HEADER_BYTES]) {
    let computed = superblock_checksum(bytes);
    put::<0, 16, _>(bytes, computed.to_bytes());
}

/// A complete data file with two accounts, two transfers, a few blocks of every kind, a client
/// session and a log. It consists of pieces, because the file is more than a gigabyte of zeros.
#[derive(Debug, Clone)]
pub struct SampleFile {
    /// The bytes of one superblock copy.
    pub superblock: [u8; SUPERBLOCK_HEADER_BYTES],
    /// Every block of the tree: addresses 1 to 8, and 9, to which nothing refers. 1 and 2 are the
    /// manifest, oldest first.
    pub blocks: Vec<(BlockReference, Vec<u8>)>,
    /// The prepares up to the checkpoint's own, in order. Present only if the log after the
    /// checkpoint is so short that a server needs them too.
    pub earlier: Vec<Vec<u8>>,
    /// The prepares after the checkpoint, in order.
    pub log: Vec<Vec<u8>>,
    /// The reply in slot 0.
    pub reply: Vec<u8>,
}

impl SampleFile {
    /// Checkpoint at op 959, and the `log_ops` ops after it.
    pub fn new(cluster: u128, log_ops: u64) -> SampleFile {
        let before = log_after(&root_header(cluster), 959);
        let checkpoint = header_of(before.last().map_or(&[], Vec::as_slice));
        let wants_earlier = 959 + log_ops < durable_op_for_checkpoint(959);

        let reply = reply(cluster, 7, 950, &[1; 300]);
        let sessions = client_sessions_block(cluster, 7, std::slice::from_ref(&reply));
        let free_set = block(cluster, BlockKind::FreeSet, 8, link(None, 0), &[0xff; 64]);
        let accounts = [account(1, 30, 0, sample_timestamp(1)), account(2, 0, 30, sample_timestamp(2))];
        let transfers = [transfer(11, 1, 2, 10, sample_timestamp(958)), transfer(12, 1, 2, 20, sample_timestamp(959))];
        let account_values = value_block(cluster, 3, TREE_ACCOUNTS, &accounts.each_ref().map(|record| record.as_slice()));
        let account_index = index_block(cluster, 4, TREE_ACCOUNTS, &[account_values.0]);
        let transfer_values = value_block(cluster, 5, TREE_TRANSFERS, &transfers.each_ref().map(|record| record.as_slice()));
        let transfer_index = index_block(cluster, 6, TREE_TRANSFERS, &[transfer_values.0]);
        let gone = block(cluster, BlockKind::Value, 9, [0; 96], &[0; 128]);
        let oldest = manifest_block(
            cluster,
            1,
            Some(BlockReference { address: 9, checksum: Checksum(1) }),
            &[table_info(gone.0, TREE_TRANSFERS, 0, 1), table_info(account_index.0, TREE_ACCOUNTS, 0, 1)],
        );
        let newest = manifest_block(
            cluster,
            2,
            Some(oldest.0),
            &[table_info(gone.0, TREE_TRANSFERS, 0, 3), table_info(transfer_index.0, TREE_TRANSFERS, 1, 1)],
        );
        let body = |bytes: &[u8]| bytes.iter().skip(HEADER_BYTES).copied().collect();
        let roots = Roots {
            free_set_acquired: Some((free_set.0, body(&free_set.1))),
            client_sessions: Some((sessions.0, body(&sessions.1))),
            manifest: Some((oldest.0, newest.0, 2)),
            grid_blocks: 9,
        };
        SampleFile {
            superblock: superblock_bytes(&checkpoint, &roots, 3),
            blocks: vec![oldest, newest, account_values, account_index, transfer_values, transfer_index, sessions, free_set, gone],
            earlier: if wants_earlier { before } else { Vec::new() },
            log: log_after(&checkpoint, log_ops),
            reply,
        }
    }

    /// The checkpoint of its superblock.
    pub fn checkpoint(&self) -> CheckpointState<'_> {
        CheckpointState::trusted(super::bytes::array_at::<96, 1024, _>(&self.superblock))
    }

    /// The offset and bytes of each piece of the file, padded to sectors; all else is zero or a
    /// hole.
    pub fn pieces(&self) -> Vec<(u64, Vec<u8>)> {
        let cluster = self.checkpoint().header().cluster();
        let mut pieces = Vec::new();
        if let Ok(superblock) = SuperBlock::check(&self.superblock) {
            pieces.push((0, superblock_zone(&superblock)));
        }
        let reserved = |slot| reserved_header(cluster, slot);
        pieces.push((WAL_HEADERS_OFFSET, (0..WAL_SLOTS).flat_map(reserved).collect()));
        pieces.extend((0..WAL_SLOTS).map(|slot| (prepare_offset(slot), padded(&reserved(slot)))));
        if !self.earlier.is_empty() {
            pieces.push((prepare_offset(0), root_sector(cluster).to_vec()));
            pieces.push((WAL_HEADERS_OFFSET, root(cluster).to_vec()));
        }
        for (prepare, header) in self.earlier.iter().zip(headers_of(&self.earlier)).chain(self.log.iter().zip(headers_of(&self.log))) {
            pieces.push((prepare_offset(slot_of(header.op())), padded(prepare)));
            pieces.push((wal_header_offset(slot_of(header.op())), header.bytes().to_vec()));
        }
        pieces.push((reply_offset(0), padded(&self.reply)));
        pieces.extend(self.blocks.iter().filter_map(|(name, bytes)| Some((block_offset(name.address)?, padded(bytes)))));
        pieces
    }
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(sector_ceil(bytes.len() as u64) as usize, 0);
    padded
}
