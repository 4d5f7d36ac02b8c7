//! The promise that a backup exists, the same for every tier: its record is written last, and then
//! a receipt of the record.
//!
//! A record without its receipt means that a run was killed between the two; the next run writes
//! the receipt. A receipt without its record means that a backup was lost. Without receipts a
//! removed record would look like a backup that was never made.
//!
//! Layout: FORMAT.md, "Receipts".

use super::Repository;
use super::fetch;
use super::frame::ObjectKind;
use super::name::Promised;
use super::object_reader::{ObjectReader, digest_stored};
use super::object_writer::ObjectWriter;
use super::wire::Fields;
use crate::error::{Error, Kind, Result};
use crate::store::Digest;
use std::sync::Arc;

/// What a receipt says about its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The record's stored size.
    pub size_bytes: u64,
    /// The record's digest.
    pub digest: Digest,
}

impl Repository {
    /// Writes the receipt of a record that is known to be intact. The receipt may exist already:
    /// another run that began in between found it missing and wrote it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn write_receipt(self: &Arc<Self>, name: &impl Promised, receipt: &Receipt) -> Result<()> {
        let mut writer = ObjectWriter::create(self, ObjectKind::Receipt, name.receipt_object())?;
        writer.push([&receipt.size_bytes.to_le_bytes()[..], &receipt.digest].concat())?;
        match writer.finish(Vec::new())?.wait() {
            Err(error) if error.kind == Kind::Damaged && self.receipt(name).as_ref() == Ok(receipt) => Ok(()),
            written => written.map(|_| ()),
        }
    }

    /// Reads the receipt of a record.
    ///
    /// # Errors
    /// [`Error::damaged`] when it is missing or not what was written.
    pub fn receipt(&self, name: &impl Promised) -> Result<Receipt> {
        let object = ObjectReader::open(self, ObjectKind::Receipt, &name.receipt_object(), None)?;
        let frame = object.frames(0, 1)?.pop().unwrap_or_default();
        let mut fields = Fields::new(&frame);
        let mut read = || {
            let receipt = Receipt { size_bytes: fields.u64()?, digest: fields.array()? };
            fields.end().map(|()| receipt)
        };
        read().ok_or_else(|| Error::damaged(format!("{}: it is no receipt", name.receipt_object())))
    }

    /// What the receipt of a record must say, from the record as it is stored. For a backup that
    /// has a receipt this is the receipt itself, which the record is not held against.
    ///
    /// # Errors
    /// [`Error::damaged`] when record or receipt cannot be read.
    pub fn receipt_or_digest(&self, name: &impl Promised) -> Result<Receipt> {
        if self.store.size_bytes(&name.receipt_object())?.is_some() {
            return self.receipt(name);
        }
        let object = name.record_object();
        let (size_bytes, digest) = fetch::until_agreed(&object, || digest_stored(self, &object))?;
        Ok(Receipt { size_bytes, digest })
    }
}
