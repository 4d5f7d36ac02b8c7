//! Writing: the superblock and the log's headers of an image from which a server starts.
//!
//! A [`SuperBlock`] that was read is edited: for another replica, for a solo fork, or back to the
//! original history. The result is a [`SuperBlock`] again, with its checksum recomputed and every
//! check passed once more. So an edit cannot produce what a reader would refuse.
//! [`superblock_zone`] writes the four copies. [`WalImage`] lays the prepares out in the WAL rings:
//! those of the original log from the checkpoint on, and reserved headers everywhere else, so that
//! nothing remains of an earlier use of the file.

use super::bytes::{array_at, put};
use super::checksum::Checksum;
use super::error::LedgerError;
use super::header::{OPERATION_ROOT, PrepareHeader, reserved_header, root_prepare};
use super::layout::{
    HEADER_BYTES, REPLICAS_MAX, SUPERBLOCK_COPIES, SUPERBLOCK_COPY_BYTES, SUPERBLOCK_HEADER_BYTES, SUPERBLOCK_ZONE_BYTES, VIEW_HEADERS_MAX,
    VIEW_HEADERS_SUFFIX_MAX, WAL_HEADERS_BYTES, WAL_SLOTS, prepare_max_for_checkpoint, slot_of,
};
use super::superblock::{SuperBlock, superblock_checksum};
use super::wal::Chain;

/// Changes to a superblock, in the order in which they are made.
#[derive(Debug, Clone)]
pub struct SuperBlockEdit {
    bytes: Box<[u8; SUPERBLOCK_HEADER_BYTES]>,
    members: [u128; super::layout::MEMBERS_MAX],
    cluster: u128,
    checkpoint_op: u64,
}

impl SuperBlockEdit {
    /// Starts from `superblock`, which is not changed.
    pub fn new(superblock: &SuperBlock) -> SuperBlockEdit {
        SuperBlockEdit {
            bytes: Box::new(*superblock.bytes()),
            members: superblock.members(),
            cluster: superblock.cluster(),
            checkpoint_op: superblock.checkpoint().header().op(),
        }
    }

    /// Makes it the superblock of member `index`. This is the only difference between replicas:
    /// grid and log are the same on all of them.
    ///
    /// # Errors
    /// [`LedgerError::Argument`] when the cluster has no such member.
    pub fn replica(mut self, index: u8) -> Result<SuperBlockEdit, LedgerError> {
        let id = self.members.get(usize::from(index)).copied().filter(|id| *id != 0);
        let id = id.ok_or(LedgerError::Argument { what: "the replica of an image", value: index.into() })?;
        put::<1120, 16, _>(&mut self.bytes, id.to_le_bytes());
        Ok(self)
    }

    /// Makes it the superblock of a cluster of one: a fork that starts without other replicas.
    pub fn solo(mut self) -> SuperBlockEdit {
        let [first, ..] = self.members;
        put::<1120, 16, _>(&mut self.bytes, first.to_le_bytes());
        put::<1364, 1, _>(&mut self.bytes, [1]);
        self
    }

    /// Makes it the superblock of a cluster in which `count` replicas vote. This turns a fork of
    /// one back into the cluster from which it was made. [`SuperBlockEdit::replica`] says which
    /// replica it is.
    ///
    /// # Errors
    /// [`LedgerError::Argument`] when a cluster cannot have so many.
    pub fn replica_count(mut self, count: u8) -> Result<SuperBlockEdit, LedgerError> {
        if !(1..=REPLICAS_MAX).contains(&count) {
            return Err(LedgerError::Argument { what: "the number of replicas of an image", value: count.into() });
        }
        put::<1364, 1, _>(&mut self.bytes, [count]);
        Ok(self)
    }

    /// Sets the consensus state back to a point of the original history. A fork that was started
    /// has opened a view of its own, and would drop the prepares of older views.
    ///
    /// `view` becomes both view and log view; it is the view of the newest header. `view_headers`
    /// are the newest headers of the log that the image will hold: newest first, without a gap, at
    /// most 9. `commit_max` is no more than the newest op.
    ///
    /// # Errors
    /// [`LedgerError::Argument`] when they contradict one another or lie before the checkpoint,
    /// [`LedgerError::WrongCluster`], [`LedgerError::WrongOp`] or [`LedgerError::Chain`] when the
    /// headers are not of one log.
    pub fn rewind(mut self, view: u32, view_headers: &[PrepareHeader], commit_max: u64) -> Result<SuperBlockEdit, LedgerError> {
        let argument = |what, value: u64| Err(LedgerError::Argument { what, value: value.into() });
        let Some(newest) = view_headers.first().filter(|_| view_headers.len() <= VIEW_HEADERS_SUFFIX_MAX) else {
            return argument("the number of view headers", view_headers.len() as u64);
        };
        if newest.view() > view {
            return argument("the view, being older than the newest prepare's,", view.into());
        }
        if commit_max > newest.op() || commit_max < self.checkpoint_op {
            return argument("commit_max", commit_max);
        }
        for (later, earlier) in view_headers.iter().zip(view_headers.iter().skip(1)) {
            Chain::after_header(earlier).accept(later)?;
        }
        let mut all = [0; VIEW_HEADERS_MAX * HEADER_BYTES];
        for (slot, header) in all.as_chunks_mut().0.iter_mut().zip(view_headers) {
            require_cluster(self.cluster, header)?;
            *slot = *header.bytes();
        }
        put::<1328, 8, _>(&mut self.bytes, commit_max.to_le_bytes());
        put::<1356, 4, _>(&mut self.bytes, view.to_le_bytes());
        put::<1360, 4, _>(&mut self.bytes, view.to_le_bytes());
        put::<2152, 4, _>(&mut self.bytes, (view_headers.len() as u32).to_le_bytes());
        put::<4096, { VIEW_HEADERS_MAX * HEADER_BYTES }, _>(&mut self.bytes, all);
        Ok(self)
    }

    /// The edited superblock.
    ///
    /// # Errors
    /// Those of [`SuperBlock::check`], when the edits together do not make a valid superblock.
    pub fn finish(mut self) -> Result<SuperBlock, LedgerError> {
        let computed: Checksum = superblock_checksum(&self.bytes);
        put::<0, 16, _>(&mut self.bytes, computed.to_bytes());
        SuperBlock::check(self.bytes.as_slice())
    }
}

fn require_cluster(expected: u128, header: &PrepareHeader) -> Result<(), LedgerError> {
    if header.cluster() == expected {
        return Ok(());
    }
    Err(LedgerError::WrongCluster { expected, found: header.cluster() })
}

/// The first 96 KiB of a data file: the four copies, each with its number, zeros between them.
pub fn superblock_zone(superblock: &SuperBlock) -> Vec<u8> {
    let mut zone = Vec::with_capacity(SUPERBLOCK_ZONE_BYTES);
    for copy in 0..SUPERBLOCK_COPIES as u16 {
        let mut bytes = *superblock.bytes();
        put::<32, 2, _>(&mut bytes, copy.to_le_bytes());
        zone.extend_from_slice(array_at::<0, SUPERBLOCK_HEADER_BYTES, _>(&bytes));
        zone.resize((usize::from(copy) + 1) * SUPERBLOCK_COPY_BYTES, 0);
    }
    zone
}

/// What a slot of the WAL ring of prepares has to hold in an image.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum SlotContent {
    /// The prepare of this op, padded with zeros to a sector.
    Prepare {
        /// The op.
        op: u64,
    },
    /// The prepare of op 0: [`super::wal::root_sector`].
    Root,
    /// Nothing: [`super::wal::reserved_sector`].
    Reserved,
}

/// The layout of the log in an image: the WAL ring of headers, and what belongs in each slot of the
/// WAL ring of prepares.
#[derive(Debug, Clone)]
pub struct WalImage {
    headers: Vec<u8>,
    contents: Vec<SlotContent>,
    end: Chain,
}

impl WalImage {
    /// Lays out the log that follows a checkpoint. `checkpoint` is the header of the checkpoint's
    /// prepare ([`super::checkpoint_state::CheckpointState::header`]). `prepares` are the headers
    /// of the ops after it, in order.
    ///
    /// For checkpoint 0 the root prepare is in slot 0, as formatting leaves it. For any other
    /// checkpoint the log begins after the checkpoint.
    ///
    /// # Errors
    /// [`LedgerError::WrongOp`] or [`LedgerError::Chain`] when the prepares do not continue the
    /// checkpoint without a gap, [`LedgerError::WrongCluster`], or [`LedgerError::Argument`] for an
    /// op that the server would not yet have prepared.
    pub fn new(checkpoint: &PrepareHeader, prepares: impl IntoIterator<Item = PrepareHeader>) -> Result<WalImage, LedgerError> {
        let cluster = checkpoint.cluster();
        let op_max = prepare_max_for_checkpoint(checkpoint.op());
        let mut image = WalImage {
            headers: (0..WAL_SLOTS).flat_map(|slot| reserved_header(cluster, slot)).collect(),
            contents: vec![SlotContent::Reserved; WAL_SLOTS as usize],
            end: Chain::after_header(checkpoint),
        };
        if checkpoint.operation() == OPERATION_ROOT {
            image.place(checkpoint, SlotContent::Root);
        }
        for header in prepares {
            require_cluster(cluster, &header)?;
            image.end.accept(&header)?;
            if header.op() > op_max {
                return Err(LedgerError::Argument { what: "the last op of an image", value: header.op().into() });
            }
            image.place(&header, SlotContent::Prepare { op: header.op() });
        }
        Ok(image)
    }

    /// Adds the log before the checkpoint: the headers of the ops up to the checkpoint's own, in
    /// order. A server needs them as long as the log ends before
    /// [`super::layout::durable_op_for_checkpoint`]. If they begin with op 1, the root prepare goes
    /// into slot 0.
    ///
    /// # Errors
    /// [`LedgerError::WrongOp`] or [`LedgerError::Chain`] when they do not lead to the checkpoint
    /// without a gap, [`LedgerError::WrongCluster`], [`LedgerError::Argument`] when one would take
    /// the slot of a prepare after the checkpoint.
    pub fn add_earlier(&mut self, checkpoint: &PrepareHeader, earlier: &[PrepareHeader]) -> Result<(), LedgerError> {
        let Some((first, last)) = earlier.first().zip(earlier.last()) else { return Ok(()) };
        if (last.op(), last.checksum()) != (checkpoint.op(), checkpoint.checksum()) {
            return Err(LedgerError::Chain { op: last.op(), expected_parent: checkpoint.checksum(), found_parent: last.checksum() });
        }
        let reach = self.end.op().saturating_sub(first.op());
        if reach >= u64::from(WAL_SLOTS) - 1 {
            return Err(LedgerError::Argument { what: "the span of the log of an image", value: reach.into() });
        }
        let mut chain = Chain::after(first.op().saturating_sub(1), first.parent());
        for header in earlier {
            require_cluster(checkpoint.cluster(), header)?;
            chain.accept(header)?;
            self.place(header, SlotContent::Prepare { op: header.op() });
        }
        if first.op() == 1 {
            self.place(&PrepareHeader::check(&root_prepare(checkpoint.cluster()))?, SlotContent::Root);
        }
        Ok(())
    }

    fn place(&mut self, header: &PrepareHeader, content: SlotContent) {
        let slot = slot_of(header.op()) as usize;
        for (target, source) in self.headers.as_chunks_mut().0.iter_mut().zip(&mut self.contents).skip(slot).take(1) {
            (*target, *source) = (*header.bytes(), content);
        }
    }

    /// The bytes of the WAL ring of headers, 256 KiB.
    pub fn headers_zone(&self) -> &[u8] {
        &self.headers
    }

    /// What each slot of the WAL ring of prepares has to hold, slot 0 first.
    pub fn contents(&self) -> &[SlotContent] {
        &self.contents
    }

    /// Where the log of the image ends.
    pub fn end(&self) -> Chain {
        self.end
    }
}

const _: () = assert!(WAL_HEADERS_BYTES == WAL_SLOTS as usize * HEADER_BYTES);

#[cfg(test)]
mod tests;
