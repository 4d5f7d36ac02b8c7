//! Turns records into columns, so that bytes which are alike lie side by side for zstd.
//!
//! Ledger records have fixed fields: byte `j` of one record is like byte `j` of the next (the high
//! bytes of timestamps and ids, flags, padding), but a record's size away from it. [`to_columns`]
//! leaves the first [`HEAD_BYTES`] of a frame, TigerBeetle's header, as they are, then writes byte
//! 0 of all whole records, byte 1 of all whole records and so on, then what is left after the last
//! whole record. [`to_records`] is the inverse. Neither changes a length, and both are defined for
//! every length and every record size.
//!
//! Both walk the records in bands of 64. A band of 128-byte records is 8 KiB and stays in the
//! first-level cache while its columns are touched, 64 bytes of a column at a time: these are whole
//! cache lines, which matters because the columns of a 512 KiB block lie nearly 4 KiB apart, where
//! few lines fit the cache side by side. Within a band, eight rows of eight bytes are transposed as
//! eight integers in three rounds of swaps, for eight such squares at once, which the compiler
//! turns into vector instructions. Whatever fits no band or square is moved byte by byte.
//!
//! Layout: FORMAT.md, "Frames".

/// What stays unchanged before the records: the header of a block or of the first prepare.
pub const HEAD_BYTES: usize = 256;
/// The largest record that an index can name.
pub const RECORD_BYTES_MAX: u16 = 4096;

/// Rows of a square, and bytes in each of its rows.
const SQUARE: usize = 8;
/// Squares that are transposed at once.
const SQUARES: usize = 8;
/// Records in a band.
const BAND: usize = SQUARE * SQUARES;

/// Eight squares: row `r` of square `s` is `[r][s]`.
type Rows = [[u64; SQUARES]; SQUARE];

/// Writes the frame `plain` to `out` with its records turned into columns. Nothing is written
/// unless both have the same length.
pub fn to_columns(plain: &[u8], record_bytes: usize, out: &mut [u8]) {
    if plain.len() == out.len() {
        let records = around_records(plain, record_bytes, out);
        records_to_columns(&plain[records.clone()], record_bytes, &mut out[records]);
    }
}

/// Writes the frame `transposed` to `out` with its columns turned back into records. Nothing is
/// written unless both have the same length.
pub fn to_records(transposed: &[u8], record_bytes: usize, out: &mut [u8]) {
    if transposed.len() == out.len() {
        let records = around_records(transposed, record_bytes, out);
        columns_to_records(&transposed[records.clone()], record_bytes, &mut out[records]);
    }
}

/// Copies everything that is not a whole record, and returns where the whole records lie.
fn around_records(from: &[u8], record_bytes: usize, to: &mut [u8]) -> std::ops::Range<usize> {
    let head = from.len().min(HEAD_BYTES);
    let end = from.len() - (from.len() - head).checked_rem(record_bytes).unwrap_or(from.len() - head);
    to[..head].copy_from_slice(&from[..head]);
    to[end..].copy_from_slice(&from[end..]);
    head..end
}

/// Byte `j` of record `i` goes to `j * count + i`. Both slices hold the same number of whole
/// records.
pub fn records_to_columns(records: &[u8], record_bytes: usize, columns: &mut [u8]) {
    let count = records.len().checked_div(record_bytes).unwrap_or(0);
    let (banded, squared) = (count - count % BAND, record_bytes - record_bytes % SQUARE);
    for first in (0..banded).step_by(BAND) {
        for column in (0..squared).step_by(SQUARE) {
            let mut rows = Rows::default();
            for (r, row) in rows.iter_mut().enumerate() {
                for (s, word) in row.iter_mut().enumerate() {
                    *word = word_at(records, (first + s * SQUARE + r) * record_bytes + column);
                }
            }
            transpose_squares(&mut rows);
            for (k, row) in rows.iter().enumerate() {
                let at = (column + k) * count + first;
                if let Some(line) = columns.get_mut(at..at + BAND) {
                    line.as_chunks_mut().0.iter_mut().zip(row).for_each(|(bytes, word)| *bytes = word.to_le_bytes());
                }
            }
        }
    }
    let mut copy = |i: usize, j: usize| columns[j * count + i] = records[i * record_bytes + j];
    (0..banded).for_each(|i| (squared..record_bytes).for_each(|j| copy(i, j)));
    (banded..count).for_each(|i| (0..record_bytes).for_each(|j| copy(i, j)));
}

/// The inverse of [`records_to_columns`].
pub fn columns_to_records(columns: &[u8], record_bytes: usize, records: &mut [u8]) {
    let count = columns.len().checked_div(record_bytes).unwrap_or(0);
    let (banded, squared) = (count - count % BAND, record_bytes - record_bytes % SQUARE);
    for first in (0..banded).step_by(BAND) {
        for column in (0..squared).step_by(SQUARE) {
            let mut rows = Rows::default();
            for (k, row) in rows.iter_mut().enumerate() {
                let at = (column + k) * count + first;
                let line = columns.get(at..at + BAND).unwrap_or_default();
                row.iter_mut().zip(line.as_chunks().0).for_each(|(word, bytes)| *word = u64::from_le_bytes(*bytes));
            }
            transpose_squares(&mut rows);
            for (r, row) in rows.iter().enumerate() {
                for (s, word) in row.iter().enumerate() {
                    let at = (first + s * SQUARE + r) * record_bytes + column;
                    if let Some(bytes) = records.get_mut(at..at + SQUARE) {
                        bytes.copy_from_slice(&word.to_le_bytes());
                    }
                }
            }
        }
    }
    let mut copy = |i: usize, j: usize| records[i * record_bytes + j] = columns[j * count + i];
    (0..banded).for_each(|i| (squared..record_bytes).for_each(|j| copy(i, j)));
    (banded..count).for_each(|i| (0..record_bytes).for_each(|j| copy(i, j)));
}

fn word_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + SQUARE).and_then(<[u8]>::first_chunk).map_or(0, |word| u64::from_le_bytes(*word))
}

/// Transposes each square: byte `j` of row `r` swaps places with byte `r` of row `j`.
fn transpose_squares(rows: &mut Rows) {
    swap::<4>(rows, 0x0000_0000_ffff_ffff);
    swap::<2>(rows, 0x0000_ffff_0000_ffff);
    swap::<1>(rows, 0x00ff_00ff_00ff_00ff);
}

/// One round. In each pair of rows `DISTANCE` apart, the upper row's bytes that `mask` leaves out
/// swap places with the lower row's bytes that it keeps.
#[inline(always)]
fn swap<const DISTANCE: usize>(rows: &mut Rows, mask: u64) {
    for pair in rows.chunks_exact_mut(2 * DISTANCE) {
        let (above, below) = pair.split_at_mut(DISTANCE);
        for (a, b) in above.iter_mut().zip(below) {
            for (a, b) in a.iter_mut().zip(b) {
                let differing = ((*a >> (8 * DISTANCE)) ^ *b) & mask;
                *b ^= differing;
                *a ^= differing << (8 * DISTANCE);
            }
        }
    }
}

/// The definition, as FORMAT.md gives it.
#[cfg(test)]
pub(super) fn naive(plain: &[u8], record_bytes: usize) -> Vec<u8> {
    let (head, body) = plain.split_at(plain.len().min(HEAD_BYTES));
    let records = body.chunks_exact(record_bytes);
    let rest = records.remainder();
    let columns = (0..record_bytes).flat_map(|j| records.clone().map(move |record| record[j]));
    head.iter().copied().chain(columns).chain(rest.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn there_and_back(plain: &[u8], record_bytes: usize) {
        let mut columns = vec![0xee; plain.len()];
        to_columns(plain, record_bytes, &mut columns);
        assert!(columns == naive(plain, record_bytes), "{} bytes, records of {record_bytes}", plain.len());
        let mut back = vec![0xdd; plain.len()];
        to_records(&columns, record_bytes, &mut back);
        assert!(back == plain, "{} bytes, records of {record_bytes}, back", plain.len());
    }

    fn bytes(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect()
    }

    #[test]
    fn whole_blocks_of_every_size_of_ledger_record() {
        for record_bytes in [1, 8, 16, 24, 32, 64, 128, 256, 4096] {
            for length in [524_288, 524_256, 524_287, 256 + 64 * record_bytes, 255 + 64 * record_bytes] {
                there_and_back(&bytes(length, 7), record_bytes);
            }
        }
    }

    #[test]
    fn lengths_that_differ_write_nothing() {
        let mut out = [9; 100];
        to_columns(&[1; 101], 3, &mut out);
        to_records(&[1; 99], 3, &mut out);
        assert_eq!(out, [9; 100]);
        // A record size of 0 names no record.
        to_columns(&[1; 100], 0, &mut out);
        assert_eq!(out, [1; 100]);
    }

    proptest! {
        #[test]
        fn any_length_and_record_size(record_bytes in 1_usize..=4096, short in 1_usize..40, length in 0_usize..40_000, seed in any::<u64>()) {
            there_and_back(&bytes(length, seed), record_bytes);
            there_and_back(&bytes(length, seed), short);
        }
    }
}
