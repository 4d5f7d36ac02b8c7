//! Data files whose checkpoint has exactly the tables that a test asks for.

use crate::tb_format::grid::BlockReference;
use crate::tb_format::record::TREE_TRANSFERS;
use crate::tb_format::sample::{Roots, SampleFile, index_block_with, manifest_block, superblock_bytes, table_info_of, value_block};

/// An account or transfer.
pub(crate) type Record = [u8; 128];

/// A table of value blocks, each with its records; its keys are their timestamps.
#[derive(Clone)]
pub(crate) struct Table {
    pub(crate) tree_id: u16,
    pub(crate) level: u8,
    pub(crate) key_bytes: usize,
    /// Blocks of records, which end with their key.
    pub(crate) values: Vec<Vec<Vec<u8>>>,
    /// Whether it has been compacted away since.
    pub(crate) removed: bool,
}

impl Table {
    /// Transfers in level 0.
    pub(crate) fn new(values: &[&[Record]]) -> Table {
        let values = values.iter().map(|records| records.iter().map(|record| record.to_vec()).collect()).collect();
        Table { tree_id: TREE_TRANSFERS, level: 0, key_bytes: 8, values, removed: false }
    }
}

/// The lowest and the highest key of some records.
fn keys(records: &[Vec<u8>]) -> (u64, u64) {
    let time = |record: &Vec<u8>| u64::from_le_bytes(*record.last_chunk().unwrap()) & !(1 << 63);
    (records.iter().map(time).min().unwrap(), records.iter().map(time).max().unwrap())
}

/// A file whose checkpoint, at op 959, has exactly these tables. Their blocks have addresses from
/// 20 on, value blocks before their index.
pub(crate) fn file(tables: &[Table]) -> SampleFile {
    let mut sample = SampleFile::new(7, 0);
    let (mut events, mut removals, mut address) = (Vec::new(), Vec::new(), 20);
    for table in tables {
        let mut values: Vec<(BlockReference, (u64, u64))> = Vec::new();
        for records in &table.values {
            let rows: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
            let block = value_block(7, address, table.tree_id, &rows);
            values.push((block.0, keys(records)));
            sample.blocks.push(block);
            address += 1;
        }
        let index = index_block_with(7, address, table.tree_id, table.key_bytes, &values);
        address += 1;
        let event = |event: u8| {
            let (first, last) = keys(&table.values.concat());
            let mut info = table_info_of(index.0, table.tree_id, first..=last, event);
            info[126] |= table.level;
            info
        };
        events.push(event(1));
        if table.removed {
            removals.push(event(3));
        }
        sample.blocks.push(index);
    }
    let older = manifest_block(7, 10, None, &events);
    let newest = if removals.is_empty() { older.clone() } else { manifest_block(7, 11, Some(older.0), &removals) };
    let count = if removals.is_empty() { 1 } else { 2 };
    let roots = Roots { manifest: Some((older.0, newest.0, count)), grid_blocks: address, ..Roots::default() };
    sample.superblock = superblock_bytes(&sample.checkpoint().header(), &roots, 3);
    sample.blocks.extend([older, newest]);
    sample
}
