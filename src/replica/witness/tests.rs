//! A transfer is found in the checkpoint that holds it, and no other transfer is taken for it.

use super::{Lookup, Witness, find_witness, leaves_no_trace};
use crate::disk::file::ReadOptions;
use crate::disk::read_error::SourceError;
use crate::replica::checkpoint::Walk;
use crate::replica::tests::DataFile;
use crate::replica::tests::tables::{Record, Table, file};
use crate::tb_format::image::superblock_zone;
use crate::tb_format::layout::block_offset;
use crate::tb_format::record::{TREE_ACCOUNTS, TREE_TRANSFERS};
use crate::tb_format::sample::{PrepareSample, SampleFile, account, root_header, transfer};
use crate::tb_format::superblock::SuperBlock;
use crate::tb_format::wal::Prepare;
use crate::tier::sample::edited;

/// A record like `transfer` of this id and time.
fn made(id: u128, timestamp_ns: u64) -> Record {
    transfer(id, 1, 2, 10, timestamp_ns)
}

/// Transfers 5 and 6, made by op 900 at times 100 to 102.
fn witness() -> Witness {
    Witness { op: 900, tree_id: TREE_TRANSFERS, timestamp_min_ns: 100, timestamp_max_ns: 102, ids: vec![5, 6] }
}

fn find(sample: &SampleFile, witness: &Witness) -> Result<bool, SourceError> {
    find_witness(&DataFile::new(sample, "/dev/shm").path(), ReadOptions::quick(), witness)
}

fn shows(tables: &[Table]) -> bool {
    find(&file(tables), &witness()).unwrap()
}

#[test]
fn it_is_found_in_whichever_table_and_block_it_is() {
    let early: &[Record] = &[made(1, 90), made(2, 99)];
    let late: &[Record] = &[made(3, 103), made(4, 200)];
    for time in [100, 101, 102] {
        assert!(shows(&[Table::new(&[&[made(6, time)]])]), "{time}");
        assert!(shows(&[Table::new(&[early, &[made(9, 100), made(5, time)], late])]), "{time}");
        // Tables of several levels overlap the range: all are searched.
        assert!(shows(&[Table::new(&[early, late]), Table::new(&[early]), Table::new(&[&[made(5, time)]])]), "{time}");
    }
}

#[test]
fn nothing_else_is_taken_for_it() {
    for (what, record) in [("another time", made(5, 99)), ("a later time", made(5, 103)), ("another id", made(7, 101))] {
        assert!(!shows(&[Table::new(&[&[made(1, 90), record, made(2, 200)]])]), "{what}");
    }
    let mut imported = made(5, 101);
    imported[118..120].copy_from_slice(&(1_u16 << 8).to_le_bytes());
    let mut rolled_back = made(5, 101);
    rolled_back[127] |= 0x80;
    for (what, record) in [("imported with its old time", imported), ("rolled back", rolled_back)] {
        assert!(!shows(&[Table::new(&[&[record]])]), "{what}");
    }
    let here = || Table::new(&[&[made(5, 101)]]);
    assert!(!shows(&[Table { removed: true, ..here() }]), "the table is gone");
    assert!(!shows(&[Table { tree_id: TREE_ACCOUNTS, ..here() }]), "another tree");
    assert!(shows(&[Table { removed: true, ..here() }, here()]), "compaction wrote it again");
    let later = Witness { op: 960, ..witness() };
    assert!(!find(&file(&[here()]), &later).unwrap(), "the checkpoint lies before the op");
}

#[test]
fn accounts_are_witnesses_too() {
    let witness = Witness { tree_id: TREE_ACCOUNTS, ..witness() };
    let table = |flags: u16| {
        let mut record = account(5, 0, 0, 101);
        record[118..120].copy_from_slice(&flags.to_le_bytes());
        Table { tree_id: TREE_ACCOUNTS, ..Table::new(&[&[record]]) }
    };
    assert!(find(&file(&[table(0)]), &witness).unwrap());
    assert!(!find(&file(&[table(1 << 4)]), &witness).unwrap(), "imported");
}

#[test]
fn what_no_server_would_need_is_not_read() {
    let tables = |count: u64| -> Vec<Table> {
        let mut tables: Vec<Table> = (0..count).map(|number| Table::new(&[&[made(7, 100), made(number.into(), 101)]])).collect();
        tables[0].values = vec![vec![made(5, 101).to_vec()]];
        tables
    };
    assert!(shows(&tables(32)));
    assert!(!shows(&tables(33)));
}

/// The superblock as of another checkpoint of the same tree.
fn moved(sample: &SampleFile, sequence: u64) -> Vec<u8> {
    let other = edited(sample, |bytes| {
        bytes[96 + 496..96 + 504].copy_from_slice(&sequence.to_le_bytes());
        bytes[40..48].copy_from_slice(&sequence.to_le_bytes());
    });
    superblock_zone(&SuperBlock::check(&other.superblock).unwrap())
}

#[test]
fn a_node_that_moves_on_is_looked_at_again_and_damage_is_told() {
    let old = file(&[Table::new(&[&[made(1, 101)]])]);
    let new = file(&[Table::new(&[&[made(1, 101), made(5, 101)]])]);
    let (witness, options) = (witness(), ReadOptions::quick());
    // The server rewrites a block during the search, and its superblock after that.
    let data_file = DataFile::new(&old, "/dev/shm");
    let offset = |address| block_offset(address).unwrap();
    let (lookup, mut rounds) = (Lookup::new(&witness), 0);
    let mut walk = Walk::open(&data_file.path(), options).unwrap();
    let (_, found) = walk
        .rounds_of(&mut |walk, superblock| {
            rounds += 1;
            if rounds == 1 {
                data_file.write(offset(20) + 300, &[0xff]);
                let round = lookup.round(walk, superblock);
                data_file.lay_out(&new);
                data_file.write(0, &moved(&new, 2));
                return round;
            }
            lookup.round(walk, superblock)
        })
        .unwrap();
    assert_eq!((found, rounds), (true, 2));

    for address in [10, 20, 21] {
        let data_file = DataFile::new(&old, "/dev/shm");
        data_file.write(offset(address) + 300, &[0xff]);
        let error = find_witness(&data_file.path(), options, &witness).unwrap_err();
        assert!(matches!(error, SourceError::Damaged { .. }) && error.to_string().contains(&format!("address {address}")), "{error}");
        let mut rounds = 0;
        let mut walk = Walk::open(&data_file.path(), options).unwrap();
        let faster = walk.rounds_of(&mut |walk, superblock| {
            rounds += 1;
            data_file.write(0, &moved(&old, rounds + 1));
            lookup.round(walk, superblock)
        });
        assert!(matches!(faster, Err(SourceError::NotNow { .. })), "{faster:?}");
    }
    let syncing = edited(&new, |bytes| bytes[1344..1352].copy_from_slice(&1_u64.to_le_bytes()));
    assert!(matches!(find(&syncing, &witness), Err(SourceError::NotNow { .. })));
}

/// What a prepare of this operation and body shows.
fn of(operation: u8, body: Vec<u8>) -> Option<Witness> {
    let bytes = PrepareSample { operation, timestamp: 1000, body, ..PrepareSample::after(&root_header(7)) }.bytes();
    Witness::of(&Prepare::check(&bytes).unwrap())
}

/// The trailer of a request whose batches have so many events.
fn trailer(batches: &[u16]) -> Vec<u8> {
    let numbers: Vec<u16> = batches.iter().rev().copied().chain([batches.len() as u16]).collect();
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    [vec![0xff; bytes.len().next_multiple_of(128) - bytes.len()], bytes].concat()
}

#[test]
fn a_prepare_is_read_as_its_operation_lays_it_out() {
    let mut imported = made(4, 77);
    imported[118..120].copy_from_slice(&(1_u16 << 8).to_le_bytes());
    let three = [made(1, 0), made(2, 0), made(3, 0)].concat();
    let expected = |ids: &[u128]| {
        Some(Witness { op: 1, tree_id: TREE_TRANSFERS, timestamp_min_ns: 1001 - 3, timestamp_max_ns: 1000, ids: ids.to_vec() })
    };
    assert_eq!(of(130, three.clone()), expected(&[1, 2, 3]));
    assert_eq!(of(139, [three.clone(), trailer(&[3])].concat()), expected(&[1, 2, 3]));
    assert_eq!(of(139, [three.clone(), trailer(&[1, 0, 2])].concat()), expected(&[1, 2, 3]));
    assert_eq!(of(147, [three.clone(), trailer(&[3])].concat()), expected(&[1, 2, 3]), "as 0.17 numbers it");
    let many = [three, trailer(&[&[3_u16] as &[u16], &[0; 200]].concat())].concat();
    assert_eq!(of(139, many), expected(&[1, 2, 3]), "a trailer of several events");
    let mixed = [made(1, 0), imported, made(3, 0)].concat();
    assert_eq!(of(139, [mixed, trailer(&[1, 1, 1])].concat()), expected(&[1, 3]));
    assert_eq!(of(139, [imported.to_vec(), trailer(&[1])].concat()), None);
    assert_eq!(of(139, trailer(&[0])), None);
    assert_eq!(of(139, vec![0xff; 128]), None, "no such trailer");
    let accounts = of(138, [account(8, 0, 0, 0).to_vec(), trailer(&[1])].concat()).unwrap();
    assert_eq!(of(146, [account(8, 0, 0, 0).to_vec(), trailer(&[1])].concat()), Some(accounts.clone()), "as 0.17 numbers it");
    assert_eq!((accounts.tree_id, accounts.ids, accounts.timestamp_min_ns), (TREE_ACCOUNTS, vec![8], 1000));
    for operation in [2, 6, 128, 137, 140, 141, 145] {
        assert!(leaves_no_trace(operation) && of(operation, vec![1; 256]).is_none(), "{operation}");
    }
    for operation in [129, 130, 138, 139, 146, 147, 3, 255] {
        assert!(!leaves_no_trace(operation), "{operation}");
    }
}
