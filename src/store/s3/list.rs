//! Listings of a bucket in the byte order of names.
//!
//! AWS lists in that order
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>), and then a listing
//! is read page by page from where it begins. But servers that keep objects in folders (SeaweedFS,
//! S3 directory buckets) list folder by folder: `a/b` before `a-b`, although `-` comes before `/`.
//! Nothing in a page shows that, and a caller who continues after the last name would miss others.
//! So the first put under a prefix leaves two marks, and the first listing of a process checks the
//! order in which they are listed. Where it is wrong, or the marks are missing, the listing asks
//! for one folder after the other and sorts each: more requests, but right.

use super::Shared;
use super::error::{Failure, FailureKind};
use crate::store::{Listed, RESERVED_PART, check_name};
use crate::threads::lock;

/// Most keys in one answer: the limit of S3.
const PAGE_KEYS: usize = 1000;

/// The folder of the marks, and the marks in byte order. A server that lists by folders lists them
/// in the opposite order.
const MARKS_FOLDER: &str = "order/";
pub(super) const MARKS: [&str; 2] = ["order/a-b", "order/a/b"];

/// One page of a listing.
struct Page {
    /// Objects, as keys with sizes.
    objects: Vec<(String, u64)>,
    /// Folders, as keys with a `/` at the end, where a delimiter was asked for.
    folders: Vec<String>,
    next: Option<String>,
}

/// An object, or a folder with a `/` at the end of its name.
struct Entry {
    name: String,
    size_bytes: u64,
}

impl Shared {
    /// As [`Store::list`](crate::store::Store::list).
    pub(super) async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<Listed>, Failure> {
        // A start outside the prefix is either before all names or after all of them, and some
        // servers refuse it.
        let after = if after.starts_with(prefix) || after > prefix { after } else { "" };
        if limit == 0 || !after.is_empty() && !after.starts_with(prefix) {
            return Ok(Vec::new());
        }
        if self.lists_in_order().await?
            && let Some(found) = self.list_flat(prefix, after, limit).await?
        {
            return Ok(found);
        }
        self.list_folders(prefix, after, limit).await
    }

    /// Whether the server lists in byte order; also false if that cannot be determined.
    async fn lists_in_order(&self) -> Result<bool, Failure> {
        if let Some(known) = *lock(&self.in_order) {
            return Ok(known);
        }
        let folder = format!("{RESERVED_PART}/{MARKS_FOLDER}");
        let page = self.page(&self.client.key(&folder), "", None, PAGE_KEYS, false).await?;
        let found: Vec<&str> = page.objects.iter().filter_map(|(key, _)| self.client.name(key)).collect();
        let expected = MARKS.map(|mark| format!("{RESERVED_PART}/{mark}"));
        let in_order = found == expected;
        // If there are no marks, a writer may be about to leave them, so ask again next time.
        if in_order || found.len() == expected.len() {
            *lock(&self.in_order) = Some(in_order);
        }
        Ok(in_order)
    }

    /// Lists page by page; `None` if the server breaks the order after all.
    async fn list_flat(&self, prefix: &str, after: &str, limit: usize) -> Result<Option<Vec<Listed>>, Failure> {
        let start_after = if after.is_empty() { String::new() } else { self.client.key(after) };
        let mut found: Vec<Listed> = Vec::new();
        let mut next = None;
        loop {
            let wanted = (limit - found.len()).min(PAGE_KEYS);
            let page = self.page(&self.client.key(prefix), &start_after, next, wanted, false).await?;
            for (key, size_bytes) in page.objects {
                let Some(name) = self.client.name(&key).filter(|name| check_name(name).is_ok() && *name > after) else { continue };
                if found.last().is_some_and(|last| last.name.as_str() >= name) {
                    *lock(&self.in_order) = Some(false);
                    return Ok(None);
                }
                found.push(Listed { name: name.to_owned(), size_bytes });
            }
            next = page.next;
            if next.is_none() || found.len() >= limit {
                found.truncate(limit);
                return Ok(Some(found));
            }
        }
    }

    /// Lists one folder after the other, each sorted.
    async fn list_folders(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<Listed>, Failure> {
        let mut levels = vec![self.level(prefix, after).await?];
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(level) = levels.last_mut() else { break };
            match level.pop() {
                None => {
                    levels.pop();
                }
                Some(entry) if entry.name.ends_with('/') => levels.push(self.level(&entry.name, after).await?),
                Some(entry) => found.push(Listed { name: entry.name, size_bytes: entry.size_bytes }),
            }
        }
        Ok(found)
    }

    /// Everything that lies directly below `prefix` and can come after `after`; the next one is
    /// last.
    async fn level(&self, prefix: &str, after: &str) -> Result<Vec<Entry>, Failure> {
        let mut objects = Vec::new();
        let mut next = None;
        loop {
            let page = self.page(&self.client.key(prefix), "", next, PAGE_KEYS, true).await?;
            let folders = page.folders.into_iter().map(|key| (key, 0));
            for (key, size_bytes) in page.objects.into_iter().chain(folders) {
                let Some(name) = self.client.name(&key) else { continue };
                let folder = name.strip_suffix('/');
                if check_name(folder.unwrap_or(name)).is_err() || !name.starts_with(prefix) || name == prefix && folder.is_some() {
                    continue;
                }
                if name > after || (folder.is_some() && after.starts_with(name)) {
                    objects.push(Entry { name: name.to_owned(), size_bytes });
                }
            }
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        objects.sort_unstable_by(|left, right| right.name.cmp(&left.name));
        objects.dedup_by(|left, right| left.name == right.name);
        Ok(objects)
    }

    async fn page(&self, prefix: &str, start_after: &str, next: Option<String>, keys: usize, by_folder: bool) -> Result<Page, Failure> {
        let request = self.client.s3.list_objects_v2().bucket(&self.client.bucket).prefix(prefix).max_keys(keys as i32);
        let request = request
            .set_start_after((next.is_none() && !start_after.is_empty()).then(|| start_after.to_owned()))
            .set_continuation_token(next.clone())
            .set_delimiter(by_folder.then(|| "/".to_owned()));
        let output = request.send().await.map_err(|error| Failure::of(&error))?;
        let mut objects = Vec::with_capacity(output.contents().len());
        for object in output.contents() {
            if let Some(key) = object.key() {
                objects.push((key.to_owned(), super::size_of(object.size())?));
            }
        }
        let folders = output.common_prefixes().iter().filter_map(|folder| folder.prefix()).map(str::to_owned).collect();
        let following = output.next_continuation_token.filter(|_| output.is_truncated == Some(true));
        if following.is_some() && following == next {
            return Err(Failure::new(FailureKind::Refused, "the server's listing does not go on"));
        }
        Ok(Page { objects, folders, next: following })
    }
}
