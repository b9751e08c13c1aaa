//! `requirements.txt` with pinned versions and hashes.
//!
//! Source: pip's documentation, "Requirements File Format", and PEP 440, 508. Only `==VERSION` and `===VERSION` lock; anything
//! else, and includes of other files, is a gap. Files that are included are recognised by their own names.

use super::checksum::Checksum;
use super::error::LockfileError;
use super::inventory::{Ecosystem, GapKind, Inventory, Package};
use crate::purl::Purl;

/// The index that a package URL does not name.
pub(super) const DEFAULT_INDEX: &str = "https://pypi.org/simple";

pub(super) fn parse(path: &str, text: &str) -> Result<Inventory, LockfileError> {
    let mut inventory = Inventory::default();
    for line in logical_lines(text) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if line.starts_with('-') {
            let option = line.split([' ', '=']).next().unwrap_or(line);
            let names_no_package = [
                "-i",
                "--index-url",
                "--extra-index-url",
                "--no-index",
                "-f",
                "--find-links",
                "--no-binary",
                "--only-binary",
                "--prefer-binary",
                "--require-hashes",
                "--pre",
                "--trusted-host",
                "--use-feature",
            ];
            if !names_no_package.contains(&option) {
                inventory.add_gap(path, GapKind::Unsupported, line);
            }
            continue;
        }
        match requirement(line) {
            Requirement::Locked(package, hashes) => {
                let mut package = *package;
                package.found_in.insert(path.to_owned());
                for hash in hashes {
                    match Checksum::named_hex(hash) {
                        Some(checksum) => {
                            package.checksums.insert(checksum);
                        }
                        None => inventory.add_gap(path, GapKind::UnreadableChecksum, &package.purl),
                    }
                }
                inventory.add_direct(package.purl.clone());
                inventory.add(package);
            }
            Requirement::Open => inventory.add_gap(path, GapKind::UnlockedVersion, line),
            Requirement::Unnamed => inventory.add_gap(path, GapKind::Unsupported, line),
        }
    }
    Ok(inventory)
}

/// Lines with continuations joined and comments cut off.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for line in text.lines() {
        // A comment ends a line, even one that would go on.
        let comment = line.trim_start().starts_with('#').then_some(0).or_else(|| line.find(" #")).or_else(|| line.find("\t#"));
        let content = comment.and_then(|at| line.get(..at)).unwrap_or(line).trim_end();
        match content.strip_suffix('\\') {
            Some(part) if comment.is_none() => {
                open.push_str(part);
                open.push(' ');
            }
            _ => {
                open.push_str(content);
                lines.push(std::mem::take(&mut open));
            }
        }
    }
    lines.push(open);
    lines
}

enum Requirement<'a> {
    Locked(Box<Package>, Vec<&'a str>),
    Open,
    Unnamed,
}

fn requirement(line: &str) -> Requirement<'_> {
    let (line, options) = match line.find(" --") {
        Some(at) => line.split_at(at),
        None => (line, ""),
    };
    let hashes = options.split_whitespace().filter_map(|option| option.strip_prefix("--hash=")).collect();
    let end =
        line.find(|letter: char| !(letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.'))).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    if name.is_empty() || name.starts_with(['-', '_', '.']) || rest.starts_with([':', '/', '+']) {
        return Requirement::Unnamed;
    }
    let mut rest = rest.trim_start();
    if let Some(after) = rest.strip_prefix('[') {
        let Some((_, after)) = after.split_once(']') else { return Requirement::Unnamed };
        rest = after.trim_start();
    }
    if let Some(url) = rest.strip_prefix('@') {
        return at_url(name, url, hashes);
    }
    let specifier = rest.split(';').next().unwrap_or(rest).trim();
    let specifier = specifier.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(specifier).trim();
    let version = specifier.strip_prefix("==").map(|version| version.strip_prefix('=').unwrap_or(version).trim());
    match version {
        Some(version) if !version.is_empty() && !version.contains([',', '*', ' ', '@']) => {
            let purl = Purl::pypi(name, Some(version)).to_string();
            Requirement::Locked(Box::new(Package::new(Ecosystem::PyPi, name, Some(version), purl)), hashes)
        }
        _ => Requirement::Open,
    }
}

/// `name @ URL`: git with its revision, or an archive whose file name holds the version.
fn at_url<'a>(name: &str, url: &'a str, mut hashes: Vec<&'a str>) -> Requirement<'a> {
    let url = url.split(" ;").next().unwrap_or(url).trim();
    let (url, fragment) = url.split_once('#').unwrap_or((url, ""));
    if url.starts_with("git+") {
        let tail = url.rsplit('/').next().unwrap_or_default();
        let Some((_, revision)) = tail.rsplit_once('@') else { return Requirement::Open };
        let purl = Purl::pypi(name, None).with("vcs_url", url).to_string();
        let mut package = Package::new(Ecosystem::PyPi, name, Some(revision), purl);
        package.download_location = Some(url.to_owned());
        return Requirement::Locked(Box::new(package), hashes);
    }
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return Requirement::Unnamed;
    }
    let file = url.rsplit('/').next().unwrap_or_default();
    let stem = [".whl", ".tar.gz", ".zip", ".tar.bz2"].iter().find_map(|suffix| file.strip_suffix(suffix));
    // A wheel's name goes on with its tags after the version; of a source archive the last part is the version.
    let version = stem.and_then(|stem| {
        if file.ends_with(".whl") { stem.split('-').nth(1) } else { stem.rsplit_once('-').map(|(_, version)| version) }
    });
    let Some(version) = version else { return Requirement::Open };
    let purl = Purl::pypi(name, Some(version)).with("download_url", url).to_string();
    let mut package = Package::new(Ecosystem::PyPi, name, Some(version), purl);
    package.download_location = Some(url.to_owned());
    hashes.extend(fragment.split('&').filter(|part| part.starts_with("sha")));
    Requirement::Locked(Box::new(package), hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn purls(text: &str) -> Vec<String> {
        parse("requirements.txt", text).unwrap().packages().map(|package| package.purl.clone()).collect()
    }

    #[test]
    fn pinned_lines_in_all_their_spellings() {
        assert_eq!(
            purls(" Flask == 4.0 # why\nurllib3===1.26.20\nx.y_Z[a, b] ==1; python_version < '3.8'"),
            ["pkg:pypi/flask@4.0", "pkg:pypi/urllib3@1.26.20", "pkg:pypi/x-y-z@1",]
        );
        let found = parse("r", &format!("argh==0.26.2 \\\n  --hash={SUM} \\\n  --hash=sha256:00\n")).unwrap();
        assert_eq!(found.packages().next().unwrap().checksums.len(), 1);
        assert_eq!(found.gaps().next().unwrap().kind, GapKind::UnreadableChecksum);
    }

    #[test]
    fn urls_carry_their_versions() {
        assert_eq!(
            purls(
                "a @ git+https://e.org/a.git@v1.0\nb @ https://e.org/b-2.0-py3-none-any.whl#sha256=00 ; x\nc@https://e.org/c-d-3.tar.gz"
            ),
            [
                "pkg:pypi/a?vcs_url=git%2Bhttps:%2F%2Fe.org%2Fa.git%40v1.0",
                "pkg:pypi/b@2.0?download_url=https:%2F%2Fe.org%2Fb-2.0-py3-none-any.whl",
                "pkg:pypi/c@3?download_url=https:%2F%2Fe.org%2Fc-d-3.tar.gz",
            ]
        );
    }

    #[test]
    fn what_does_not_lock_is_a_gap() {
        let found =
            parse("r", "a>=1\nb==1.*\nc\nd==1,<2\n-r other.txt\n-e .\n==2.3\n./local\n--index-url https://e.org\n# x\n").unwrap();
        assert!(found.is_empty());
        let kinds: Vec<GapKind> = found.gaps().map(|gap| gap.kind).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == GapKind::UnlockedVersion).count(), 4);
        assert_eq!(kinds.iter().filter(|kind| **kind == GapKind::Unsupported).count(), 4);
    }
}
