//! By what a file is recognised as unchanged: size, times of change, and which file it is.
//!
//! Flow: [`FileState::settled`] takes the state from which changes can be told. It asks the system
//! to write out what other programs wrote through memory maps, because only after that does each
//! such write leave a time. It waits while a second change could get the same time as the last one.
//! Later, [`FileState::compare`] tells what happened since. The time of change (ctime) is what
//! counts, since any program may set the modification time back.
//!
//! Some file systems cannot tell everything; [`limits_of`] says what.

use crate::disk::read_error::SourceError;
use crate::host::clock::Clock;
use rustix::fs::{AtFlags, StatxFlags};
use rustix::io::Errno;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often a file may change before its reading begins.
const TRIES_MAX: u32 = 3;

/// A time of change beyond this age is the last one by any clock: by this machine's or that of a
/// file server. Below it the clocks may differ by more than the age.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(3600);

/// How long two changes may have the same time on most file systems: a step of 10 ms (exFAT, a
/// kernel at 100 Hz), from a clock that is as much behind.
const STEP_FINE: Duration = Duration::from_millis(30);

/// The same where times are whole seconds: FAT counts in steps of 2 s, ext3 and HFS+ of 1 s.
const STEP_COARSE: Duration = Duration::from_millis(2050);

/// A moment by the file system's clock: seconds since 1970, and nanoseconds.
type Moment = (i64, u32);

/// A plain file at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileState {
    device: u64,
    inode: u64,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// Its type and permission bits.
    pub mode: u32,
    modified: Moment,
    changed: Moment,
}

/// What happened to a file between two states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Nothing.
    Unchanged,
    /// Only its time of change is another: permissions, owner or links changed, or its bytes and
    /// then the modification time was set back. Only reading again tells which.
    Touched,
    /// Its size or modification time is another.
    Written,
    /// It is another file.
    Replaced,
}

impl FileState {
    /// The state of an open file.
    ///
    /// # Errors
    /// Those of the system.
    pub fn of(file: &File) -> std::io::Result<FileState> {
        // Without this flag a network file system may answer from its cache.
        match rustix::fs::statx(file, "", AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS) {
            Ok(stat) => Ok(FileState::from_statx(&stat)),
            // Old kernels, and containers that refuse it.
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => file.metadata().map(|metadata| FileState::from_metadata(&metadata)),
            Err(error) => Err(error.into()),
        }
    }

    /// The state of whatever this path names now.
    ///
    /// # Errors
    /// Those of the system, for example that there is no such file any more.
    pub fn at(path: &Path) -> std::io::Result<FileState> {
        match rustix::fs::statx(rustix::fs::CWD, path, AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS) {
            Ok(stat) => Ok(FileState::from_statx(&stat)),
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => path.metadata().map(|metadata| FileState::from_metadata(&metadata)),
            Err(error) => Err(error.into()),
        }
    }

    fn from_statx(stat: &rustix::fs::Statx) -> FileState {
        FileState {
            device: u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor),
            inode: stat.stx_ino,
            size_bytes: stat.stx_size,
            mode: u32::from(stat.stx_mode),
            modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
        }
    }

    fn from_metadata(metadata: &Metadata) -> FileState {
        let device = metadata.dev();
        FileState {
            device: u64::from(rustix::fs::major(device)) << 32 | u64::from(rustix::fs::minor(device)),
            inode: metadata.ino(),
            size_bytes: metadata.len(),
            mode: metadata.mode(),
            // Nanoseconds are below 10^9.
            modified: (metadata.mtime(), metadata.mtime_nsec() as u32),
            changed: (metadata.ctime(), metadata.ctime_nsec() as u32),
        }
    }

    /// The state of an open file, taken so that every later change shows.
    ///
    /// # Errors
    /// [`SourceError::NotNow`] while somebody changes the file, [`SourceError::Io`].
    pub fn settled(file: &File, path: &Path, clock: Clock) -> Result<FileState, SourceError> {
        let state = || FileState::of(file).map_err(|error| SourceError::io(path, "look at it", error));
        for _ in 0..TRIES_MAX {
            let before = state()?;
            clock.sleep(before.wait(clock.now_on_the_wall()));
            // What a program wrote through a memory map leaves a time once for each page that is
            // written out, so all of them are. Some file systems cannot, and need not.
            match file.sync_data() {
                Err(error)
                    if !matches!(Errno::from_io_error(&error), Some(Errno::INVAL | Errno::ROFS | Errno::NOSYS | Errno::OPNOTSUPP)) =>
                {
                    return Err(SourceError::io(path, "write out what others wrote", error));
                }
                Ok(()) | Err(_) => {}
            }
            if state()? == before {
                return Ok(before);
            }
        }
        let reason = "it is being written to: try again when nobody does".to_owned();
        Err(SourceError::NotNow { path: path.to_owned(), reason })
    }

    /// How long a further change could still get the same time as the last one.
    fn wait(&self, now: SystemTime) -> Duration {
        let (seconds, nanoseconds) = self.changed;
        let changed = UNIX_EPOCH + Duration::new(u64::try_from(seconds).unwrap_or(0), nanoseconds);
        match now.duration_since(changed) {
            Ok(age) if age > CLOCKS_APART_MAX => Duration::ZERO,
            Ok(_) | Err(_) if nanoseconds == 0 => STEP_COARSE,
            Ok(_) | Err(_) => STEP_FINE,
        }
    }

    /// What happened to the file from this state to a later one.
    pub fn compare(&self, later: &FileState) -> Since {
        if (self.device, self.inode) != (later.device, later.inode) {
            Since::Replaced
        } else if (self.size_bytes, self.modified) != (later.size_bytes, later.modified) {
            Since::Written
        } else if self.changed != later.changed {
            Since::Touched
        } else {
            Since::Unchanged
        }
    }

    /// When the file was last modified, in nanoseconds since 1970.
    pub fn modified_ns(&self) -> u64 {
        let (seconds, nanoseconds) = self.modified;
        u64::try_from(i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)).unwrap_or(if seconds < 0 { 0 } else { u64::MAX })
    }
}

/// Magic numbers of file systems, from `linux/magic.h` and the kernel modules of their names.
const MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];
const REMOTE: [(u32, &str); 10] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x4750_4653, "GPFS"),
    (0x0bd0_0bd0, "Lustre"),
];

/// What cannot be noticed on the file system that a file lies in, as a sentence for the user;
/// `None` where everything is.
pub fn limits_of(file: &File, path: &Path) -> Option<String> {
    // The number has 32 bits; its type is wider on some machines.
    rustix::fs::fstatfs(file).ok().and_then(|system| limits_of_kind(system.f_type as u32, path))
}

fn limits_of_kind(magic: u32, path: &Path) -> Option<String> {
    if MEMORY.contains(&magic) {
        return Some(format!(
            "{}: it lies in memory (tmpfs), where a program that writes to it through a memory map leaves no trace: such changes while it is read are \
             not noticed",
            path.display()
        ));
    }
    REMOTE.iter().find(|(remote, _)| *remote == magic).map(|(_, name)| {
        format!(
            "{}: it lies in a file system of the kind {name}, which may tell late, or not at all, what other machines change: make sure that nobody \
             writes to the file while it is read",
            path.display()
        )
    })
}

#[cfg(test)]
mod tests;
