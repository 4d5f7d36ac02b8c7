use super::*;
use crate::error::Kind;
use proptest::prelude::*;
use proptest::sample::select;

/// Every combination of the small fields once.
fn all() -> Vec<Packed> {
    let mut all = Vec::new();
    for work in Work::ALL.iter().copied() {
        for scope in SCOPES {
            for compression in COMPRESSIONS {
                for encryption in ENCRYPTIONS {
                    for status in STATUSES {
                        all.push(Packed { work, scope, compression, encryption, status, retention_days: 0 });
                    }
                }
            }
        }
    }
    all
}

proptest! {
    #[test]
    fn what_is_packed_is_unpacked(one in select(all()), retention_days: u16) {
        let packed = Packed { retention_days, ..one };
        prop_assert_eq!(Packed::unpack(packed.pack()), Ok(packed));
        prop_assert_eq!(packed.pack() << 56, 0, "72 zero bits");
    }

    #[test]
    fn whatever_unpacks_is_packed_into_the_same_bits(bits: u128, zeros in 0_u32..=128) {
        let bits = bits.checked_shl(zeros).unwrap_or(0);
        if let Ok(packed) = Packed::unpack(bits) {
            prop_assert_eq!(packed.pack(), bits);
        }
    }

    #[test]
    fn one_bit_more_or_less_is_another_event_or_none(one in select(all()), retention_days: u16, bit in 0_u32..128) {
        let bits = Packed { retention_days, ..one }.pack() ^ (1 << bit);
        match Packed::unpack(bits) {
            Ok(other) => prop_assert_ne!(other, Packed { retention_days, ..one }),
            Err(error) => prop_assert_eq!(error.kind, Kind::Damaged),
        }
    }

    #[test]
    fn anything_in_the_zeros_is_refused(one in select(all()), retention_days: u16, low in 1_u128..1 << 72) {
        let error = Packed::unpack(Packed { retention_days, ..one }.pack() | low).unwrap_err();
        prop_assert!(error.message.contains("lowest 72 bits"), "{}", error);
    }
}

#[test]
fn all_values_of_all_fields_hold() {
    for one in all() {
        for retention_days in [0, 1, 255, 256, 0x8000, u16::MAX] {
            let packed = Packed { retention_days, ..one };
            assert_eq!(Packed::unpack(packed.pack()), Ok(packed));
        }
    }
    assert_eq!(all().len(), Work::ALL.len() * 2 * 3 * 2 * 3);
}

#[test]
fn the_places_are_those_of_the_design() {
    let packed = Packed {
        work: Work::Kms,
        scope: Scope::Incremental,
        compression: Compression::Zstd,
        encryption: Encryption::Aes256,
        status: Status::Failed,
        retention_days: 0xabcd,
    };
    assert_eq!(packed.pack(), 0x0402_0302_03ab_cd00_0000_0000_0000_0000);
    let least = Packed {
        work: Work::Tigerbeetle,
        scope: Scope::Full,
        compression: Compression::None,
        encryption: Encryption::None,
        status: Status::Started,
        retention_days: 0,
    };
    assert_eq!(least.pack(), 0x0101_0101_0100_0000_0000_0000_0000_0000);
}

#[test]
fn values_that_do_not_exist_are_refused_with_their_field() {
    let good = 0x0101_0101_0100_0000_0000_0000_0000_0000_u128;
    for (shift, most, field) in
        [(SCOPE_SHIFT, 2, "scope"), (COMPRESSION_SHIFT, 3, "compression"), (ENCRYPTION_SHIFT, 2, "encryption"), (STATUS_SHIFT, 3, "status")]
    {
        for number in 0..=255_u128 {
            let bits = good & !(0xff << shift) | number << shift;
            let unpacked = Packed::unpack(bits);
            if (1..=most).contains(&number) {
                assert_eq!(unpacked.unwrap().pack(), bits);
            } else {
                assert!(unpacked.unwrap_err().message.contains(&format!("there is no {field} {number}")), "{bits:#x}");
            }
        }
    }
}

#[test]
fn names_are_those_of_the_records() {
    for one in COMPRESSIONS {
        assert_eq!(Compression::of(one.text()), Some(one));
    }
    for one in ENCRYPTIONS {
        assert_eq!(Encryption::of(one.text()), Some(one));
    }
    for one in STATUSES {
        assert_eq!(Status::of(one.text()), Some(one));
    }
    assert_eq!(Compression::of("lz4"), None);
}

#[test]
fn kinds_of_work_have_numbers_of_their_own_that_stay() {
    let number = |work: Work| work.event_number();
    let of_design = [Work::Tigerbeetle, Work::Duckdb, Work::Parquet, Work::Kms].map(number);
    assert_eq!(of_design, [1, 2, 3, 4]);
    assert_eq!(
        [Work::File, Work::Catalog, Work::Verification, Work::Drill, Work::Retention, Work::Restore].map(number),
        [5, 6, 16, 17, 18, 19]
    );
    let known: std::collections::BTreeSet<u8> = Work::ALL.iter().map(|work| work.event_number()).collect();
    assert_eq!(known.len(), Work::ALL.len());
    let good = 0x0101_0101_0100_0000_0000_0000_0000_0000_u128;
    for other in 0..=255_u8 {
        let unpacked = Packed::unpack(good & !(0xff << WORK_SHIFT) | u128::from(other) << WORK_SHIFT);
        assert_eq!(unpacked.is_ok(), known.contains(&other), "{other}");
        assert!(unpacked.is_ok() || unpacked.unwrap_err().message.contains(&format!("no kind of work {other}")));
    }
}
