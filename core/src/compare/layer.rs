//! Comparing layers entry by entry.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::{Cause, Difference, TOLD};
use crate::digest::{Digest, Sha256};
use crate::oci::layer::{TarEntry, TarError, TarKind, TarReader, plan};

/// What is kept of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Summary {
    /// Its place in the archive, from 0.
    place: usize,
    head: TarEntry,
    content: Digest,
}

/// Every entry of a layer, with the digest of its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerSummary {
    entries: BTreeMap<Vec<u8>, Summary>,
    order: Vec<Vec<u8>>,
}

/// Where a file's content is in a layer: offset and size, in bytes.
pub type Extent = (u64, u64);

impl LayerSummary {
    /// Paths of regular files that both layers have with other content, and where their content is: offset and size in each.
    #[must_use]
    pub fn changed_files(&self, other: &Self) -> Vec<(String, Extent, Extent)> {
        self.entries
            .iter()
            .filter_map(|(path, first)| {
                let second = other.entries.get(path)?;
                let files = first.head.kind == TarKind::File && second.head.kind == TarKind::File;
                (files && first.content != second.content).then(|| {
                    let place = |summary: &Summary| (summary.head.offset, summary.head.size);
                    (String::from_utf8_lossy(path).into_owned(), place(first), place(second))
                })
            })
            .take(TOLD)
            .collect()
    }
}

/// Reads an uncompressed layer once.
///
/// # Errors
/// See [`TarError`]; a path that comes twice is [`TarError::Ambiguous`].
pub fn summarize<R: Read>(tar: R) -> Result<LayerSummary, TarError> {
    let mut reader = TarReader::new(tar, plan::ENTRIES);
    let mut summary = LayerSummary::default();
    let mut buffer = vec![0; 64 * 1024];
    while let Some(head) = reader.next_entry()? {
        let mut hash = Sha256::new();
        {
            let mut content = reader.content();
            loop {
                match content.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => hash.update(buffer.get(..read).unwrap_or_default()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(source) => return Err(TarError::Read { source }),
                }
            }
        }
        let name = head.path.strip_prefix(b"./").unwrap_or(&head.path);
        let path = name.strip_suffix(b"/").unwrap_or(name).to_vec();
        let offset = head.offset;
        let entry = Summary { place: summary.order.len(), head, content: hash.finish() };
        if summary.entries.insert(path.clone(), entry).is_some() {
            return Err(TarError::Ambiguous { offset, what: "two entries of one path" });
        }
        summary.order.push(path);
    }
    Ok(summary)
}

/// The differences of two layers beside bytes of files, which [`LayerSummary::changed_files`] names; at most [`TOLD`].
#[must_use]
pub fn layers(place: usize, first: &LayerSummary, second: &LayerSummary) -> Vec<Difference> {
    let mut found = Vec::new();
    let name = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    for (path, one) in &first.entries {
        match second.entries.get(path) {
            None => found.push(Difference::new(Some(place), &name(path), "entry", "present", "absent", Cause::OnlyInOne)),
            Some(two) => heads(place, &name(path), &one.head, &two.head, &mut found),
        }
        if found.len() >= TOLD {
            return found;
        }
    }
    for path in second.entries.keys().filter(|path| !first.entries.contains_key(*path)) {
        found.push(Difference::new(Some(place), &name(path), "entry", "absent", "present", Cause::OnlyInOne));
        if found.len() >= TOLD {
            return found;
        }
    }
    // The order of what both have.
    let common = |one: &LayerSummary, other: &LayerSummary| -> Vec<Vec<u8>> {
        one.order.iter().filter(|path| other.entries.contains_key(*path)).cloned().collect()
    };
    let (one, two) = (common(first, second), common(second, first));
    if let Some((left, right)) = one.iter().zip(&two).find(|(left, right)| left != right) {
        found.push(Difference::new(Some(place), &name(left), "order", name(left), name(right), Cause::Order));
    }
    found
}

fn heads(place: usize, path: &str, one: &TarEntry, two: &TarEntry, found: &mut Vec<Difference>) {
    let mut tell = |field: &str, first: String, second: String, cause| {
        if first != second {
            found.push(Difference::new(Some(place), path, field, first, second, cause));
        }
    };
    let owner = |entry: &TarEntry| format!("{}:{}", entry.uid, entry.gid);
    let names = |entry: &TarEntry| format!("{}:{}", String::from_utf8_lossy(&entry.uname), String::from_utf8_lossy(&entry.gname));
    let link = |entry: &TarEntry| String::from_utf8_lossy(&entry.link).into_owned();
    tell("type", format!("{:?}", one.kind), format!("{:?}", two.kind), Cause::Content);
    tell("mode", format!("{:04o}", one.mode), format!("{:04o}", two.mode), Cause::Permissions);
    tell("owner", owner(one), owner(two), Cause::Permissions);
    tell("owner names", names(one), names(two), Cause::Permissions);
    tell("mtime", one.mtime.to_string(), two.mtime.to_string(), Cause::TimeStamp);
    let cause = if one.link.starts_with(b"/") || two.link.starts_with(b"/") { Cause::Path } else { Cause::Content };
    tell("link", link(one), link(two), cause);
    tell("device", format!("{:?}", one.device), format!("{:?}", two.device), Cause::Content);
    tell("extended attributes", format!("{:?}", one.xattrs), format!("{:?}", two.xattrs), Cause::Content);
    tell("pax records", format!("{:?}", one.other_pax), format!("{:?}", two.other_pax), Cause::TimeStamp);
}
