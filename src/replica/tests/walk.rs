use super::{DataFile, all_options};
use crate::disk::file::ReadOptions;
use crate::disk::read_error::SourceError;
use crate::error::{Error, Kind, Result};
use crate::replica::checkpoint::{CheckpointSink, Walk};
use crate::replica::extent::{BlockSink, CheckedBlock};
use crate::tb_format::grid::BlockReference;
use crate::tb_format::layout::{BLOCK_BYTES, HEADER_BYTES, block_offset};
use crate::tb_format::record::TREE_TRANSFERS;
use crate::tb_format::sample::{
    Roots, SampleFile, headers_of, index_block, manifest_block, superblock_bytes, table_info, transfer, value_block,
};
use crate::tb_format::superblock::SuperBlock;
use std::collections::BTreeMap;

/// A block that was handed on.
type ReadBlock = (BlockReference, Vec<u8>);

/// A sink that records a checkpoint, and does something at the beginning of each round.
#[derive(Default)]
struct Taker<'a> {
    /// Extents in the order in which they came: root and blocks.
    extents: Vec<(BlockReference, Vec<ReadBlock>)>,
    open: Option<BlockReference>,
    abandoned: u32,
    expected: u64,
    rounds: u32,
    at_round: Option<Box<dyn FnMut(u32) + 'a>>,
    refuse_block: bool,
}

impl<'a> Taker<'a> {
    fn at_each_round(action: impl FnMut(u32) + 'a) -> Taker<'a> {
        Taker { at_round: Some(Box::new(action)), ..Taker::default() }
    }
}

impl BlockSink for Taker<'_> {
    fn holds(&mut self, root: BlockReference) -> bool {
        self.extents.iter().any(|(held, _)| *held == root)
    }

    fn begin_extent(&mut self, root: BlockReference) -> Result<()> {
        assert_eq!(self.open, None);
        self.open = Some(root);
        self.extents.push((root, Vec::new()));
        Ok(())
    }

    fn block(&mut self, reference: BlockReference, block: CheckedBlock) -> Result<()> {
        if self.refuse_block {
            return Err(Error::try_again("the store is away"));
        }
        assert!(self.open.is_some());
        self.extents.last_mut().unwrap().1.push((reference, block.as_ref().to_vec()));
        Ok(())
    }

    fn end_extent(&mut self) -> Result<()> {
        self.open.take().unwrap();
        Ok(())
    }

    fn abandon_extent(&mut self) {
        self.abandoned += 1;
        if self.open.take().is_some() {
            self.extents.pop();
        }
    }
}

impl CheckpointSink for Taker<'_> {
    fn begin_round(&mut self, _superblock: &SuperBlock) -> Result<()> {
        self.rounds += 1;
        if let Some(at_round) = &mut self.at_round {
            at_round(self.rounds);
        }
        Ok(())
    }

    fn expect_extents(&mut self, extents: u64) {
        self.expected = extents;
    }
}

fn walk(data_file: &DataFile, options: ReadOptions, taker: &mut Taker<'_>) -> Result<SuperBlock, SourceError> {
    Walk::open(&data_file.path(), options).unwrap().run(taker)
}

fn offset(address: u64) -> u64 {
    block_offset(address).unwrap()
}

/// A sample with one additional table of `values` value blocks, from address 20 on.
fn with_large_table(values: u64) -> SampleFile {
    let mut sample = SampleFile::new(7, 0);
    let blocks: Vec<_> =
        (0..values).map(|number| value_block(7, 20 + number, TREE_TRANSFERS, &[&transfer(number.into(), 1, 2, 1, number)])).collect();
    let index = index_block(7, 10, TREE_TRANSFERS, &blocks.iter().map(|block| block.0).collect::<Vec<_>>());
    let manifest = manifest_block(7, 11, Some(sample.blocks[1].0), &[table_info(index.0, TREE_TRANSFERS, 0, 1)]);
    let body = |block: &(BlockReference, Vec<u8>)| Some((block.0, block.1[HEADER_BYTES..].to_vec()));
    let roots = Roots {
        free_set_acquired: body(&sample.blocks[7]),
        client_sessions: body(&sample.blocks[6]),
        manifest: Some((sample.blocks[0].0, manifest.0, 3)),
        grid_blocks: 20 + values,
    };
    sample.superblock = superblock_bytes(&sample.checkpoint().header(), &roots, 3);
    sample.blocks.extend([index, manifest]);
    sample.blocks.extend(blocks);
    sample
}

#[test]
fn every_block_comes_once_in_order_whichever_way_it_is_read() {
    // More value blocks than there are buffers, and more than may be wanted ahead.
    let sample = with_large_table(300);
    let bytes_of: BTreeMap<BlockReference, &Vec<u8>> = sample.blocks.iter().map(|(reference, bytes)| (*reference, bytes)).collect();
    for folder in ["/tmp", "/dev/shm"] {
        let data_file = DataFile::new(&sample, folder);
        for options in all_options() {
            let mut taker = Taker::default();
            let mut walk = Walk::open(&data_file.path(), options).unwrap();
            let superblock = walk.run(&mut taker).unwrap();
            assert_eq!(superblock.bytes(), &sample.superblock);
            assert_eq!((walk.rounds(), taker.abandoned, taker.expected), (1, 0, 8));
            assert!(walk.bytes_read() > 310 * BLOCK_BYTES as u64);
            let roots: Vec<u64> = taker.extents.iter().map(|(root, _)| root.address).collect();
            assert_eq!(roots, [8, 7, 11, 2, 1, 10, 6, 4]);
            let order: Vec<u64> = taker.extents[5].1.iter().map(|(reference, _)| reference.address).collect();
            assert_eq!(order, [10].into_iter().chain(20..320).collect::<Vec<u64>>());
            for (reference, bytes) in taker.extents.iter().flat_map(|(_, blocks)| blocks) {
                assert!(bytes_of[reference] == bytes, "{reference}");
            }
        }
    }
}

#[test]
fn many_tables_are_read_ahead() {
    let mut sample = SampleFile::new(7, 0);
    let mut events = Vec::new();
    for number in 0..40 {
        let value = value_block(7, 100 + number, TREE_TRANSFERS, &[&transfer(number.into(), 1, 2, 1, number)]);
        let index = index_block(7, 20 + number, TREE_TRANSFERS, &[value.0]);
        events.push(table_info(index.0, TREE_TRANSFERS, 0, 1));
        sample.blocks.extend([value, index]);
    }
    let manifest = manifest_block(7, 10, None, &events);
    let roots = Roots { manifest: Some((manifest.0, manifest.0, 1)), grid_blocks: 140, ..Roots::default() };
    sample.superblock = superblock_bytes(&sample.checkpoint().header(), &roots, 1);
    sample.blocks.push(manifest);
    let data_file = DataFile::new(&sample, "/dev/shm");
    for options in all_options() {
        let mut taker = Taker::default();
        walk(&data_file, options, &mut taker).unwrap();
        assert_eq!((taker.expected, taker.extents.len()), (41, 41));
        assert!(taker.extents[1..].iter().all(|(_, blocks)| blocks.len() == 2));
    }
}

#[test]
fn what_is_held_is_not_read() {
    let data_file = DataFile::new(&SampleFile::new(7, 0), "/dev/shm");
    let mut taker = Taker::default();
    walk(&data_file, ReadOptions::quick(), &mut taker).unwrap();
    let before = taker.extents.clone();
    // Even damage in a table that the sink holds is not seen.
    data_file.write(offset(5) + 300, &[0xff]);
    data_file.write(offset(6) + 300, &[0xff]);
    walk(&data_file, ReadOptions::quick(), &mut taker).unwrap();
    assert_eq!(taker.extents, before);
}

#[test]
fn a_node_that_moves_on_is_followed() {
    let sample = SampleFile::new(7, 960);
    let next = crate::tier::sample::next_checkpoint(&sample, 0).unwrap();
    let data_file = DataFile::new(&next, "/dev/shm");
    data_file.lay_out(&sample);
    let mut taker = Taker::at_each_round(|round| match round {
        // The block is being rewritten while the first round goes on, for the next checkpoint.
        1 => data_file.write(offset(5) + 300, &[0xff]),
        _ => data_file.lay_out(&next),
    });
    let mut walk = Walk::open(&data_file.path(), ReadOptions::quick()).unwrap();
    let superblock = walk.run(&mut taker).unwrap();
    assert_eq!(superblock.checkpoint().header().op(), 959, "the superblock that the complete round began with");
    assert_eq!((walk.rounds(), taker.abandoned), (2, 1));
    assert_eq!(walk.run(&mut taker).unwrap().checkpoint().header().op(), 1919);
}

#[test]
fn damage_at_rest_is_told_from_a_node_that_moves() {
    let sample = SampleFile::new(7, 3);
    let data_file = DataFile::new(&sample, "/dev/shm");
    let resealed = |round: u32| {
        crate::tier::sample::edited(&sample, |bytes| {
            // Another checkpoint of the same tree: only the time of its op differs.
            bytes[96 + 496] = round as u8;
            bytes[40..48].copy_from_slice(&u64::from(round + 1).to_le_bytes());
        })
    };
    data_file.write(offset(5) + 300, &[0xff]);
    let mut taker = Taker::at_each_round(|round| {
        if round <= 6 {
            let zone = crate::tb_format::image::superblock_zone(&SuperBlock::check(&resealed(round).superblock).unwrap());
            data_file.write(0, &zone);
        }
    });
    let error = walk(&data_file, ReadOptions::quick(), &mut taker).unwrap_err();
    assert!(matches!(error, SourceError::Damaged { .. }), "{error}");
    drop(taker.at_round.take());
    assert_eq!(taker.rounds, 6 + 4, "as long as the superblock moves there is hope; then four rounds");
    assert_eq!(taker.abandoned, 10);
}

#[test]
fn a_node_that_is_always_faster_ends_the_walk() {
    let sample = SampleFile::new(7, 3);
    let data_file = DataFile::new(&sample, "/dev/shm");
    data_file.write(offset(5) + 300, &[0xff]);
    let mut taker = Taker::at_each_round(|round| {
        let moved = crate::tier::sample::edited(&sample, |bytes| {
            bytes[96 + 496] = round as u8;
            bytes[40..48].copy_from_slice(&u64::from(round + 1).to_le_bytes());
        });
        data_file.write(0, &crate::tb_format::image::superblock_zone(&SuperBlock::check(&moved.superblock).unwrap()));
    });
    let error = walk(&data_file, ReadOptions::quick(), &mut taker).unwrap_err();
    assert!(matches!(&error, SourceError::NotNow { .. }) && error.to_string().contains("after 1000 rounds"), "{error}");
}

/// A sink that gives its blocks to a thread, which releases them only when it holds nearly all the
/// buffers.
struct Hoarder {
    blocks: std::sync::mpsc::Sender<CheckedBlock>,
    taken: u32,
}

impl BlockSink for Hoarder {
    fn holds(&mut self, _root: BlockReference) -> bool {
        false
    }
    fn begin_extent(&mut self, _root: BlockReference) -> Result<()> {
        Ok(())
    }
    fn block(&mut self, _reference: BlockReference, block: CheckedBlock) -> Result<()> {
        self.taken += 1;
        self.blocks.send(block).unwrap();
        Ok(())
    }
    fn end_extent(&mut self) -> Result<()> {
        Ok(())
    }
    fn abandon_extent(&mut self) {}
}

impl CheckpointSink for Hoarder {
    fn begin_round(&mut self, _superblock: &SuperBlock) -> Result<()> {
        Ok(())
    }
    fn expect_extents(&mut self, _extents: u64) {}
}

#[test]
fn a_reader_without_buffers_waits_for_one_to_come_back() {
    let data_file = DataFile::new(&with_large_table(300), "/dev/shm");
    for options in all_options() {
        let (blocks, received) = std::sync::mpsc::channel();
        let hoard = std::thread::spawn(move || {
            let mut held = Vec::new();
            for block in received {
                held.push(block);
                // Of 64 buffers two hold index blocks that were read ahead: now all are in use.
                if held.len() == 62 {
                    (0..10_000).for_each(|_| std::thread::yield_now());
                    held.clear();
                }
            }
        });
        let mut sink = Hoarder { blocks, taken: 0 };
        Walk::open(&data_file.path(), options).unwrap().run(&mut sink).unwrap();
        assert_eq!(sink.taken, 5 + 301 + 2 + 2);
        drop(sink);
        hoard.join().unwrap();
    }
}

#[test]
fn a_block_of_the_wrong_kind_is_damage() {
    // All are valid blocks, but a manifest block is where the free set should be, and a value block
    // where an index block should be.
    let sample = SampleFile::new(7, 0);
    let blocks = &sample.blocks;
    let body = |block: &(BlockReference, Vec<u8>)| Some((block.0, block.1[HEADER_BYTES..].to_vec()));
    let manifest = manifest_block(7, 10, None, &[table_info(blocks[2].0, TREE_TRANSFERS, 0, 1)]);
    let wrong_root = Roots { free_set_acquired: body(&blocks[0]), grid_blocks: 10, ..Roots::default() };
    let wrong_table = Roots { manifest: Some((manifest.0, manifest.0, 1)), grid_blocks: 10, ..Roots::default() };
    for (roots, what) in [(wrong_root, "free set block at address 1"), (wrong_table, "index block of tree 18 at address 3")] {
        let superblock = superblock_bytes(&sample.checkpoint().header(), &roots, 1);
        let file = SampleFile { superblock, blocks: [blocks.clone(), vec![manifest.clone()]].concat(), ..sample.clone() };
        let error = walk(&DataFile::new(&file, "/dev/shm"), ReadOptions::quick(), &mut Taker::default()).unwrap_err();
        assert!(matches!(error, SourceError::Damaged { .. }) && error.to_string().contains(what), "{error}");
    }
}

#[test]
fn a_manifest_log_that_ends_early_is_damage() {
    let sample = SampleFile::new(7, 0);
    let oldest = manifest_block(7, 10, None, &[table_info(sample.blocks[5].0, TREE_TRANSFERS, 0, 1)]);
    let roots = |blocks| Roots { manifest: Some((sample.blocks[0].0, oldest.0, blocks)), grid_blocks: 10, ..Roots::default() };
    let file = SampleFile {
        superblock: superblock_bytes(&sample.checkpoint().header(), &roots(3), 1),
        blocks: [sample.blocks.clone(), vec![oldest.clone()]].concat(),
        ..sample.clone()
    };
    let error = walk(&DataFile::new(&file, "/dev/shm"), ReadOptions::quick(), &mut Taker::default()).unwrap_err();
    assert!(error.to_string().contains("the manifest log ends after 1 of 3 blocks"), "{error}");
}

#[test]
fn a_sink_that_fails_ends_the_walk_with_its_error() {
    let data_file = DataFile::new(&SampleFile::new(7, 0), "/dev/shm");
    let mut taker = Taker { refuse_block: true, ..Taker::default() };
    let error = Error::from(walk(&data_file, ReadOptions::quick(), &mut taker).unwrap_err());
    assert_eq!(error, Error::try_again("the store is away"));
    assert_eq!(error.kind, Kind::TryAgain);
}

#[test]
fn a_superblock_says_what_became_of_its_copies() {
    let sample = SampleFile::new(7, 1);
    let data_file = DataFile::new(&sample, "/dev/shm");
    data_file.write(2 * 24 * 1024 + 500, &[0xff]);
    let mut walk = Walk::open(&data_file.path(), ReadOptions { direct: false, uring: false, ..ReadOptions::quick() }).unwrap();
    assert_eq!(walk.superblock().unwrap().bytes(), &sample.superblock);
    assert_eq!(walk.notes(), ["superblock copy 2 of 4 is damaged or was being written; the others suffice"]);
    data_file.lay_out(&sample);
    walk.superblock().unwrap();
    assert_eq!(walk.notes(), [""; 0], "it was only being written");
    assert_eq!(headers_of(&sample.log).len(), 1);
}
