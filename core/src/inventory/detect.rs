//! Which files of an image say something about packages, decided by path, and by the first bytes for executables.

use std::io::Cursor;

use super::random_access::{RandomAccess, ReadSeek};
use super::rpm::Database;
use super::{Finding, InventoryError, Kind, apk, caps, cargo_auditable, dpkg, elf, gem, go, java, node, os_release, python, rpm};

/// What a file is read as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interest {
    /// `var/lib/dpkg/status`.
    DpkgStatus,
    /// `var/lib/dpkg/info/KEY.list`.
    DpkgList(String),
    /// `….md5sums` of dpkg's package KEY.
    DpkgSums(String),
    /// `usr/share/doc/NAME/copyright`.
    DpkgCopyright(String),
    /// `lib/apk/db/installed`.
    Apk,
    /// An RPM database.
    Rpm(Database),
    /// Python core metadata; the string is its directory.
    PythonMetadata(String),
    /// Python `RECORD`; the string is its directory.
    PythonRecord(String),
    /// `package.json`.
    Node,
    /// A gem's specification.
    Gem,
    /// A Java archive.
    Java,
    /// `os-release`.
    Os,
    /// Perhaps an executable: decided by the first bytes.
    Executable,
}

impl Interest {
    /// Largest file that is read as this, in bytes.
    #[must_use]
    pub const fn cap(&self) -> u64 {
        match self {
            Self::DpkgStatus | Self::Apk | Self::Rpm(_) => caps::DATABASE_BYTES,
            Self::DpkgList(_) | Self::DpkgSums(_) | Self::PythonRecord(_) => caps::LIST_BYTES,
            Self::PythonMetadata(_) | Self::Node | Self::Gem | Self::Os | Self::DpkgCopyright(_) => caps::METADATA_BYTES,
            Self::Java => caps::ARCHIVE_BYTES,
            Self::Executable => caps::EXECUTABLE_BYTES,
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What to read a regular file at `path` (relative, no leading slash) as; `head` is its first bytes, at least four if it has
/// them.
#[must_use]
pub fn interest(path: &[u8], head: &[u8]) -> Option<Interest> {
    let (directory, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (path.get(..at)?, path.get(at + 1..)?),
        None => (&b""[..], path),
    };
    let last = |directory: &[u8]| directory.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
    let parent = last(directory);
    match name {
        b"status" if directory == b"var/lib/dpkg" => return Some(Interest::DpkgStatus),
        b"installed" if matches!(directory, b"lib/apk/db" | b"usr/lib/apk/db" | b"var/lib/apk/db") => return Some(Interest::Apk),
        b"os-release" if matches!(directory, b"etc" | b"usr/lib") => return Some(Interest::Os),
        b"rpmdb.sqlite" | b"Packages.db" | b"Packages"
            if matches!(directory, b"var/lib/rpm" | b"usr/lib/sysimage/rpm" | b"usr/share/rpm") =>
        {
            return Some(Interest::Rpm(match name {
                b"rpmdb.sqlite" => Database::Sqlite,
                b"Packages.db" => Database::Ndb,
                _ => Database::Bdb,
            }));
        }
        b"METADATA" if parent.ends_with(b".dist-info") => return Some(Interest::PythonMetadata(text(directory))),
        b"PKG-INFO" if parent.ends_with(b".egg-info") => return Some(Interest::PythonMetadata(text(directory))),
        b"RECORD" if parent.ends_with(b".dist-info") => return Some(Interest::PythonRecord(text(directory))),
        b"package.json" => return Some(Interest::Node),
        b"copyright" if directory.starts_with(b"usr/share/doc/") => return Some(Interest::DpkgCopyright(text(&parent))),
        _ => {}
    }
    if directory == b"var/lib/dpkg/status.d" {
        return Some(match name.strip_suffix(b".md5sums") {
            Some(key) => Interest::DpkgSums(text(key)),
            None => Interest::DpkgStatus,
        });
    }
    if directory == b"var/lib/dpkg/info" {
        if let Some(key) = name.strip_suffix(b".list") {
            return Some(Interest::DpkgList(text(key)));
        }
        return name.strip_suffix(b".md5sums").map(|key| Interest::DpkgSums(text(key)));
    }
    if name.ends_with(b".egg-info") {
        return Some(Interest::PythonMetadata(text(path)));
    }
    if name.ends_with(b".gemspec") && (parent == b"specifications" || directory.ends_with(b"specifications/default")) {
        return Some(Interest::Gem);
    }
    if java::is_archive(name) {
        return Some(Interest::Java);
    }
    elf::is_elf(head).then_some(Interest::Executable)
}

/// Reads a whole file that is held in memory.
///
/// # Errors
/// What the parser of `interest` says.
pub fn read(interest: &Interest, path: &[u8], bytes: &[u8]) -> Result<Vec<Finding>, InventoryError> {
    let packages = |found: Vec<super::Package>| if found.is_empty() { Vec::new() } else { vec![Finding::Packages(found)] };
    let owned = |kind: Kind, key: &str, files| vec![Finding::Owned { kind, key: key.to_owned(), files }];
    Ok(match interest {
        Interest::DpkgStatus => packages(dpkg::status(bytes)?),
        Interest::DpkgList(key) => owned(Kind::Deb, key, dpkg::list(bytes)?),
        Interest::DpkgSums(key) => owned(Kind::Deb, key, dpkg::md5sums(bytes)?),
        Interest::DpkgCopyright(name) => match dpkg::copyright(bytes) {
            Some(licence) => vec![Finding::Licence { kind: Kind::Deb, key: name.clone(), licence }],
            None => Vec::new(),
        },
        Interest::Apk => packages(apk::installed(bytes)?),
        Interest::PythonMetadata(directory) => packages(python::metadata(bytes, directory)?),
        Interest::PythonRecord(directory) => {
            let base = directory.rsplit_once('/').map_or("", |(base, _)| base);
            owned(Kind::Pypi, directory, python::record(bytes, base.as_bytes())?)
        }
        Interest::Node => packages(node::package_json(bytes)?),
        Interest::Gem => packages(gem::gemspec(bytes)?),
        Interest::Os => vec![Finding::Os(os_release::parse(bytes)?)],
        Interest::Rpm(_) | Interest::Java | Interest::Executable => {
            return read_at(interest, path, &mut Cursor::new(bytes), bytes.len() as u64);
        }
    })
}

/// Reads a file of `length` bytes that can be read at any offset, without holding it in memory as far as its format allows.
///
/// # Errors
/// What the parser of `interest` says.
pub fn read_at(interest: &Interest, path: &[u8], file: &mut dyn ReadSeek, length: u64) -> Result<Vec<Finding>, InventoryError> {
    if length > interest.cap() {
        return Err(InventoryError::TooLarge { what: "file", found: length, limit: interest.cap() });
    }
    let mut found = match interest {
        Interest::Rpm(database) => rpm::packages(&mut RandomAccess::new(file, length, "RPM database"), *database)?,
        Interest::Java => java::archive(&mut RandomAccess::new(file, length, "Java archive"), path)?,
        Interest::Executable => {
            let [go, auditable] =
                elf::sections(&mut RandomAccess::new(file, length, "ELF file"), [b".go.buildinfo", b".dep-v0"])?;
            let mut found = Vec::new();
            if let Some(section) = go {
                found.extend(go::modules(&section)?);
            }
            if let Some(section) = auditable {
                found.extend(cargo_auditable::crates(&section)?);
            }
            found
        }
        _ => {
            let bytes = RandomAccess::new(file, length, "file").bytes(0, length, interest.cap())?;
            return read(interest, path, &bytes);
        }
    };
    if found.is_empty() {
        return Ok(Vec::new());
    }
    // A package that comes as one file owns it.
    if let (Interest::Java, [only]) = (interest, found.as_mut_slice()) {
        only.files.push(path.to_vec());
    }
    Ok(vec![Finding::Packages(found)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_decide() {
        assert_eq!(interest(b"var/lib/dpkg/status", b""), Some(Interest::DpkgStatus));
        assert_eq!(interest(b"var/lib/dpkg/status.d/tzdata", b""), Some(Interest::DpkgStatus));
        assert_eq!(interest(b"var/lib/dpkg/status.d/tzdata.md5sums", b""), Some(Interest::DpkgSums("tzdata".into())));
        assert_eq!(interest(b"var/lib/dpkg/info/libc6:amd64.list", b""), Some(Interest::DpkgList("libc6:amd64".into())));
        assert_eq!(interest(b"srv/var/lib/dpkg/status", b""), None);
        assert_eq!(interest(b"usr/bin/x", b"\x7fELF\x02"), Some(Interest::Executable));
        assert_eq!(interest(b"usr/bin/x", b"#!/b"), None);
        assert_eq!(interest(b"a/b/app.WAR", b"PK"), Some(Interest::Java));
        assert_eq!(
            interest(b"v/site-packages/x-1.dist-info/METADATA", b""),
            Some(Interest::PythonMetadata("v/site-packages/x-1.dist-info".into()))
        );
    }

    #[test]
    fn lesson_l9_an_oversized_database_is_an_error_not_an_empty_list() {
        let mut nothing = Cursor::new(Vec::new());
        let oversized = caps::DATABASE_BYTES + 1;
        assert!(matches!(
            read_at(&Interest::DpkgStatus, b"var/lib/dpkg/status", &mut nothing, oversized),
            Err(InventoryError::TooLarge { .. })
        ));
    }
}
