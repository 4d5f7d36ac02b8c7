//! Copies of an image that keep its holes.

use crate::disk::target::Target;
use crate::error::Result;
use crate::progress::Progress;

/// Bytes copied at once.
const CHUNK_BYTES: usize = 4 << 20;

/// Makes each of `copies` the same as `original`: the same length, the same bytes, and holes where
/// it has holes.
///
/// # Errors
/// Those of reading and writing the files.
pub fn copy_image(original: &Target, copies: &[Target], progress: &dyn Progress) -> Result<()> {
    if copies.is_empty() {
        return Ok(());
    }
    let length_bytes = original.length()?;
    for copy in copies {
        // A killed run may have left something there.
        copy.set_length(0)?;
        copy.set_length(length_bytes)?;
    }
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut end = 0;
    while let Some((start, data_end)) = original.data_after(end, length_bytes)? {
        let mut offset = start;
        while offset < data_end {
            let chunk = &mut buffer[..CHUNK_BYTES.min((data_end - offset) as usize)];
            original.read(offset, chunk)?;
            copies.iter().try_for_each(|copy| copy.write(offset, chunk))?;
            offset += chunk.len() as u64;
            progress.position(offset);
        }
        end = data_end;
    }
    Ok(())
}
