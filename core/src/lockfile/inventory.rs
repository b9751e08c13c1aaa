//! What a tree depends on: packages, edges between them, and what could not be told.

use std::collections::{BTreeMap, BTreeSet};

use super::checksum::{Checksum, Covers};
use crate::purl;

/// Where a package comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ecosystem {
    /// Rust crates.
    Cargo,
    /// npm packages, whichever tool locked them.
    Npm,
    /// Go modules.
    Go,
    /// Python distributions.
    PyPi,
    /// Ruby gems.
    Gem,
    /// PHP packages.
    Composer,
    /// Maven artifacts, whichever tool locked them.
    Maven,
    /// .NET packages.
    NuGet,
}

/// One package at one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its ecosystem.
    pub ecosystem: Ecosystem,
    /// The name its ecosystem uses: `@scope/name`, a Go module path, `group:artifact`, `vendor/name`.
    pub name: String,
    /// The locked version; a file such as `pom.xml` may not tell it.
    pub version: Option<String>,
    /// Package URL, canonical spelling. It identifies the package within an [`Inventory`].
    pub purl: String,
    /// What its archives hash to. Python packages have one for each wheel and source archive.
    pub checksums: BTreeSet<Checksum>,
    /// The licence its author declared, as the lock file quotes it; not checked to be an SPDX expression.
    pub licence: Option<String>,
    /// Where the lock file says it is fetched from: a URL, or `git+URL@COMMIT`.
    pub download_location: Option<String>,
    /// True if every mention says it is needed for development alone.
    pub dev: bool,
    /// True if every mention says it may be absent.
    pub optional: bool,
    /// True if every mention says it is part of this tree itself: a workspace member, the main module.
    pub local: bool,
    /// Package URLs of what it depends on, all of them in the same inventory.
    pub depends_on: BTreeSet<String>,
    /// Paths of the lock files that mention it.
    pub found_in: BTreeSet<String>,
}

impl Package {
    /// A package about which nothing more is known than its name and version.
    #[must_use]
    pub fn new(ecosystem: Ecosystem, name: &str, version: Option<&str>, purl: String) -> Self {
        Self {
            ecosystem,
            name: name.to_owned(),
            version: version.filter(|version| !version.is_empty()).map(str::to_owned),
            purl,
            checksums: BTreeSet::new(),
            licence: None,
            download_location: None,
            dev: false,
            optional: false,
            local: false,
            depends_on: BTreeSet::new(),
            found_in: BTreeSet::new(),
        }
    }

    /// Takes what another mention of the same package adds. The outcome does not depend on the order of mentions.
    fn absorb(&mut self, other: Self) {
        self.checksums.extend(other.checksums);
        self.depends_on.extend(other.depends_on);
        self.found_in.extend(other.found_in);
        self.licence = smaller(self.licence.take(), other.licence);
        self.download_location = smaller(self.download_location.take(), other.download_location);
        self.version = smaller(self.version.take(), other.version);
        if other.name < self.name {
            self.name = other.name;
        }
        self.dev &= other.dev;
        self.optional &= other.optional;
        self.local &= other.local;
    }
}

/// Of two values the one that is there; of two that are there the smaller, so that order never matters.
fn smaller(one: Option<String>, other: Option<String>) -> Option<String> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Something a lock file left open, or that could not be carried over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// Path of the lock file.
    pub path: String,
    /// Which kind.
    pub kind: GapKind,
    /// The package, line or key concerned; empty for the file as a whole.
    pub subject: String,
}

/// Kinds of [`Gap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GapKind {
    /// The file looks like a lock file and could not be read; `subject` is the reason of the error.
    Unreadable,
    /// A package is required without a version that this one file could tell.
    UnlockedVersion,
    /// A checksum is not of the form its format prescribes.
    UnreadableChecksum,
    /// Two mentions of the same single archive give different checksums.
    ChecksumConflict,
    /// The format leaves indirect dependencies out, so the list is not complete.
    IndirectsUnknown,
    /// A line or entry of a kind that names no package by version: an include, a local path, an editable install.
    Unsupported,
}

impl GapKind {
    /// Stable name, PascalCase.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Unreadable => "Unreadable",
            Self::UnlockedVersion => "UnlockedVersion",
            Self::UnreadableChecksum => "UnreadableChecksum",
            Self::ChecksumConflict => "ChecksumConflict",
            Self::IndirectsUnknown => "IndirectsUnknown",
            Self::Unsupported => "Unsupported",
        }
    }
}

/// Everything found in one lock file or in all of a tree, in an order that depends on nothing but the content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    packages: BTreeMap<String, Package>,
    direct: BTreeSet<String>,
    sums: BTreeMap<String, BTreeSet<Checksum>>,
    gaps: BTreeSet<Gap>,
}

impl Inventory {
    /// The packages, ordered by package URL.
    pub fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.values()
    }

    /// The package of this package URL.
    #[must_use]
    pub fn package(&self, purl: &str) -> Option<&Package> {
        self.packages.get(purl)
    }

    /// How many packages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packages.len()
    }

    /// True if there is no package.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }

    /// Package URLs of what the tree itself holds or names as a dependency; the others come with these.
    pub fn direct(&self) -> impl Iterator<Item = &str> {
        self.direct.iter().map(String::as_str).filter(|purl| self.packages.contains_key(*purl))
    }

    /// What is not told by the lock files, ordered.
    pub fn gaps(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.iter()
    }

    /// Adds a package, or what this mention adds to one that is there.
    pub fn add(&mut self, package: Package) {
        match self.packages.get_mut(&package.purl) {
            Some(known) => known.absorb(package),
            None => {
                self.packages.insert(package.purl.clone(), package);
            }
        }
    }

    /// Marks a package as one the tree itself holds or names.
    pub fn add_direct(&mut self, purl: String) {
        self.direct.insert(purl);
    }

    /// Adds an edge between two packages; ignored unless the first is there.
    pub fn add_edge(&mut self, from: &str, to: String) {
        if let Some(package) = self.packages.get_mut(from) {
            package.depends_on.insert(to);
        }
    }

    /// Marks as direct what nothing else asks for, for formats that do not tell what the project itself asks for; of a circle that
    /// nothing reaches, its first package.
    pub(super) fn root_undemanded(&mut self) {
        self.drop_loose_edges();
        let demanded: BTreeSet<&String> = self.packages.values().flat_map(|package| &package.depends_on).collect();
        let free: Vec<String> = self.packages.keys().filter(|purl| !demanded.contains(purl)).cloned().collect();
        self.direct.extend(free);
        let mut reached = self.reachable(self.direct.iter());
        let circles: Vec<String> = self.packages.keys().filter(|purl| !reached.contains(*purl)).cloned().collect();
        for purl in circles {
            if !reached.contains(&purl) {
                reached.extend(self.reachable([&purl]));
                self.direct.insert(purl);
            }
        }
    }

    /// Everything that comes along with `from`, itself included.
    pub(super) fn reachable<'a>(&'a self, from: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
        let mut todo: Vec<&String> = from.into_iter().collect();
        let mut reached = BTreeSet::new();
        while let Some(purl) = todo.pop() {
            let Some(package) = self.packages.get(purl) else { continue };
            if reached.insert(purl.clone()) {
                todo.extend(package.depends_on.iter().filter(|purl| !reached.contains(*purl)));
            }
        }
        reached
    }

    /// Sets the marks for development of packages by a rule.
    pub(super) fn mark_dev(&mut self, is_dev: impl Fn(&Package) -> bool) {
        for package in self.packages.values_mut() {
            package.dev = is_dev(package);
        }
    }

    fn drop_loose_edges(&mut self) {
        let known: BTreeSet<String> = self.packages.keys().cloned().collect();
        for package in self.packages.values_mut() {
            package.depends_on.retain(|purl| known.contains(purl) && *purl != package.purl);
        }
    }

    /// Records checksums of a package that another file may name.
    pub fn add_sum(&mut self, purl: String, checksum: Checksum) {
        self.sums.entry(purl).or_default().insert(checksum);
    }

    /// Records a gap.
    pub fn add_gap(&mut self, path: &str, kind: GapKind, subject: &str) {
        let subject = subject.split(' ').map(purl::without_password).collect::<Vec<_>>().join(" ");
        let subject = subject.chars().take(200).collect();
        self.gaps.insert(Gap { path: path.to_owned(), kind, subject });
    }

    /// Joins what other lock files say. Commutative and associative.
    pub fn merge(&mut self, other: Self) {
        for package in other.packages.into_values() {
            self.add(package);
        }
        self.direct.extend(other.direct);
        self.gaps.extend(other.gaps);
        for (purl, sums) in other.sums {
            self.sums.entry(purl).or_default().extend(sums);
        }
        self.settle();
    }

    /// Hands recorded checksums to the packages they belong to, drops edges that lead nowhere, and notes conflicts.
    pub(super) fn settle(&mut self) {
        self.drop_loose_edges();
        for package in self.packages.values_mut() {
            package.download_location = package.download_location.take().map(|location| purl::without_password(&location));
            if let Some(sums) = self.sums.get(&package.purl) {
                package.checksums.extend(sums.iter().cloned());
            }
            if conflicting(package) {
                for path in &package.found_in {
                    self.gaps.insert(Gap {
                        path: path.clone(),
                        kind: GapKind::ChecksumConflict,
                        subject: package.purl.chars().take(200).collect(),
                    });
                }
            }
        }
    }
}

/// True if a package that is one archive has two digests by the same algorithm.
fn conflicting(package: &Package) -> bool {
    // Python packages have several archives, gems one for each platform, Maven artifacts one for each classifier.
    if !matches!(package.ecosystem, Ecosystem::Cargo | Ecosystem::Npm | Ecosystem::Go | Ecosystem::NuGet | Ecosystem::Composer) {
        return false;
    }
    let mut seen = BTreeSet::new();
    package.checksums.iter().filter(|sum| sum.covers != Covers::YarnCache).any(|sum| !seen.insert((sum.algorithm, sum.covers)))
}
