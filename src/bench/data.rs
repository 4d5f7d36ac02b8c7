//! The bytes that are measured: a data file's live blocks, any other file, or generated transfers.
//!
//! Flow: [`Data::open`] plans which parts of the file make a sample that is spread over all of it.
//! For a TigerBeetle data file it takes every n-th table that its newest checkpoint reaches, for
//! any other file windows at equal distances. [`Data::next_window`] reads the next window with
//! Amber's own reader. [`Data::check`] does what a backup does with a block before using it. A data
//! file may belong to a running server: if the server overwrites a part of the sample meanwhile,
//! the measurement ends with a request to try again.

use super::cost::Cost;
use crate::disk::file::{Read, ReadOptions, Reader};
use crate::disk::read_error::SourceError;
use crate::error::{Error, Result};
use crate::replica::checkpoint::{CheckpointSink, Walk};
use crate::replica::extent::{BlockSink, CheckedBlock};
use crate::tb_format::checksum::checksum;
use crate::tb_format::grid::{Block, BlockReference};
use crate::tb_format::layout::{BLOCK_BYTES, GRID_OFFSET, HEADER_BYTES, block_offset};
use crate::tb_format::record::RECORD_BYTES;
use crate::tb_format::superblock::SuperBlock;
use std::path::Path;

/// Blocks of a window: 32 MiB, as many as a backup's walk holds.
const WINDOW_BLOCKS: usize = 64;
/// Records in a generated block, which fill it as those of a full value block do.
const MADE_RECORDS: usize = (BLOCK_BYTES - HEADER_BYTES) / RECORD_BYTES;
/// Accounts among which generated transfers move money back and forth.
const MADE_ACCOUNTS: u64 = 10_000;

/// Where the bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Live blocks of a TigerBeetle data file.
    Ledger,
    /// Any other file.
    File,
    /// Generated transfers.
    Made,
}

impl Kind {
    /// The name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ledger => "TigerBeetle data file",
            Kind::File => "file",
            Kind::Made => "made transfers",
        }
    }
}

/// One piece of a window: a block, or as many bytes of a file.
#[derive(Debug)]
pub enum Piece {
    /// Read from the file, into the reader's own buffer.
    Read(Read),
    /// Generated.
    Made(Vec<u8>),
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        match self {
            Piece::Read(read) => &read.buffer[..read.length],
            Piece::Made(bytes) => bytes,
        }
    }
}

impl Piece {
    /// The bytes. If they were read, the bytes that follow them up to the end of the sector are
    /// included.
    pub fn sectors(&self) -> &[u8] {
        match self {
            Piece::Read(read) => &read.buffer[..read.length.next_multiple_of(4096).min(read.buffer.len())],
            Piece::Made(bytes) => bytes,
        }
    }
}

/// One place of the file.
#[derive(Debug, Clone, Copy)]
struct FramePlace {
    offset: u64,
    block: Option<BlockReference>,
}

/// A sample that is read window by window.
#[derive(Debug)]
pub struct Data {
    kind: Kind,
    reader: Option<Reader>,
    places: Vec<FramePlace>,
    next: usize,
    made: Transfers,
}

impl Data {
    /// Plans a sample of at most `sample_bytes` bytes (at least a block).
    ///
    /// # Errors
    /// [`Error::input`] for a file that cannot be read or holds nothing to measure on.
    pub fn open(file: Option<&Path>, sample_bytes: u64, options: ReadOptions) -> Result<Data> {
        let blocks = usize::try_from(sample_bytes / BLOCK_BYTES as u64).unwrap_or(usize::MAX).max(1);
        let Some(path) = file else {
            let places = vec![FramePlace { offset: 0, block: None }; blocks];
            return Ok(Data { kind: Kind::Made, reader: None, places, next: 0, made: Transfers::default() });
        };
        let (kind, places) = match live_blocks(path, blocks, options)? {
            Some(places) => (Kind::Ledger, places),
            None => (Kind::File, windows_of(path, blocks, options)?),
        };
        if places.is_empty() {
            return Err(Error::input(format!("{}: there is nothing in it to measure on: give a file with data", path.display())));
        }
        let reader = Reader::open(path, BLOCK_BYTES, WINDOW_BLOCKS as u16, options)?;
        Ok(Data { kind, reader: Some(reader), places, next: 0, made: Transfers::default() })
    }

    /// Where the bytes come from.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Bytes of all windows together, at the most.
    pub fn total_bytes(&self) -> u64 {
        self.places.len() as u64 * BLOCK_BYTES as u64
    }

    /// What the reader fell back to, in sentences for the user.
    pub fn notes(&self) -> Vec<String> {
        self.reader.as_ref().map(|reader| reader.notes().to_vec()).unwrap_or_default()
    }

    /// Reads the next window and adds what that took. Returns no piece when everything was read.
    /// All pieces of the previous window must be dropped.
    ///
    /// # Errors
    /// Those of the file.
    pub fn next_window(&mut self, cost: &mut Cost) -> Result<Vec<Piece>> {
        let end = (self.next + WINDOW_BLOCKS).min(self.places.len());
        let places = &self.places[self.next..end];
        let Some(reader) = &mut self.reader else {
            self.next = end;
            return Ok(places.iter().map(|_| Piece::Made(self.made.block())).collect());
        };
        let before = reader.bytes_read();
        let mut pieces: Vec<Option<Piece>> = places.iter().map(|_| None).collect();
        cost.of(0, || -> Result<(), SourceError> {
            for (number, place) in places.iter().enumerate() {
                reader.begin_waiting(place.offset, BLOCK_BYTES, number as u64);
            }
            while let Some(read) = reader.next_read()? {
                let slot = read.token as usize;
                pieces[slot] = Some(Piece::Read(read));
            }
            Ok(())
        })?;
        cost.bytes += reader.bytes_read() - before;
        self.next = end;
        Ok(pieces.into_iter().flatten().collect())
    }

    /// Checks a piece of the newest window as a backup does, and cuts it to the bytes in use.
    /// `number` is its position in the window.
    ///
    /// # Errors
    /// [`Error::try_again`] where a running server has overwritten it since the sample was planned.
    pub fn check(&self, number: usize, window: usize, piece: &mut Piece) -> Result<()> {
        match piece {
            Piece::Made(bytes) => {
                std::hint::black_box(checksum(bytes));
            }
            Piece::Read(read) => {
                let place = self.places.get(self.next - window + number);
                if let Some(reference) = place.and_then(|place| place.block) {
                    let block = Block::check(&read.buffer[..read.length], reference).map_err(|error| {
                        Error::try_again(format!(
                            "{reference} is no longer what it was ({error}): the server runs; try again, or under less load"
                        ))
                        .caused_by(error)
                    })?;
                    read.length = block.bytes().len();
                }
            }
        }
        Ok(())
    }

    /// Whether pieces have checksums of their own that a backup checks.
    pub fn is_checked(&self) -> bool {
        self.kind != Kind::File
    }
}

/// The places of the live blocks of every n-th table; nothing if the file is not TigerBeetle's.
fn live_blocks(path: &Path, blocks: usize, options: ReadOptions) -> Result<Option<Vec<FramePlace>>> {
    let mut walk = Walk::open(path, options)?;
    match walk.superblock() {
        Ok(_) => {}
        Err(SourceError::NotADataFile { .. } | SourceError::Damaged { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let mut sampler = Sampler { blocks_wanted: blocks as u64, ..Sampler::default() };
    walk.run(&mut sampler)?;
    sampler.found.truncate(blocks);
    let place = |block: BlockReference| block_offset(block.address).map(|offset| FramePlace { offset, block: Some(block) });
    Ok(Some(sampler.found.into_iter().filter_map(place).collect()))
}

/// Places of whole windows at equal distances.
fn windows_of(path: &Path, blocks: usize, options: ReadOptions) -> Result<Vec<FramePlace>> {
    let file_bytes = Reader::open(path, BLOCK_BYTES, 1, options)?.file_bytes()?;
    let window_bytes = (WINDOW_BLOCKS * BLOCK_BYTES) as u64;
    let held = file_bytes.div_ceil(window_bytes);
    let wanted = (blocks as u64).div_ceil(WINDOW_BLOCKS as u64).min(held);
    let starts = (0..wanted).map(|number| number * held / wanted * window_bytes);
    let all = starts.flat_map(|start| (0..WINDOW_BLOCKS as u64).map(move |block| start + block * BLOCK_BYTES as u64));
    Ok(all.filter(|offset| *offset < file_bytes).take(blocks).map(|offset| FramePlace { offset, block: None }).collect())
}

/// Notes the blocks of tables at equal distances instead of storing them.
#[derive(Debug, Default)]
struct Sampler {
    blocks_wanted: u64,
    /// Blocks that the grid has room for, which bounds the number of live blocks.
    blocks_max: u64,
    asked: u64,
    found: Vec<BlockReference>,
    extent_start: usize,
}

impl BlockSink for Sampler {
    fn holds(&mut self, _root: BlockReference) -> bool {
        self.asked += 1;
        let share = |count: u64| u128::from(count) * u128::from(self.blocks_wanted) / u128::from(self.blocks_max.max(1));
        self.blocks_wanted < self.blocks_max && share(self.asked) == share(self.asked - 1)
    }

    fn begin_extent(&mut self, _root: BlockReference) -> Result<()> {
        self.extent_start = self.found.len();
        Ok(())
    }

    fn block(&mut self, reference: BlockReference, _block: CheckedBlock) -> Result<()> {
        self.found.push(reference);
        Ok(())
    }

    fn end_extent(&mut self) -> Result<()> {
        Ok(())
    }

    fn abandon_extent(&mut self) {
        self.found.truncate(self.extent_start);
    }
}

impl CheckpointSink for Sampler {
    fn begin_round(&mut self, superblock: &SuperBlock) -> Result<()> {
        self.blocks_max = superblock.checkpoint().storage_size().saturating_sub(GRID_OFFSET) / BLOCK_BYTES as u64;
        (self.asked, self.extent_start) = (0, 0);
        self.found.clear();
        Ok(())
    }

    fn expect_extents(&mut self, _extents: u64) {}
}

/// Generates transfers as a ledger holds them: ids that are half time and half random, random
/// accounts and amounts, and rising times.
#[derive(Debug)]
struct Transfers {
    chance: u64,
    count: u64,
}

impl Default for Transfers {
    fn default() -> Self {
        Transfers { chance: 0x9e37_79b9_7f4a_7c15, count: 0 }
    }
}

impl Transfers {
    fn draw(&mut self) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance
    }

    fn block(&mut self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + MADE_RECORDS * RECORD_BYTES);
        bytes.resize(HEADER_BYTES, 0);
        for _ in 0..MADE_RECORDS {
            let record = self.record();
            bytes.extend_from_slice(&record);
        }
        bytes
    }

    fn record(&mut self) -> [u8; RECORD_BYTES] {
        self.count += 1;
        let time_ns = 1_700_000_000_000_000_000 + self.count * 3_000 + self.draw() % 2_000;
        let id = u128::from(time_ns / 1_000_000) << 80 | u128::from(self.draw()) << 16 | u128::from(self.draw() & 0xffff);
        let (debit, credit, amount) = (self.draw() % MADE_ACCOUNTS, self.draw() % MADE_ACCOUNTS, self.draw() % 1_000_000);
        let mut record = [0; RECORD_BYTES];
        record[..16].copy_from_slice(&id.to_le_bytes());
        record[16..24].copy_from_slice(&(debit + 1).to_le_bytes());
        record[32..40].copy_from_slice(&(credit + 1).to_le_bytes());
        record[48..56].copy_from_slice(&amount.to_le_bytes());
        record[112..116].copy_from_slice(&1_u32.to_le_bytes());
        record[116..118].copy_from_slice(&10_u16.to_le_bytes());
        record[120..].copy_from_slice(&time_ns.to_le_bytes());
        record
    }
}
