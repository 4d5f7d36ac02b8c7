//! Objects that are sent in parts: the interface between a writer and a store.
//!
//! Flow: [`Store::begin_multipart`](super::Store::begin_multipart) returns a [`Multipart`], whose
//! parts are sent in any order until [`Multipart::complete`] joins them. A writer that stops
//! half-way either aborts the upload ([`Multipart::abort`], or a drop) or leaves its parts
//! ([`Multipart::keep`], or its process is killed). Whoever noted the name, the upload id and the
//! parts resumes with [`Store::resume_multipart`](super::Store::resume_multipart): the store
//! reports which parts it holds exactly as they were noted ([`is_held`]), and the caller sends the
//! others. Uploads that nobody noted are found by [`Store::unfinished`](super::Store::unfinished).

use super::{Digest, PARTS_MAX, PutOutcome, StoreError};
use bytes::Bytes;

/// An object that is being sent in parts. If it is dropped without
/// [`complete`](Multipart::complete) or [`keep`](Multipart::keep), the upload is aborted as far as
/// the store can be reached.
pub trait Multipart: Send + Sync {
    /// The store's id of this upload. Together with the object's name it is enough to resume or
    /// abort it.
    fn upload_id(&self) -> String;

    /// Sends one part. `number` counts from 1. Parts may be sent in any order and from several
    /// threads. Every part but the last has the same size (at least 5 MiB for S3). A part that is
    /// sent again replaces the one before.
    ///
    /// Returns the part's tag, which is the store's name for these bytes (an ETag), for a later
    /// [`KnownPart`].
    fn part(&self, number: u32, body: &[Bytes], digest: &Digest) -> Result<String, StoreError>;

    /// Joins parts 1 to `parts` into the object, create-only. The store checks that it holds
    /// exactly these parts, with these sizes and digests. Only parts that this writer sent or
    /// resumed count.
    ///
    /// If the outcome is [`StoreError::Unavailable`], the upload is kept: the parts are there, and
    /// only the answer is missing.
    fn complete(self: Box<Self>, parts: &[Part]) -> Result<PutOutcome, StoreError>;

    /// Aborts the upload and deletes its parts.
    fn abort(self: Box<Self>) -> Result<(), StoreError>;

    /// Leaves the parts where they are for a later
    /// [`Store::resume_multipart`](super::Store::resume_multipart).
    fn keep(self: Box<Self>);
}

/// What the caller knows of a part that it sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its size.
    pub size_bytes: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
}

/// A part that an earlier writer of the upload noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPart {
    /// Its number, from 1.
    pub number: u32,
    /// Its size and digest.
    pub part: Part,
    /// What [`Multipart::part`] returned for it, if that was noted.
    pub tag: Option<String>,
}

/// An upload that was resumed.
pub struct Resumed {
    /// The upload. The held parts count as sent by it.
    pub multipart: Box<dyn Multipart>,
    /// Numbers of the known parts that the store holds, in rising order. All others must be sent.
    pub held: Vec<u32>,
}

/// An upload that was begun and neither completed nor aborted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unfinished {
    /// Name of the object that it would become.
    pub name: String,
    /// The store's id of the upload.
    pub upload_id: String,
    /// When it was begun, in nanoseconds since 1970 by the store's clock, if the store reports it.
    pub began_ns: Option<u64>,
    /// Bytes that it takes, if the store reports them without a request for each upload.
    pub size_bytes: Option<u64>,
}

/// The check of a part's number that every store makes before it takes the part. The error is only
/// the reason.
pub(super) fn check_part_number(number: u32) -> Result<(), String> {
    if !(1..=PARTS_MAX).contains(&number) {
        return Err(format!("parts are numbered 1 to {PARTS_MAX}, not {number}"));
    }
    Ok(())
}

/// Whether a part that a store lists is the one that was noted. The sizes must agree, and so must
/// the SHA-256 or, if the store reports none, the tag. A tag that both sides know must agree in any
/// case.
pub(super) fn is_held(known: &KnownPart, size_bytes: u64, digest: Option<&Digest>, tag: Option<&str>) -> bool {
    let same_tag = known.tag.as_deref().zip(tag).map(|(known, listed)| known == listed);
    let same_digest = digest.map(|digest| *digest == known.part.digest);
    size_bytes == known.part.size_bytes && same_tag.unwrap_or(true) && same_digest.or(same_tag) == Some(true)
}

/// Compares the parts that a store holds (`number`, size and digest, by rising number) with those
/// that the caller completes with.
pub(super) fn check_parts<'a>(held: impl ExactSizeIterator<Item = (u32, &'a Part)>, expected: &[Part]) -> Result<(), String> {
    if expected.is_empty() {
        return Err("an object in parts has at least one part".to_owned());
    }
    if held.len() != expected.len() {
        return Err(format!("{} parts were sent, but {} are to be joined", held.len(), expected.len()));
    }
    let part_bytes = expected[0].size_bytes;
    for ((number, part), (wanted_number, wanted)) in held.zip((1u32..).zip(expected)) {
        let last = wanted_number as usize == expected.len();
        if number != wanted_number {
            return Err(format!("part {wanted_number} was not sent"));
        }
        if part.size_bytes != wanted.size_bytes {
            return Err(format!("part {number} holds {} bytes, not {}", part.size_bytes, wanted.size_bytes));
        }
        if part.digest != wanted.digest {
            return Err(format!("part {number} has another SHA-256 than the one to be joined"));
        }
        if part.size_bytes > part_bytes || (part.size_bytes != part_bytes && !last) {
            return Err(format!(
                "part {number} holds {} bytes and part 1 {part_bytes}: all parts but the last have one size",
                part.size_bytes
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_compared() {
        let part = |size_bytes, fill| Part { size_bytes, digest: [fill; 32] };
        let check = |held: &[(u32, Part)], expected: &[Part]| check_parts(held.iter().map(|(number, part)| (*number, part)), expected);
        let good = [part(8, 1), part(8, 2), part(3, 3)];
        let held: Vec<(u32, Part)> = (1u32..).zip(good.iter().cloned()).collect();
        assert_eq!(check(&held, &good), Ok(()));
        assert!(check(&[], &[]).is_err());
        assert!(check(&held, &good[..2]).is_err());
        assert!(check(&held[..2], &good).is_err());
        assert!(check(&[held[0].clone(), held[2].clone()], &good[..2]).is_err());
        assert!(check(&held, &[part(8, 1), part(8, 2), part(4, 3)]).is_err());
        assert!(check(&held, &[part(8, 1), part(8, 2), part(3, 4)]).is_err());
        let uneven = [part(8, 1), part(7, 2), part(8, 3)];
        assert!(check(&(1u32..).zip(uneven.iter().cloned()).collect::<Vec<_>>(), &uneven).is_err());
        let rising = [part(8, 1), part(9, 2)];
        assert!(check(&(1u32..).zip(rising.iter().cloned()).collect::<Vec<_>>(), &rising).is_err());
        assert!(check_part_number(0).is_err() && check_part_number(10_001).is_err() && check_part_number(10_000).is_ok());
    }

    #[test]
    fn held_is_what_agrees_and_was_compared() {
        let known = |tag: Option<&str>| KnownPart { number: 1, part: Part { size_bytes: 8, digest: [1; 32] }, tag: tag.map(str::to_owned) };
        let (same, other) = ([1; 32], [2; 32]);
        assert!(is_held(&known(None), 8, Some(&same), Some("a")));
        assert!(is_held(&known(Some("a")), 8, Some(&same), None));
        assert!(is_held(&known(Some("a")), 8, None, Some("a")));
        assert!(!is_held(&known(Some("a")), 9, Some(&same), Some("a")), "another size");
        assert!(!is_held(&known(Some("a")), 8, Some(&other), Some("a")), "another digest");
        assert!(!is_held(&known(Some("a")), 8, Some(&same), Some("b")), "another tag");
        assert!(!is_held(&known(Some("a")), 8, None, Some("b")), "another tag, and no digest");
        assert!(!is_held(&known(None), 8, None, Some("a")), "nothing to compare");
        assert!(!is_held(&known(Some("a")), 8, None, None), "nothing to compare");
    }
}
