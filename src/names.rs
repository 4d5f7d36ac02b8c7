//! Names of files, hosts and objects as text: exact for machines, harmless for a terminal.
//!
//! A name on Linux is bytes, of any kind but zero and `/`. [`path_text`] shows those that are no
//! text as `\xFF`, and never as a sign that could stand for any of them. [`printable`] and
//! [`on_one_line`] are what goes to a terminal or a log.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A path as text. Bytes that are not UTF-8 become `\xFF`, each of them.
pub fn path_text(path: &Path) -> String {
    os_text(path.as_os_str())
}

/// The same for a part of a path.
pub fn os_text(name: &OsStr) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

/// The bytes of a path in hexadecimal, where [`path_text`] alone does not say which they are.
pub fn path_bytes_hex(path: &Path) -> Option<String> {
    let bytes = path.as_os_str().as_bytes();
    std::str::from_utf8(bytes).is_err().then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The text with its control characters escaped, except ends of lines and tabs: names come from
/// file systems and stores, and must not command a terminal.
pub fn printable(text: &str) -> String {
    let is_control = |character: char| (character.is_control() && !matches!(character, '\n' | '\t')) || is_bidi(character);
    let mut printed = String::with_capacity(text.len());
    for character in text.chars() {
        if is_control(character) {
            printed.extend(character.escape_default());
        } else {
            printed.push(character);
        }
    }
    printed
}

/// The same where a name with an end of line in it must not look like two lines.
pub fn on_one_line(text: &str) -> String {
    printable(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// Whether a character changes the direction in which others are shown.
fn is_bidi(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_command_a_terminal_is_escaped() {
        let hostile = "a\u{1b}[2J\u{7}b\r\u{9b}1m\u{202e}c\u{7f}";
        assert_eq!(printable(hostile), "a\\u{1b}[2J\\u{7}b\\r\\u{9b}1m\\u{202e}c\\u{7f}");
        assert_eq!(printable("Zürich\t— 1\n2"), "Zürich\t— 1\n2");
        assert_eq!(on_one_line("a\nb\tc\u{1b}"), "a\\nb\\tc\\u{1b}");
    }

    #[test]
    fn no_two_paths_look_alike_that_are_no_text() {
        let path = |bytes: &[u8]| Path::new(OsStr::from_bytes(bytes)).to_owned();
        assert_eq!(path_text(&path(b"/a/\xff\xfe.b\xc3")), "/a/\\xff\\xfe.b\\xc3");
        assert_eq!(path_text(&path("/a/Zürich\\x".as_bytes())), "/a/Zürich\\x");
        assert_eq!(path_bytes_hex(&path(b"/\xff")).as_deref(), Some("2fff"));
        assert_eq!(path_bytes_hex(&path(b"/\\xff")), None);
    }
}
