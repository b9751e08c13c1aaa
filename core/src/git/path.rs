//! Paths in a git tree: any bytes but NUL, and how they are written in JSON.
//!
//! SPDX file names are text, git's are bytes. The encoding is reversible and has exactly one spelling for each path: a byte is written
//! `%XX` (upper-case hexadecimal digits) if it is `%`, a control character (00 to 1F, 7F), or not part of well-formed UTF-8. All other
//! bytes stand for themselves, so nearly every path in the world is written as it is.

use std::fmt;

/// Longest path, in bytes: `PATH_MAX` of Linux. A longer one could not be checked out.
pub const PATH_BYTES: usize = 4096;

/// Why a path is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Longer than [`PATH_BYTES`].
    #[error("path {path}… has {found} bytes, the limit is {PATH_BYTES}")]
    TooLong {
        /// The first 200 bytes, encoded.
        path: String,
        /// Length in bytes.
        found: usize,
    },
    /// Empty, absolute, with an empty component, or with a NUL byte.
    #[error("path {path:?} is empty, absolute, or has an empty component or a NUL byte")]
    Malformed {
        /// The path, encoded.
        path: String,
    },
    /// A component that means something else to a file system or to git: `.`, `..`, `.git` and what some file systems take for it.
    #[error("path {path:?} has the component {component:?}, which git itself would never check out")]
    Forbidden {
        /// The path, encoded.
        path: String,
        /// The component, encoded.
        component: String,
    },
    /// Not what [`encode`] would have written.
    #[error("{found:?} is not the one spelling of a path")]
    Encoding {
        /// What stood there, cut to 200 characters.
        found: String,
    },
}

/// Checks a path as it stands in a flat list of a tree.
///
/// # Errors
/// [`PathError::TooLong`], [`PathError::Malformed`], [`PathError::Forbidden`].
pub fn check(path: &[u8]) -> Result<(), PathError> {
    if path.len() > PATH_BYTES {
        let start = path.get(..200).unwrap_or(path);
        return Err(PathError::TooLong { path: encode(start), found: path.len() });
    }
    if path.is_empty() {
        return Err(PathError::Malformed { path: String::new() });
    }
    path.split(|byte| *byte == b'/').try_for_each(|component| check_component(component, path))
}

/// Checks one name of a tree object; `path` is for the message.
///
/// # Errors
/// As [`check`].
pub fn check_component(component: &[u8], path: &[u8]) -> Result<(), PathError> {
    if component.is_empty() || component.iter().any(|byte| matches!(byte, 0 | b'/')) {
        return Err(PathError::Malformed { path: encode(path) });
    }
    if matches!(component, b"." | b"..") || is_dot_git(component) {
        return Err(PathError::Forbidden { path: encode(path), component: encode(component) });
    }
    Ok(())
}

/// Whether some file system takes this name for `.git`: in any case, with NTFS' trailing dots, spaces and streams, as NTFS' short
/// name, or with code points that HFS+ ignores (git's `core.protectNTFS` and `core.protectHFS`).
fn is_dot_git(name: &[u8]) -> bool {
    for prefix in [b".git".as_slice(), b"git~1"] {
        if let Some((start, rest)) = name.split_at_checked(prefix.len())
            && start.eq_ignore_ascii_case(prefix)
        {
            let rest = rest.split(|byte| matches!(byte, b':' | b'\\')).next().unwrap_or_default();
            if rest.iter().all(|byte| matches!(byte, b'.' | b' ')) {
                return true;
            }
        }
    }
    if name.is_ascii() {
        return false;
    }
    let Ok(text) = str::from_utf8(name) else { return false };
    let ignored =
        |c: &char| matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    text.chars().filter(|c| !ignored(c)).collect::<String>().eq_ignore_ascii_case(".git")
}

/// Whether the path can stand in JSON as it is.
fn is_plain(path: &[u8]) -> bool {
    path.iter().all(|byte| *byte >= 0x20 && *byte != 0x7f && *byte != b'%') && str::from_utf8(path).is_ok()
}

/// Writes a path as text. See the module for the encoding.
#[must_use]
pub fn encode(path: &[u8]) -> String {
    if is_plain(path) {
        return String::from_utf8_lossy(path).into_owned();
    }
    let mut text = String::with_capacity(path.len() + 16);
    let escape = |text: &mut String, byte: u8| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase());
        }
    };
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '%' || character.is_ascii_control() {
                text.push('%');
                escape(&mut text, u8::try_from(character).unwrap_or_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push('%');
            escape(&mut text, *byte);
        }
    }
    text
}

/// Reads what [`encode`] wrote, and nothing else.
///
/// # Errors
/// [`PathError::Encoding`] for any other spelling.
pub fn decode(text: &str) -> Result<Vec<u8>, PathError> {
    let wrong = || PathError::Encoding { found: text.chars().take(200).collect() };
    if is_plain(text.as_bytes()) {
        return Ok(text.as_bytes().to_vec());
    }
    let mut path = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let high = digit(rest.next()).ok_or_else(wrong)?;
            let low = digit(rest.next()).ok_or_else(wrong)?;
            path.push(high << 4 | low);
        } else {
            path.push(byte);
        }
    }
    // One spelling only, or two documents could mean the same tree.
    if encode(&path) == text { Ok(path) } else { Err(wrong()) }
}

/// A path that is written encoded.
#[derive(Debug, Clone, Copy)]
pub struct EncodedPath<'a>(pub &'a [u8]);

impl fmt::Display for EncodedPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_usual_path_stands_for_itself() {
        for path in ["src/main.rs", "a b/ä/日本", "quote\"back\\slash", "~!@#$^&*()=+[]{};:',<>?|"] {
            assert_eq!(encode(path.as_bytes()), path);
            assert_eq!(decode(path).unwrap(), path.as_bytes());
        }
    }

    #[test]
    fn odd_bytes_are_escaped() {
        assert_eq!(encode(b"100%/\xff\n\x7f"), "100%25/%FF%0A%7F");
        assert_eq!(encode(b"\xe4\xf6.txt"), "%E4%F6.txt");
        assert_eq!(encode(b"\xed\xa0\x80"), "%ED%A0%80");
    }

    #[test]
    fn lesson_l2_a_path_has_one_spelling() {
        for wrong in ["%", "%4", "%41", "%ff", "%FG", "%C3%A4", "a\nb", "%2f", "\u{7f}"] {
            assert!(decode(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn paths_that_leave_the_tree_are_refused() {
        for wrong in [
            "",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "./a",
            ".git",
            "a/.GIT/config",
            ".git./x",
            ".git ",
            "GIT~1/x",
            ".git::$INDEX",
            ".g\u{200c}it",
            "a\0b",
        ] {
            assert!(check(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        for right in [".gitignore", ".github/x", ".gitmodules", "git", "...", "a/.assay/b", "git~10", "x.git"] {
            assert_eq!(check(right.as_bytes()), Ok(()), "{right:?}");
        }
        assert!(matches!(check(&[b'a'; PATH_BYTES + 1]), Err(PathError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn every_path_comes_back(path in proptest::collection::vec(any::<u8>(), 0..40)) {
            let text = encode(&path);
            prop_assert_eq!(decode(&text).unwrap(), path);
            prop_assert!(!text.chars().any(|c| c.is_ascii_control()));
        }

        #[test]
        fn every_text_has_at_most_one_meaning(text in "[%0-9A-Fa-f\u{e4}\n]{0,12}") {
            if let Ok(path) = decode(&text) {
                prop_assert_eq!(encode(&path), text);
            }
        }
    }
}
