//! Accounts and transfers are decoded by their trees: newest version, order, and a clear refusal of
//! unknown forms. Nothing else depends on which trees there are.

use super::{CURSORS_MAX, ObjectSink, ObjectTree, read_objects};
use crate::disk::file::ReadOptions;
use crate::error::{Error, Kind, Result};
use crate::replica::checkpoint::Walk;
use crate::replica::tests::DataFile;
use crate::replica::tests::tables::{Record, Table, file};
use crate::tb_format::record::{Account, TREE_ACCOUNTS, Transfer};
use crate::tb_format::sample::{account, transfer};
use crate::tb_format::superblock::SuperBlock;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What was read: tree and record.
#[derive(Default)]
struct Taken {
    begun: u32,
    objects: Vec<(ObjectTree, Record)>,
}

impl ObjectSink for Taken {
    fn begin(&mut self, _superblock: &SuperBlock) -> Result<()> {
        self.begun += 1;
        self.objects.clear();
        Ok(())
    }

    fn object(&mut self, tree: ObjectTree, record: &[u8]) -> Result<()> {
        self.objects.push((tree, record.try_into().unwrap()));
        Ok(())
    }
}

const BOTH: [ObjectTree; 2] = [ObjectTree::Accounts, ObjectTree::Transfers];

fn read(tables: &[Table], trees: &[ObjectTree]) -> Result<Vec<(ObjectTree, Record)>> {
    let data_file = DataFile::new(&file(tables), "/dev/shm");
    let mut walk = Walk::open(&data_file.path(), ReadOptions::quick())?;
    let mut taken = Taken::default();
    let superblock = read_objects(&mut walk, trees, &mut taken).map_err(Error::from)?;
    assert_eq!((superblock.checkpoint().header().op(), taken.begun), (959, 1));
    Ok(taken.objects)
}

fn moved(id: u128, timestamp_ns: u64) -> Record {
    transfer(id, 1, 2, 10, timestamp_ns)
}

fn deleted(timestamp_ns: u64) -> Record {
    moved(0, timestamp_ns | 1 << 63)
}

fn accounts(level: u8, records: &[Record]) -> Table {
    Table { tree_id: TREE_ACCOUNTS, level, ..Table::new(&[records]) }
}

/// A tree that no present release has: values of 40 bytes, keys of 24.
fn unknown_tree() -> Table {
    let value = |number: u64| [&[0x5a; 32][..], &number.to_le_bytes()].concat();
    Table { tree_id: 99, level: 3, key_bytes: 24, values: vec![vec![value(1), value(2)], vec![value(7)]], removed: false }
}

#[test]
fn every_object_comes_once_in_its_newest_version_and_in_order() {
    let tables = [
        Table { level: 2, ..Table::new(&[&[moved(1, 10), moved(3, 30)], &[moved(5, 50), moved(6, 60)]]) },
        Table { level: 1, ..Table::new(&[&[moved(2, 20)], &[moved(4, 40)]]) },
        Table::new(&[&[deleted(50), moved(7, 70)]]),
        Table { removed: true, ..Table::new(&[&[moved(99, 15)]]) },
        accounts(4, &[account(1, 5, 5, 1), account(2, 0, 0, 2), account(3, 0, 9, 3)]),
        accounts(0, &[account(2, 7, 8, 2)]),
        accounts(1, &[account(2, 1, 1, 2), account(3, 4, 4, 3)]),
        unknown_tree(),
    ];
    let objects = read(&tables, &BOTH).unwrap();
    let balances: Vec<(u128, u128, u128)> = objects
        .iter()
        .filter(|(tree, _)| *tree == ObjectTree::Accounts)
        .map(|(_, record)| Account::from_bytes(record).unwrap())
        .map(|account| (account.id(), account.debits_posted(), account.credits_posted()))
        .collect();
    assert_eq!(balances, [(1, 5, 5), (2, 7, 8), (3, 4, 4)]);
    let transfers: Vec<u128> = objects
        .iter()
        .filter(|(tree, _)| *tree == ObjectTree::Transfers)
        .map(|(_, record)| Transfer::from_bytes(record).unwrap().id())
        .collect();
    assert_eq!(transfers, [1, 2, 3, 4, 6, 7], "one was deleted, one table is gone");
    assert_eq!(read(&tables, &[ObjectTree::Accounts]).unwrap().len(), 3, "only what is asked for");
    assert_eq!(read(&[unknown_tree()], &BOTH).unwrap().len(), 0);
}

#[test]
fn in_one_level_the_younger_table_has_the_newest_version() {
    let older = accounts(0, &[account(1, 1, 1, 5)]);
    let younger = accounts(0, &[account(1, 2, 2, 5)]);
    let mut sample = file(&[older, younger]);
    // The second table's insertion is of a later snapshot. The tables are in one block of the
    // manifest log, which is sealed again.
    let (place, manifest) = sample.blocks.iter().enumerate().find(|(_, block)| block.0.address == 10).unwrap();
    let mut events: Vec<[u8; 128]> = manifest.1[256..512].as_chunks().0.to_vec();
    events[1][104..112].copy_from_slice(&500_u64.to_le_bytes());
    let manifest = crate::tb_format::sample::manifest_block(7, 10, None, &events);
    let roots = crate::tb_format::sample::Roots { manifest: Some((manifest.0, manifest.0, 1)), grid_blocks: 24, ..Default::default() };
    sample.superblock = crate::tb_format::sample::superblock_bytes(&sample.checkpoint().header(), &roots, 3);
    sample.blocks.truncate(place);
    sample.blocks.push(manifest);
    let data_file = DataFile::new(&sample, "/dev/shm");
    let mut taken = Taken::default();
    read_objects(&mut Walk::open(&data_file.path(), ReadOptions::quick()).unwrap(), &BOTH, &mut taken).unwrap();
    let debits: Vec<u128> = taken.objects.iter().map(|(_, record)| Account::from_bytes(record).unwrap().debits_posted()).collect();
    assert_eq!(debits, [2]);
}

#[test]
fn a_tree_of_another_form_is_refused_by_its_name_and_no_other_with_it() {
    let longer = |tree_id| {
        let value = [&[0; 192][..], &77_u64.to_le_bytes()].concat();
        Table { tree_id, values: vec![vec![value]], ..Table::new(&[]) }
    };
    let keyed = |tree_id| Table { tree_id, key_bytes: 16, ..Table::new(&[&[moved(1, 10)]]) };
    let good = Table::new(&[&[moved(1, 10)]]);
    for (strange, said) in [(longer(TREE_ACCOUNTS), "values of 200 bytes, not 128"), (keyed(TREE_ACCOUNTS), "keys of 16 bytes, not 8")] {
        let tables = [strange, good.clone()];
        let error = read(&tables, &BOTH).unwrap_err();
        assert_eq!(error.kind, Kind::Input);
        for part in ["the accounts (tree 7)", said, "a newer Amber", "take every tree as it is"] {
            assert!(error.message.contains(part), "{error}");
        }
        assert_eq!(read(&tables, &[ObjectTree::Transfers]).unwrap().len(), 1, "the transfers are as they were");
    }
    for mut strange in [longer(TREE_ACCOUNTS), keyed(TREE_ACCOUNTS)] {
        strange.tree_id = 18;
        assert!(read(&[strange], &BOTH).unwrap_err().message.contains("the transfers (tree 18)"));
    }
}

#[test]
fn values_that_are_not_where_their_table_says_are_refused() {
    let unordered = Table::new(&[&[moved(1, 10), moved(2, 30)], &[moved(3, 20)]]);
    let error = read(&[unordered], &BOTH).unwrap_err();
    assert!(error.message.contains("has the key 20"), "{error}");
}

#[test]
fn more_overlapping_tables_than_any_server_has_are_refused() {
    let overlapping =
        |count: u128| -> Vec<Table> { (0..count).map(|id| Table::new(&[&[moved(id, 10 + id as u64), moved(id, 1000)]])).collect() };
    assert_eq!(read(&overlapping(CURSORS_MAX as u128), &BOTH).unwrap().len(), CURSORS_MAX + 1);
    let error = read(&overlapping(CURSORS_MAX as u128 + 1), &BOTH).unwrap_err();
    assert!(error.message.contains("more than 64"), "{error}");
    // Any number of tables may follow one another without overlap.
    let apart: Vec<Table> = (0..100_u64).map(|number| Table::new(&[&[moved(1, 10 * number + 1), moved(2, 10 * number + 5)]])).collect();
    assert_eq!(read(&apart, &BOTH).unwrap().len(), 200);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_merge_is_what_a_map_makes_of_all_levels(levels in proptest::collection::vec(
        proptest::collection::btree_map(1_u64..60, any::<bool>(), 1..20), 1..5,
    )) {
        let mut expected: BTreeMap<u64, Option<u128>> = BTreeMap::new();
        let mut tables = Vec::new();
        for (level, values) in levels.iter().enumerate() {
            let records: Vec<Record> = values.iter().map(|(key, lives)| if *lives { moved(100 * level as u128, *key) } else { deleted(*key) }).collect();
            let blocks: Vec<&[Record]> = records.chunks(3).collect();
            tables.push(Table { level: level as u8, ..Table::new(&blocks) });
            for (key, lives) in values {
                expected.entry(*key).or_insert(lives.then_some(100 * level as u128));
            }
        }
        let found: Vec<(u64, u128)> = read(&tables, &[ObjectTree::Transfers]).unwrap().iter()
            .map(|(_, record)| Transfer::from_bytes(record).unwrap()).map(|transfer| (transfer.timestamp(), transfer.id())).collect();
        let expected: Vec<(u64, u128)> = expected.into_iter().filter_map(|(key, id)| id.map(|id| (key, id))).collect();
        prop_assert_eq!(found, expected);
    }
}
