//! Dependencies of a source tree, read from the lock files in it.
//!
//! ```text
//! path ── recognise ──> Format ─┐
//! bytes ────────────────────────┴─ parse ──> Inventory ── merge ──> Inventory of the tree
//! ```
//!
//! Each format has a parser of its own, which takes bytes and a path (for messages and provenance) and nothing else: what a
//! lock file does not say, such as a parent POM in another repository, is recorded as a [`Gap`], never looked up.
//! Parsers are capped in bytes, packages and edges; the parsers beneath them in depth.

mod cargo;
mod checksum;
mod composer;
mod error;
mod gemfile;
mod go;
mod gradle;
mod inventory;
mod maven;
mod npm;
mod nuget;
mod pipfile;
mod pnpm;
mod poetry;
#[cfg(test)]
mod properties;
mod requirements;
mod uv;
mod xml;
mod yaml;
mod yarn_berry;
mod yarn_classic;

pub use checksum::{Algorithm, Checksum, Covers, integrity};
pub use error::LockfileError;
pub use inventory::{Ecosystem, Gap, GapKind, Inventory, Package};

/// Largest lock file that is read, in bytes.
pub const LOCKFILE_BYTES: usize = 32 * 1024 * 1024;
/// Most packages of one lock file.
pub const PACKAGES: usize = 100_000;
/// Most edges of one lock file.
pub const EDGES: usize = 1_000_000;

/// The formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// `Cargo.lock`, versions 1 to 4.
    CargoLock,
    /// `package-lock.json` and `npm-shrinkwrap.json`, versions 2 and 3.
    PackageLock,
    /// `go.mod`.
    GoMod,
    /// `go.sum`: checksums for what `go.mod` names.
    GoSum,
    /// `pnpm-lock.yaml`, versions 5 to 9.
    PnpmLock,
    /// `yarn.lock`, version 1 and Yarn 2 and later, told apart by content.
    YarnLock,
    /// `requirements.txt` and files called alike.
    Requirements,
    /// `poetry.lock`.
    PoetryLock,
    /// `uv.lock`.
    UvLock,
    /// `Pipfile.lock`.
    PipfileLock,
    /// `Gemfile.lock` and `gems.locked`.
    GemfileLock,
    /// `composer.lock`.
    ComposerLock,
    /// `pom.xml`.
    Pom,
    /// `gradle.lockfile` and `buildscript-gradle.lockfile`.
    GradleLockfile,
    /// NuGet's `packages.lock.json` and `packages.PROJECT.lock.json`.
    NuGetLock,
}

impl Format {
    /// All formats, in their order.
    pub const ALL: &[Self] = &[
        Self::CargoLock,
        Self::PackageLock,
        Self::GoMod,
        Self::GoSum,
        Self::PnpmLock,
        Self::YarnLock,
        Self::Requirements,
        Self::PoetryLock,
        Self::UvLock,
        Self::PipfileLock,
        Self::GemfileLock,
        Self::ComposerLock,
        Self::Pom,
        Self::GradleLockfile,
        Self::NuGetLock,
    ];
}

/// The format of the file at `path` within a tree, by its name; `None` if it is no lock file.
///
/// Files below `node_modules/` are what a package brought along, not what this tree locks.
#[must_use]
pub fn recognise(path: &str) -> Option<Format> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    if folder.split('/').any(|segment| segment == "node_modules") {
        return None;
    }
    Some(match name {
        "Cargo.lock" => Format::CargoLock,
        "package-lock.json" | "npm-shrinkwrap.json" => Format::PackageLock,
        "go.mod" => Format::GoMod,
        "go.sum" => Format::GoSum,
        "pnpm-lock.yaml" => Format::PnpmLock,
        "yarn.lock" => Format::YarnLock,
        "poetry.lock" => Format::PoetryLock,
        "uv.lock" => Format::UvLock,
        "Pipfile.lock" => Format::PipfileLock,
        "Gemfile.lock" | "Gemfile.next.lock" | "gems.locked" => Format::GemfileLock,
        "composer.lock" => Format::ComposerLock,
        "pom.xml" => Format::Pom,
        "gradle.lockfile" | "buildscript-gradle.lockfile" => Format::GradleLockfile,
        "packages.lock.json" => Format::NuGetLock,
        _ if name.starts_with("packages.") && name.ends_with(".lock.json") => Format::NuGetLock,
        _ if name.ends_with(".txt") && name.contains("requirements") => Format::Requirements,
        // The layout `requirements/base.txt` of many Python projects.
        _ if name.ends_with(".txt") && folder.rsplit('/').next() == Some("requirements") => Format::Requirements,
        _ => return None,
    })
}

/// Reads one lock file.
///
/// # Errors
/// [`LockfileError`] if it is too large, holds too much, or is not of its format.
pub fn parse(format: Format, path: &str, bytes: &[u8]) -> Result<Inventory, LockfileError> {
    if bytes.len() > LOCKFILE_BYTES {
        return Err(LockfileError::TooLarge { path: path.to_owned(), found: bytes.len(), limit: LOCKFILE_BYTES });
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut inventory = match format {
        Format::CargoLock => cargo::parse(path, text(path, bytes)?),
        Format::PackageLock => npm::parse(path, bytes),
        Format::GoMod => go::parse_mod(path, text(path, bytes)?),
        Format::GoSum => go::parse_sum(path, text(path, bytes)?),
        Format::PnpmLock => pnpm::parse(path, text(path, bytes)?),
        Format::YarnLock => {
            let text = text(path, bytes)?;
            if yarn_berry::is_berry(text) { yarn_berry::parse(path, text) } else { yarn_classic::parse(path, text) }
        }
        Format::Requirements => requirements::parse(path, text(path, bytes)?),
        Format::PoetryLock => poetry::parse(path, text(path, bytes)?),
        Format::UvLock => uv::parse(path, text(path, bytes)?),
        Format::PipfileLock => pipfile::parse(path, bytes),
        Format::GemfileLock => gemfile::parse(path, text(path, bytes)?),
        Format::ComposerLock => composer::parse(path, bytes),
        Format::Pom => maven::parse(path, text(path, bytes)?),
        Format::GradleLockfile => gradle::parse(path, text(path, bytes)?),
        Format::NuGetLock => nuget::parse(path, bytes),
    }?;
    let edges: usize = inventory.packages().map(|package| package.depends_on.len()).sum();
    for (what, found, limit) in [("packages", inventory.len(), PACKAGES), ("edges", edges, EDGES)] {
        if found > limit {
            return Err(LockfileError::TooMany { path: path.to_owned(), what, limit });
        }
    }
    inventory.settle();
    Ok(inventory)
}

/// The dependencies of a whole tree: every file that is recognised, read and joined.
///
/// A file that cannot be read does not hide the others: it becomes a [`GapKind::Unreadable`].
pub fn scan<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Inventory {
    let mut all = Inventory::default();
    for (path, bytes) in files {
        let Some(format) = recognise(path) else { continue };
        match parse(format, path, bytes) {
            Ok(found) => all.merge(found),
            Err(error) => all.add_gap(path, GapKind::Unreadable, error.reason()),
        }
    }
    all
}

fn text<'a>(path: &str, bytes: &'a [u8]) -> Result<&'a str, LockfileError> {
    std::str::from_utf8(bytes).map_err(|source| LockfileError::Encoding { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_recognised_by_name_and_place() {
        assert_eq!(recognise("Cargo.lock"), Some(Format::CargoLock));
        assert_eq!(recognise("a/b/npm-shrinkwrap.json"), Some(Format::PackageLock));
        assert_eq!(recognise("web/node_modules/x/package-lock.json"), None);
        assert_eq!(recognise("cargo.lock"), None);
        assert_eq!(recognise("Cargo.lock/x"), None);
    }

    #[test]
    fn an_unreadable_file_hides_no_other() {
        let all = scan([
            ("a/Cargo.lock", b"[[package" as &[u8]),
            ("b/Cargo.lock", b"version = 4\n[[package]]\nname = \"x\"\nversion = \"1.0.0\"\n"),
            ("README.md", b"\xff"),
        ]);
        assert_eq!(all.len(), 1);
        let gap = all.gaps().next().unwrap();
        assert_eq!(
            (gap.path.as_str(), gap.kind, gap.subject.as_str()),
            ("a/Cargo.lock", GapKind::Unreadable, "LockfileMalformed")
        );
    }

    #[test]
    fn lesson_l9_a_file_over_the_cap_is_not_looked_at() {
        let bytes = vec![b'#'; LOCKFILE_BYTES + 1];
        assert!(matches!(parse(Format::CargoLock, "Cargo.lock", &bytes), Err(LockfileError::TooLarge { .. })));
    }
}
