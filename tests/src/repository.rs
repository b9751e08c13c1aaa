//! The repository's own files, for the tests that look after them.

use std::process::Command;

use crate::root;

/// The text files that git tracks or would track, below `folder` ("" is all), with one of the `extensions` (none: all files):
/// path from the root, and text. Files that are not UTF-8 are left out.
///
/// # Panics
/// When git cannot list the files.
#[must_use]
#[allow(clippy::panic, clippy::expect_used)]
pub fn texts(folder: &str, extensions: &[&str]) -> Vec<(String, String)> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            "--",
            if folder.is_empty() { "." } else { folder },
        ])
        .current_dir(root())
        .output()
        .expect("git must start");
    assert!(output.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
    let list = String::from_utf8(output.stdout).expect("our own file names must be UTF-8");
    list.split_terminator('\0')
        .filter(|path| extensions.is_empty() || extensions.iter().any(|extension| path.ends_with(&format!(".{extension}"))))
        .filter_map(|path| Some((path.to_owned(), std::fs::read_to_string(root().join(path)).ok()?)))
        .collect()
}
