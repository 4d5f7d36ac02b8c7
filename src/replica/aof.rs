//! The tail of the log in the append-only file that a server writes on request (`--aof-file`).
//!
//! Flow: the file is read onwards from the end of the last entry. Each entry that continues the
//! hash chain is handed on, entries that are already known are skipped, and anything else is
//! reported. It is plain reading of a growing file, in bounded pieces.
//!
//! The entries in the file are committed: a replica writes a prepare into it when it executes the
//! prepare (`replica.zig` `execute_op`), and it executes only ops that a quorum has. The file
//! itself is not durable, though: the server flushes it once per checkpoint, and relies on its WAL
//! for the rest.
//!
//! What may come, and what it means:
//! - Repeats. A server that starts executes the ops after its checkpoint again, and logs them
//!   again. They are skipped.
//! - An entry that goes back to an op with another checksum, or further back than a start can. The
//!   data file was put back to an earlier state and continues differently: [`Loss::Replaced`]. No
//!   view change does this.
//! - An entry that skips ops. The replica fetched its state from its peers, or a complete file was
//!   missed: [`Loss::Wrapped`].
//! - A torn tail. The server is about to write the rest, so the reader waits for it. If another
//!   entry begins within the torn one, the server died while writing, and the bytes are damaged.
//! - Damage. It is skipped in the expectation of a repeat: a crash tears only what the next start
//!   writes again. If the log continues without the op that should come next and no repeat brings
//!   it, the result is [`SourceError::Damaged`], until a repeat brings the op or the tail is
//!   restarted.
//! - Rotation. When the path names another file, the old one is complete: it is read to its end,
//!   then the new one from its beginning. A file that shrank is read from its beginning too.
//!
//! To start after an op, the file is searched to its end for the last place where that prepare is,
//! or the one that continues it. In a file with two histories that is the newer one. The search
//! takes as long as reading the file.

use super::log::{LogSource, Loss, Polled, Recent};
use crate::disk::read_error::SourceError;
use crate::error::Result;
use crate::tb_format::aof::{AOF_ENTRY_BYTES_MAX, AOF_MAGIC, AofEntries, AofItem};
use crate::tb_format::checksum::Checksum;
use crate::tb_format::header::{PrepareHeader, PrepareId};
use crate::tb_format::layout::WAL_SLOTS;
use crate::tb_format::wal::Prepare;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The buffer holds a few of the largest entries.
const BUFFER_BYTES: usize = 4 * AOF_ENTRY_BYTES_MAX;
/// An entry is a magic number followed by a prepare.
const MAGIC_BYTES: usize = AOF_MAGIC.to_le_bytes().len();
/// A poll ends after reading this much, so that its caller can do other work.
const BYTES_A_POLL: u64 = 64 * 1024 * 1024;
/// Number of prepares remembered: a server that starts can repeat no more than its WAL holds.
const RECENT_PREPARES: usize = WAL_SLOTS as usize;

/// Follows an append-only file.
#[derive(Debug)]
pub struct AofTail {
    path: PathBuf,
    file: File,
    /// The end of the last entry that was processed, in bytes.
    position: u64,
    /// The file's length when it was last read to its end.
    seen_bytes: u64,
    buffer: Vec<u8>,
    recent: Recent,
    state: State,
    damage: Option<Damage>,
    /// Where a torn entry begins.
    torn: Option<u64>,
    bytes_read: u64,
    healed: Option<String>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Searching for the place where the log continues.
    Seek(Seek),
    /// The next op is at the position, or after it.
    Follow {
        /// An op after the next one, seen after damage.
        ahead: Option<u64>,
    },
}

/// What the search has found so far.
#[derive(Debug, Clone, Copy, Default)]
struct Seek {
    /// The last place where the log continues, in bytes.
    found: Option<u64>,
    /// The log continues from another prepare.
    replaced: bool,
    /// A later op.
    ahead: Option<u64>,
}

#[derive(Debug)]
struct Damage {
    offset: u64,
    reason: String,
}

/// How to treat an entry.
enum Verdict {
    HandOn,
    PassOver,
    Stop(Loss),
}

/// How the processing of a piece of the file ended.
enum Piece {
    /// There may be more.
    More,
    /// The end of the file was reached.
    Last,
    Stop(Loss),
}

impl AofTail {
    /// The log in `path` after op `op`, whose prepare has this checksum.
    ///
    /// # Errors
    /// [`SourceError::Io`] when the file cannot be opened, also while it does not exist yet;
    /// [`SourceError::NotADataFile`] when the path is not a file.
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

    /// Two answers: whether the path names another file now or the file shrank, and whether there
    /// may be anything to read.
    fn changes(&self) -> Result<(bool, bool), SourceError> {
        let own = self.file.metadata().map_err(|error| self.io("size", error))?;
        let identity = |metadata: &Metadata| (metadata.dev(), metadata.ino());
        let moved = match std::fs::metadata(&self.path) {
            Ok(named) => identity(&named) != identity(&own),
            // The file was moved away: the server continues to write to it, and creates the new one
            // at its next checkpoint.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(self.io("look at", error)),
        };
        let shrank = own.len() < self.seen_bytes.max(self.position);
        Ok((moved || shrank, own.len() != self.seen_bytes))
    }

    /// Switches to the file that the path names now.
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

    /// Fills the buffer from the position on, and processes the complete entries in it.
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

    /// Processes complete entries, and moves the position past each.
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

    /// Decides how an entry relates to the log so far.
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

    /// Judges an entry of an op that was handed on, or of the next op with another parent.
    fn judge_earlier(&self, header: &PrepareHeader) -> Verdict {
        match self.recent.checksum_of(header.op()) {
            Some(checksum) if checksum == header.checksum() => Verdict::PassOver,
            // The entry is from before the tail was started: unknown, and not asked for.
            None if header.op() <= self.recent.last().0 && !self.recent.is_full() => Verdict::PassOver,
            _ => {
                let before = header.op().saturating_sub(1);
                let parent = self.recent.checksum_of(before).filter(|checksum| *checksum == header.parent());
                Verdict::Stop(Loss::Replaced { restart: parent.map(|checksum| (before, checksum)) })
            }
        }
    }

    /// Handles the end of the file. `rest` is the beginning of an entry, or empty.
    fn at_torn_tail(&mut self, rest: &[u8]) -> Result<Piece, SourceError> {
        self.seen_bytes = self.position + rest.len() as u64;
        if rest.is_empty() {
            self.torn = None;
            return Ok(Piece::Last);
        }
        // The search is worthwhile only if the entry is still torn after the file has grown.
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

    /// Handles the end of a file during the search: reading continues at the place that was found.
    fn end_search(&mut self) -> bool {
        let State::Seek(Seek { found: Some(found), .. }) = self.state else { return false };
        (self.position, self.seen_bytes, self.torn) = (found, 0, None);
        (self.state, self.damage) = (State::Follow { ahead: None }, None);
        true
    }

    /// The result of a poll that has read everything there is.
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
    /// Examines an entry between these places. `last` is the prepare after which the log is wanted.
    fn look_at(&mut self, header: &PrepareHeader, last: PrepareId, begin: u64, end: u64) {
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
            // This is checked before reading. If another file has taken the name, the old one is
            // complete, so reading it to its end gets all of it.
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

    /// All entries that were found in the file are committed.
    fn commit_known_op(&self) -> u64 {
        match self.state {
            State::Follow { .. } => self.op(),
            State::Seek(_) => self.recent.commit_op(),
        }
    }

    /// The server never replaces an entry in place: a poll finds the other history by itself.
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
