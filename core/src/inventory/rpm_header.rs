//! The header blob of one installed RPM package: index entries and a data store, big-endian (rpm's `lib/header.c`).

use super::random_access::Ints;
use super::{InventoryError, Kind, Package, Supplier, caps, field, relative};

const WHAT: &str = "RPM header";
/// rpm's own cap on index entries.
const ENTRIES: usize = 0xffff;

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const VENDOR: u32 = 1011;
const LICENSE: u32 = 1014;
const URL: u32 = 1020;
const ARCH: u32 = 1022;
const SOURCERPM: u32 = 1044;
const DIRINDEXES: u32 = 1116;
const BASENAMES: u32 = 1117;
const DIRNAMES: u32 = 1118;

struct Header<'a> {
    index: &'a [u8],
    store: &'a [u8],
}

impl<'a> Header<'a> {
    /// Type, offset and count of the last entry with this tag.
    fn entry(&self, tag: u32) -> Option<(u32, usize, usize)> {
        let raw = self.index.chunks_exact(16).rfind(|raw| Ints::big(raw).u32(0) == Some(tag))?;
        let ints = Ints::big(raw);
        Some((ints.u32(4)?, usize::try_from(ints.u32(8)?).ok()?, usize::try_from(ints.u32(12)?).ok()?))
    }

    fn text(&self, tag: u32) -> Option<String> {
        let (kind, offset, _) = self.entry(tag)?;
        // STRING, STRING_ARRAY, I18NSTRING
        matches!(kind, 6 | 8 | 9).then_some(())?;
        field(self.store.get(offset..)?.split(|byte| *byte == 0).next()?)
    }

    fn strings(&self, tag: u32) -> Vec<&'a [u8]> {
        let Some((8, offset, count)) = self.entry(tag) else { return Vec::new() };
        self.store.get(offset..).unwrap_or_default().split(|byte| *byte == 0).take(count.min(caps::OWNED_FILES)).collect()
    }

    fn int32s(&self, tag: u32) -> Vec<u32> {
        let Some((4, offset, count)) = self.entry(tag) else { return Vec::new() };
        let bytes = self.store.get(offset..).unwrap_or_default();
        bytes.chunks_exact(4).take(count.min(caps::OWNED_FILES)).filter_map(|raw| Ints::big(raw).u32(0)).collect()
    }
}

/// The package of a header blob; `None` for the pseudo packages that hold imported keys.
pub(crate) fn package(blob: &[u8]) -> Result<Option<Package>, InventoryError> {
    let ints = Ints::big(blob);
    let truncated = InventoryError::Truncated { what: WHAT, at: 0 };
    let (Some(count), Some(size)) = (ints.u32(0), ints.u32(4)) else { return Err(truncated) };
    let (count, size) = (count as usize, size as usize);
    if count > ENTRIES {
        return Err(InventoryError::TooMany { what: WHAT, limit: ENTRIES });
    }
    let end_of_index = 8 + count * 16;
    let (Some(index), Some(store)) =
        (blob.get(8..end_of_index), end_of_index.checked_add(size).and_then(|end| blob.get(end_of_index..end)))
    else {
        return Err(truncated);
    };
    let header = Header { index, store };
    let (Some(name), Some(version)) = (header.text(NAME), header.text(VERSION)) else {
        return Err(InventoryError::Malformed { what: WHAT, detail: "no name or version" });
    };
    if name == "gpg-pubkey" {
        return Ok(None);
    }
    let version = match header.text(RELEASE) {
        Some(release) => format!("{version}-{release}"),
        None => version,
    };
    let mut package = Package::new(Kind::Rpm, name, version);
    package.architecture = header.text(ARCH).filter(|architecture| architecture != "(none)");
    package.epoch = header.int32s(EPOCH).first().copied();
    package.licence = header.text(LICENSE);
    package.homepage = header.text(URL);
    package.supplier = header.text(VENDOR).map(Supplier::Organization);
    package.upstream = header.text(SOURCERPM).filter(|source| source != "(none)");
    let directories = header.strings(DIRNAMES);
    let indexes = header.int32s(DIRINDEXES);
    for (base, directory) in header.strings(BASENAMES).into_iter().zip(indexes) {
        let Some(directory) = directories.get(directory as usize) else {
            return Err(InventoryError::Malformed { what: WHAT, detail: "file in a directory that is not there" });
        };
        package.files.extend(relative(&[*directory, base].concat()));
    }
    Ok(Some(package))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A header with name, version and files.
    pub(crate) fn header(name: &str, version: &str, files: &[&str]) -> Vec<u8> {
        let mut index = Vec::new();
        let mut store = Vec::new();
        let mut entry = |tag: u32, kind: u32, count: usize, data: &[u8]| {
            for value in [tag, kind, u32::try_from(store.len()).unwrap(), u32::try_from(count).unwrap()] {
                index.extend(value.to_be_bytes());
            }
            store.extend(data);
            store.resize(store.len().next_multiple_of(4), 0);
        };
        entry(NAME, 6, 1, format!("{name}\0").as_bytes());
        entry(VERSION, 6, 1, format!("{version}\0").as_bytes());
        entry(RELEASE, 6, 1, b"1\0");
        entry(EPOCH, 4, 1, &2_u32.to_be_bytes());
        entry(LICENSE, 6, 1, b"GPL-3.0-or-later\0");
        if !files.is_empty() {
            let names: Vec<u8> = files.iter().flat_map(|f| format!("{}\0", f.rsplit('/').next().unwrap()).into_bytes()).collect();
            let dirs: Vec<u8> =
                files.iter().flat_map(|f| format!("/{}/\0", f.rsplit_once('/').unwrap().0).into_bytes()).collect();
            let indexes: Vec<u8> = (0..files.len()).flat_map(|i| u32::try_from(i).unwrap().to_be_bytes()).collect();
            entry(DIRINDEXES, 4, files.len(), &indexes);
            entry(BASENAMES, 8, files.len(), &names);
            entry(DIRNAMES, 8, files.len(), &dirs);
        }
        let mut blob = Vec::new();
        blob.extend(u32::try_from(index.len() / 16).unwrap().to_be_bytes());
        blob.extend(u32::try_from(store.len()).unwrap().to_be_bytes());
        blob.extend(index);
        blob.extend(store);
        blob
    }

    #[test]
    fn tags_and_files() {
        let found = package(&header("bash", "5.2", &["usr/bin/bash", "etc/skel/.bashrc"])).unwrap().unwrap();
        assert_eq!((found.name.as_str(), found.version.as_str(), found.epoch), ("bash", "5.2-1", Some(2)));
        assert_eq!(found.files, [b"usr/bin/bash".to_vec(), b"etc/skel/.bashrc".to_vec()]);
    }

    #[test]
    fn cut_headers_are_errors() {
        let blob = header("bash", "5.2", &["usr/bin/bash"]);
        for length in 0..blob.len() {
            assert!(package(&blob[..length]).is_err(), "{length}");
        }
    }
}
