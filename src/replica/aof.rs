//! The tail of the log in the append-only file that a server writes on request (`--aof-file`).
//!
//! Flow: the file is read from behind the last entry on; each entry that continues the hash chain
//! is handed on, what is known already is passed over, and anything else is said. It is plain
//! reading of a file that grows, in bounded pieces.
//!
//! What the file holds is committed: a replica writes a prepare into it when it executes it
//! (`replica.zig` `execute_op`), which it does only with ops that a quorum has. It is not durable
//! by itself, though: the server flushes it once a checkpoint, and relies on its WAL for the rest.
//!
//! What may come, and what it means:
//! - Repeats. A server that starts executes again what lies behind its checkpoint, and logs it
//!   again. Passed over.
//! - An entry that goes back to an op with another checksum, or further back than a start can. The
//!   data file was put back to an earlier state and goes on differently: [`Loss::Replaced`]. No
//!   view change does this.
//! - An entry that skips ops. The replica fetched its state from its peers, or a whole file was
//!   missed: [`Loss::Wrapped`].
//! - A torn tail. The server is about to write the rest: waited for. If another entry begins within
//!   it, the server died while writing, and the bytes are damage.
//! - Damage. Passed over in the hope of a repeat: a crash tears only what the next start writes
//!   again. If the log goes on without the op that should come next and no repeat brings it,
//!   [`SourceError::Damaged`]; so it stays until one does, or the tail is started again.
//! - Rotation. When the path names another file, the old one is complete: it is read to its end,
//!   then the new one from its beginning. A file that shrank is read from its beginning too.
//!
//! To start behind an op, the file is searched to its end for the last place where that prepare
//! stands, or the one that continues it: in a file with two histories that is the newer one. The
//! time for it is that of reading the file.

use super::log::{LogSource, Loss, Polled, Recent};
use crate::disk::read_error::SourceError;
use crate::error::Result;
use crate::tb_format::aof::{AOF_ENTRY_BYTES_MAX, AOF_MAGIC, AofEntries, AofItem};
use crate::tb_format::checksum::Checksum;
use crate::tb_format::header::PrepareHeader;
use crate::tb_format::layout::WAL_SLOTS;
use crate::tb_format::wal::Prepare;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The buffer: a few of the largest entries.
const BUFFER_BYTES: usize = 4 * AOF_ENTRY_BYTES_MAX;
/// An entry is a prepare behind a magic number.
const MAGIC_BYTES: usize = AOF_MAGIC.to_le_bytes().len();
/// A poll ends when it has read so much, so that its caller gets to do something else.
const BYTES_A_POLL: u64 = 64 * 1024 * 1024;
/// Prepares remembered: a server that starts can repeat no more than its WAL holds.
const RECENT_PREPARES: usize = WAL_SLOTS as usize;

/// Follows an append-only file.
#[derive(Debug)]
pub struct AofTail {
    path: PathBuf,
    file: File,
    /// Behind the last entry that was dealt with, in bytes.
    position: u64,
    /// The file's length when it was last read to its end.
    seen_bytes: u64,
    buffer: Vec<u8>,
    recent: Recent,
    state: State,
    damage: Option<Damage>,
    /// Where an entry is torn.
    torn: Option<u64>,
    bytes_read: u64,
    healed: Option<String>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Looking for the place where the log goes on.
    Seek(Seek),
    /// The next op comes at the position, or after it.
    Follow {
        /// An op behind the next, seen behind damage.
        ahead: Option<u64>,
    },
}

/// What the search has seen so far.
#[derive(Debug, Clone, Copy, Default)]
struct Seek {
    /// The last place where the log goes on, in bytes.
    found: Option<u64>,
    /// The log goes on from another prepare.
    replaced: bool,
    /// A later op.
    ahead: Option<u64>,
}

#[derive(Debug)]
struct Damage {
    offset: u64,
    reason: String,
}

/// What to do with an entry.
enum Verdict {
    HandOn,
    PassOver,
    Stop(Loss),
}

/// What a piece of the file was.
enum Piece {
    /// There may be more.
    More,
    /// The end of the file was reached.
    Last,
    Stop(Loss),
}

impl AofTail {
    /// The log in `path` behind op `op`, whose prepare has this checksum.
    ///
    /// # Errors
    /// [`SourceError::Io`] when it cannot be opened, also while there is no such file yet;
    /// [`SourceError::NotADataFile`] when it is no file.
    pub fn open(path: &Path, op: u64, checksum: Checksum) -> Result<AofTail, SourceError> {
        Ok(AofTail {
            path: path.to_owned(),
            file: open_file(path)?,
            position: 0,
            seen_bytes: 0,
            buffer: vec![0; BUFFER_BYTES],
            recent: Recent::new(RECENT_PREPARES, op, checksum),
            state: State::Seek(Seek::default()),
            damage: None,
            torn: None,
            bytes_read: 0,
            healed: None,
        })
    }

    fn io(&self, action: &'static str, error: std::io::Error) -> SourceError {
        SourceError::io(&self.path, action, error)
    }

    /// Whether the path names another file now, or the file shrank; and whether there can be
    /// anything to read.
    fn changes(&self) -> Result<(bool, bool), SourceError> {
        let own = self.file.metadata().map_err(|error| self.io("size", error))?;
        let identity = |metadata: &Metadata| (metadata.dev(), metadata.ino());
        let moved = match std::fs::metadata(&self.path) {
            Ok(named) => identity(&named) != identity(&own),
            // Moved away: the server goes on writing to it, and makes the new one at its next
            // checkpoint.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(self.io("look at", error)),
        };
        let shrank = own.len() < self.seen_bytes.max(self.position);
        Ok((moved || shrank, own.len() != self.seen_bytes))
    }

    /// Goes over to the file that the path names now.
    fn next_file(&mut self) -> Result<(), SourceError> {
        if self.torn.is_some() {
            self.note_damage(self.position, "the entry is cut by the end of the file, which was rotated out");
        }
        self.file = open_file(&self.path)?;
        (self.position, self.seen_bytes, self.torn) = (0, 0, None);
        Ok(())
    }

    fn note_damage(&mut self, offset: u64, reason: &str) {
        self.damage.get_or_insert_with(|| Damage { offset, reason: reason.to_owned() });
    }

    /// Reads what the buffer holds from the position on, and deals with the whole entries in it.
    fn read_piece(&mut self, take: &mut dyn FnMut(&Prepare<'_>) -> Result<()>, handed_on: &mut u64) -> Result<Piece, SourceError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let piece = self.fill(&mut buffer).and_then(|length| {
            let end_of_file = length < buffer.len();
            let begin = self.position;
            match self.deal_with(&buffer[..length], take, handed_on)? {
                Piece::More if end_of_file => self.at_torn_tail(&buffer[(self.position - begin) as usize..length]),
                piece => Ok(piece),
            }
        });
        self.buffer = buffer;
        piece
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        let mut length = 0;
        while length < buffer.len() {
            match self.file.read_at(&mut buffer[length..], self.position + length as u64) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io("read", error)),
            }
        }
        self.bytes_read += length as u64;
        Ok(length)
    }

    /// Deals with whole entries, and moves the position behind each.
    fn deal_with(
        &mut self,
        bytes: &[u8],
        take: &mut dyn FnMut(&Prepare<'_>) -> Result<()>,
        handed_on: &mut u64,
    ) -> Result<Piece, SourceError> {
        let begin = self.position;
        for item in AofEntries::new(bytes) {
            match item {
                AofItem::Entry { offset, prepare } => {
                    let end = begin + (offset + MAGIC_BYTES + prepare.bytes().len()) as u64;
                    match self.judge(prepare.header(), begin + offset as u64, end) {
                        Verdict::HandOn => {
                            take(&prepare)?;
                            self.handed_on(prepare.header());
                            *handed_on += 1;
                        }
                        Verdict::PassOver => {}
                        Verdict::Stop(loss) => return Ok(Piece::Stop(loss)),
                    }
                    self.position = end;
                }
                AofItem::Damaged { offset, length, error } => {
                    self.note_damage(begin + offset as u64, &error.to_string());
                    self.position = begin + (offset + length) as u64;
                }
                AofItem::TornTail { .. } => {}
            }
        }
        Ok(Piece::More)
    }

    fn handed_on(&mut self, header: &PrepareHeader) {
        self.recent.push(header.op(), header.checksum(), header.op());
        self.state = State::Follow { ahead: None };
        if let Some(damage) = self.damage.take() {
            let path = self.path.display();
            self.healed =
                Some(format!("{path}: offset {}: damaged bytes ({}), which the server has written again", damage.offset, damage.reason));
        }
    }

    /// What an entry is to the log so far.
    fn judge(&mut self, header: &PrepareHeader, begin: u64, end: u64) -> Verdict {
        let last = self.recent.last();
        match &mut self.state {
            State::Seek(seek) => {
                seek.look_at(header, last, begin, end);
                Verdict::PassOver
            }
            State::Follow { ahead } => {
                if header.op() == last.0.saturating_add(1) && header.parent() == last.1 {
                    return Verdict::HandOn;
                }
                if header.op() > last.0.saturating_add(1) {
                    ahead.get_or_insert(header.op());
                    let healable = self.damage.is_some();
                    return if healable { Verdict::PassOver } else { Verdict::Stop(Loss::Wrapped { found_op: header.op() }) };
                }
                self.judge_earlier(header)
            }
        }
    }

    /// An entry of an op that was handed on, or of the next one behind another parent.
    fn judge_earlier(&self, header: &PrepareHeader) -> Verdict {
        match self.recent.checksum_of(header.op()) {
            Some(checksum) if checksum == header.checksum() => Verdict::PassOver,
            // From before the tail was started: not known, and not asked for.
            None if header.op() <= self.recent.last().0 && !self.recent.is_full() => Verdict::PassOver,
            _ => {
                let before = header.op().saturating_sub(1);
                let parent = self.recent.checksum_of(before).filter(|checksum| *checksum == header.parent());
                Verdict::Stop(Loss::Replaced { restart: parent.map(|checksum| (before, checksum)) })
            }
        }
    }

    /// At the end of the file, of which `rest` is the beginning of an entry, or nothing.
    fn at_torn_tail(&mut self, rest: &[u8]) -> Result<Piece, SourceError> {
        self.seen_bytes = self.position + rest.len() as u64;
        if rest.is_empty() {
            self.torn = None;
            return Ok(Piece::Last);
        }
        // Only what is still torn when it has grown is worth the search.
        let grown = self.torn.replace(self.position) == Some(self.position);
        let inner = AofEntries::new(&rest[1..]).find_map(|item| match item {
            AofItem::Entry { offset, .. } if grown => Some(offset + 1),
            _ => None,
        });
        let Some(offset) = inner else { return Ok(Piece::Last) };
        self.note_damage(self.position, "the entry is torn, and another begins within it");
        self.position += offset as u64;
        self.torn = None;
        Ok(Piece::More)
    }

    /// At the end of a file: where the search found the place, it goes on there.
    fn end_search(&mut self) -> bool {
        let State::Seek(Seek { found: Some(found), .. }) = self.state else { return false };
        (self.position, self.seen_bytes, self.torn) = (found, 0, None);
        (self.state, self.damage) = (State::Follow { ahead: None }, None);
        true
    }

    /// At the end of all that is there.
    fn at_end(&self, handed_on: u64) -> Result<Polled, SourceError> {
        let ahead = match self.state {
            State::Seek(Seek { replaced: true, .. }) => return Ok(self.lost(Loss::Replaced { restart: None })),
            State::Seek(Seek { ahead, .. }) | State::Follow { ahead } => ahead,
        };
        match (&self.damage, ahead) {
            (Some(damage), Some(_)) => Err(SourceError::Damaged {
                path: self.path.clone(),
                offset: damage.offset,
                what: format!("AOF entry, where op {} should be", self.next_op()),
                reason: format!("{}. The log goes on without it, and no later entry repeats it", damage.reason),
            }),
            (None, Some(found_op)) => Ok(self.lost(Loss::Wrapped { found_op })),
            (_, None) if handed_on > 0 => Ok(Polled::Prepares(handed_on)),
            (_, None) => Ok(Polled::Idle),
        }
    }

    fn next_op(&self) -> u64 {
        self.recent.last().0.saturating_add(1)
    }

    fn lost(&self, loss: Loss) -> Polled {
        let reason = match loss {
            Loss::Wrapped { found_op } => format!("the append-only file goes on with op {found_op}"),
            Loss::Replaced { restart: Some((op, _)) } => format!("the append-only file goes back to op {op}, and continues it differently"),
            Loss::Replaced { restart: None } => "the append-only file goes on with another history".into(),
        };
        Polled::Lost { op: self.next_op(), loss, reason }
    }
}

impl Seek {
    /// Looks at an entry between these places; `last` is the prepare behind which the log is
    /// wanted.
    fn look_at(&mut self, header: &PrepareHeader, last: (u64, Checksum), begin: u64, end: u64) {
        let (op, checksum) = last;
        let next_op = op.saturating_add(1);
        if (header.op(), header.checksum()) == last {
            self.found = Some(end);
        } else if (header.op(), header.parent()) == (next_op, checksum) {
            self.found = Some(begin);
        } else if header.op() == op || header.op() == next_op {
            self.replaced = true;
        } else if header.op() > next_op {
            self.ahead.get_or_insert(header.op());
        }
    }
}

impl LogSource for AofTail {
    fn poll(&mut self, take: &mut dyn FnMut(&Prepare<'_>) -> Result<()>) -> Result<Polled, SourceError> {
        let (mut handed_on, begin_bytes) = (0, self.bytes_read);
        loop {
            // Asked before reading: what is read to its end after another file has taken the name
            // is the whole of the old one.
            let (other_file, grown) = self.changes()?;
            if !other_file && !grown {
                return self.at_end(handed_on);
            }
            loop {
                match self.read_piece(take, &mut handed_on)? {
                    Piece::Stop(loss) => return Ok(self.lost(loss)),
                    Piece::Last => break,
                    Piece::More if self.bytes_read - begin_bytes >= BYTES_A_POLL => return Ok(Polled::Prepares(handed_on)),
                    Piece::More => {}
                }
            }
            if self.end_search() {
                continue;
            }
            if !other_file {
                return self.at_end(handed_on);
            }
            self.next_file()?;
        }
    }

    fn restart(&mut self, op: u64, checksum: Checksum) {
        self.recent.restart(op, checksum);
        self.state = State::Seek(Seek::default());
        (self.position, self.seen_bytes, self.damage, self.torn) = (0, 0, None, None);
    }

    fn op(&self) -> u64 {
        self.recent.last().0
    }

    fn checksum(&self) -> Checksum {
        self.recent.last().1
    }

    /// All that was found in the file is committed.
    fn commit_known_op(&self) -> u64 {
        match self.state {
            State::Follow { .. } => self.op(),
            State::Seek(_) => self.recent.commit_op(),
        }
    }

    /// Nothing in the file is ever replaced in its place: a poll comes upon the other history
    /// itself.
    fn replaced(&mut self) -> Result<Option<Loss>, SourceError> {
        Ok(None)
    }

    fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    fn notes(&self) -> Vec<String> {
        self.healed.iter().cloned().collect()
    }
}

fn open_file(path: &Path) -> Result<File, SourceError> {
    let file = File::open(path).map_err(|error| SourceError::io(path, "open", error))?;
    let metadata = file.metadata().map_err(|error| SourceError::io(path, "open", error))?;
    if metadata.is_file() {
        return Ok(file);
    }
    let reason = "it is not a file: give the one that `tigerbeetle start --aof-file` was given".into();
    Err(SourceError::NotADataFile { path: path.to_owned(), reason })
}

#[cfg(test)]
mod tests;
