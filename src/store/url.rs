//! URLs of repositories, as users write them.
//!
//! A folder is its path or `file:///path`; a bucket is `s3://bucket/prefix`. Nothing else is
//! accepted, and credentials never are.

use super::{NAME_BYTES_MAX, StoreError};
use std::fmt;
use std::path::PathBuf;

/// Longest prefix within a bucket, in bytes. With a `/` and the longest name the key stays below
/// the 1024 bytes that S3 allows.
pub const PREFIX_BYTES_MAX: usize = 400;

const _: () = assert!(PREFIX_BYTES_MAX + 1 + NAME_BYTES_MAX <= 1024);

/// Where a repository is, as the user writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A folder on this machine: a path, or `file:///path`.
    Folder(PathBuf),
    /// `s3://bucket/prefix`; the prefix may be empty and never begins or ends with `/`.
    S3 {
        /// The bucket's name, or an access point's alias.
        bucket: String,
        /// The prefix of every name in the bucket.
        prefix: String,
    },
}

impl StoreUrl {
    /// Reads a folder's path, `file:///path` or `s3://bucket/prefix`. The error does not repeat
    /// parts of a refused URL that may hold a secret.
    pub fn parse(url: &str) -> Result<StoreUrl, StoreError> {
        let refused =
            |shown: &str, reason: String| StoreError::Refused { store: shown.to_owned(), action: "open", name: String::new(), reason };
        let Some((scheme, rest)) = url.split_once("://") else {
            if url.is_empty() {
                return Err(refused("repository", "its URL is empty: write a folder's path or s3://bucket/prefix".to_owned()));
            }
            return Ok(StoreUrl::Folder(PathBuf::from(url)));
        };
        match scheme {
            "file" if rest.starts_with('/') => Ok(StoreUrl::Folder(PathBuf::from(rest))),
            "file" => Err(refused(url, "a file URL names an absolute path: file:///path".to_owned())),
            "s3" if rest.contains('@') => {
                Err(refused("s3://", "credentials do not belong in the URL: use the environment, a profile or a role of AWS".to_owned()))
            }
            "s3" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
                check_bucket(bucket).map_err(|reason| refused(url, reason))?;
                check_bucket_prefix(prefix).map_err(|reason| refused(url, reason))?;
                Ok(StoreUrl::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
            }
            _ => Err(refused(
                &format!("{scheme}://"),
                "Amber keeps repositories in a folder (a path or file:///path) or in S3 (s3://bucket/prefix)".to_owned(),
            )),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreUrl::Folder(path) => write!(formatter, "{}", path.display()),
            StoreUrl::S3 { bucket, prefix } if prefix.is_empty() => write!(formatter, "s3://{bucket}"),
            StoreUrl::S3 { bucket, prefix } => write!(formatter, "s3://{bucket}/{prefix}"),
        }
    }
}

/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>. `_` is
/// allowed too, because some servers have it.
fn check_bucket(bucket: &str) -> Result<(), String> {
    let fits =
        (3..=63).contains(&bucket.len()) && bucket.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'));
    if fits { Ok(()) } else { Err("a bucket's name has 3 to 63 characters of a-z, 0-9, '.', '-': s3://bucket/prefix".to_owned()) }
}

/// The prefix is the user's, so it may hold every character that S3 calls safe.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
fn check_bucket_prefix(prefix: &str) -> Result<(), String> {
    if prefix.is_empty() {
        return Ok(());
    }
    if prefix.len() > PREFIX_BYTES_MAX {
        return Err(format!("a prefix in a bucket has at most {PREFIX_BYTES_MAX} bytes, this one {}", prefix.len()));
    }
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"!-_.*'()".contains(&byte);
    if prefix.split('/').any(|part| part.is_empty() || part == "." || part == ".." || !part.bytes().all(good)) {
        return Err("a prefix in a bucket has parts of letters, digits and !-_.*'(), none of them empty, '.' or '..'".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let folder = |path: &str| StoreUrl::Folder(PathBuf::from(path));
        let s3 = |bucket: &str, prefix: &str| StoreUrl::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() };
        for (url, wanted, shown) in [
            ("/srv/backup", folder("/srv/backup"), "/srv/backup"),
            ("backup", folder("backup"), "backup"),
            ("file:///srv/b", folder("/srv/b"), "/srv/b"),
            ("s3://bucket", s3("bucket", ""), "s3://bucket"),
            ("s3://bucket/", s3("bucket", ""), "s3://bucket"),
            ("s3://my.bucket-1/a/B_c/", s3("my.bucket-1", "a/B_c"), "s3://my.bucket-1/a/B_c"),
        ] {
            let parsed = StoreUrl::parse(url).unwrap();
            assert_eq!(parsed, wanted);
            assert_eq!(parsed.to_string(), shown);
        }
        let long = format!("s3://bucket/{}", "a".repeat(401));
        for url in
            ["", "file://host/a", "s3://", "s3://B/x", "s3://bucket//x", "s3://bucket/a/../b", "s3://bucket/a?b", "http://h/b", &long]
        {
            assert!(matches!(StoreUrl::parse(url), Err(StoreError::Refused { .. })), "{url}");
        }
        let error = StoreUrl::parse("s3://key:secret@bucket/x").unwrap_err().to_string();
        assert!(!error.contains("secret") && error.contains("credentials"), "{error}");
        let error = StoreUrl::parse("https://key:secret@bucket/x").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
