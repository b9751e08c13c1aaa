//! E1 on trees and commits made here: accepted as they are, refused after any change.

use proptest::prelude::*;

use super::*;
use crate::evidence::{SignatureDocument, SourceEvidence};
use crate::git::commit::write_commits;
use crate::git::{Commits, Mode, ObjectFormat, parse_commits};
use crate::reason::Reason;
use crate::spdx::{Document, Package, Relationship};
use crate::tree::{Difference, Entry, SBOM_PATH, SourceTree};

/// A repository of one parent and one commit, with SBOM and a signature, as evidence would bring it.
#[derive(Debug, Clone)]
struct Scene {
    format: ObjectFormat,
    files: Vec<Entry>,
    parents: Vec<Vec<u8>>,
    stale: Vec<Entry>,
}

const WHO: &str = "A U Thor <author@example.com>";

fn entry(format: ObjectFormat, path: &[u8], mode: Mode, bytes: &[u8]) -> Entry {
    Entry::of_bytes(path.to_vec(), mode, bytes, format)
}

impl Scene {
    fn new(format: ObjectFormat) -> Self {
        let mut files = vec![
            entry(format, b"README.md", Mode::Regular, b"hello\n"),
            entry(format, b"empty", Mode::Regular, b""),
            entry(format, b"bin/run", Mode::Executable, b"#!/bin/sh\n"),
            entry(format, b"link", Mode::Symlink, b"../../etc/passwd"),
            entry(format, b"odd/\xff 100%\n", Mode::Regular, b"x"),
            entry(format, b"old", Mode::GroupWritable, b"x"),
            entry(
                format,
                b"big.lfs",
                Mode::Regular,
                b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5000000000\n",
            ),
        ];
        files.push(Entry::submodule(b"vendor/lib".to_vec(), format.oid("commit", b"elsewhere")));
        let empty = format.oid("tree", b"");
        let root = format!("tree {empty}\nauthor {WHO} 1000000000 +0000\ncommitter {WHO} 1000000000 +0000\n\nroot\n");
        Self { format, files, parents: vec![root.into_bytes()], stale: Vec::new() }
    }

    fn tree(&self) -> SourceTree {
        SourceTree::new(self.files.iter().chain(&self.stale).cloned().collect()).unwrap()
    }

    fn parent_ids(&self) -> Vec<GitOid> {
        self.parents.iter().map(|parent| self.format.oid("commit", parent)).collect()
    }

    fn place(&self, carrier: Carrier, created: i64) -> Place {
        Place {
            url: "https://example.com/team/app".parse().unwrap(),
            reference: "refs/heads/main".parse().unwrap(),
            parents: self.parent_ids(),
            carrier,
            created: Timestamp::from_seconds(created).unwrap(),
        }
    }

    fn commit(&self, tree: GitOid) -> Vec<u8> {
        let parents: String = self.parent_ids().iter().map(|parent| format!("parent {parent}\n")).collect();
        format!("tree {tree}\n{parents}author {WHO} 1100000000 +0000\ncommitter {WHO} 1200000000 +0100\n\nsecond\n").into_bytes()
    }

    fn commits(&self, head: &[u8]) -> Vec<u8> {
        write_commits(std::iter::once(head).chain(self.parents.iter().map(Vec::as_slice)))
    }

    /// Evidence in the tree carrier, with one signature.
    fn in_tree(&self) -> SourceEvidence {
        let created = if self.parents.is_empty() { 0 } else { 1_000_000_000 };
        let sbom = document(&self.place(Carrier::Tree, created), &self.tree(), Parts::default()).to_bytes().unwrap();
        let signature = SignatureDocument {
            media_type: "application/vnd.assay.signature.v1".to_owned(),
            file_name: "alice.sig".to_owned(),
            bytes: b"signature".to_vec(),
        };
        let (sbom_id, signature_id) = (self.format.oid("blob", &sbom), self.format.oid("blob", &signature.bytes));
        let carried = [(SBOM_PATH.as_bytes(), sbom_id), (b".assay/signatures/alice.sig".as_slice(), signature_id)];
        let root = self.tree().root(carried, self.format).unwrap();
        SourceEvidence { commits: self.commits(&self.commit(root)), sbom, signatures: vec![signature] }
    }

    /// Evidence in the note carrier.
    fn in_note(&self) -> SourceEvidence {
        let head = self.commit(self.tree().root([], self.format).unwrap());
        let place = self.place(Carrier::Note(self.format.oid("commit", &head)), 1_200_000_000);
        let sbom = document(&place, &self.tree(), Parts::default()).to_bytes().unwrap();
        SourceEvidence { commits: self.commits(&head), sbom, signatures: Vec::new() }
    }

    /// The commit's tree as git would list it.
    fn checked_out(&self, evidence: &SourceEvidence) -> SourceTree {
        let mut list = self.files.clone();
        list.extend(self.stale.iter().cloned());
        if read(&Document::parse(&evidence.sbom).unwrap()).unwrap().place.carrier == Carrier::Tree {
            list.push(entry(self.format, SBOM_PATH.as_bytes(), Mode::Regular, &evidence.sbom));
            for signature in &evidence.signatures {
                let path = format!(".assay/signatures/{}", signature.file_name);
                list.push(entry(self.format, path.as_bytes(), Mode::Regular, &signature.bytes));
            }
        }
        SourceTree::new(list).unwrap()
    }
}

fn commits_of(evidence: &SourceEvidence) -> Commits {
    parse_commits(&evidence.commits).unwrap()
}

fn reason(evidence: &SourceEvidence) -> Reason {
    verify_replay(evidence).unwrap_err().reason()
}

#[test]
fn both_carriers_and_both_formats_verify_with_and_without_git() {
    for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
        let scene = Scene::new(format);
        for evidence in [scene.in_tree(), scene.in_note()] {
            let facts = verify_replay(&evidence).unwrap();
            assert_eq!(facts, verify_tree(&evidence.sbom, &scene.checked_out(&evidence), &commits_of(&evidence)).unwrap());
            assert_eq!(facts.tree_digest, scene.tree().digest());
            assert_eq!(facts.parents, scene.parent_ids());
            assert_eq!(facts.commit, commits_of(&evidence).head.id);
            assert_eq!(facts.commit_time.seconds(), 1_200_000_000);
            assert_eq!(facts.reference.as_str(), "refs/heads/main");
            assert_eq!(facts.sbom_digest, Digest::of(&evidence.sbom));
        }
    }
}

#[test]
fn empty_trees_and_root_commits_verify() {
    for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
        let scene = Scene { format, files: Vec::new(), parents: Vec::new(), stale: Vec::new() };
        for evidence in [scene.in_tree(), scene.in_note()] {
            let facts = verify_replay(&evidence).unwrap();
            assert_eq!(facts.tree_digest, Digest::of(b""));
            assert!(facts.parents.is_empty());
        }
        let document = Document::parse(&scene.in_tree().sbom).unwrap();
        assert_eq!(document.creation_info.created, "1970-01-01T00:00:00Z");
        assert_eq!(
            document.packages[0].package_verification_code.as_ref().unwrap().package_verification_code_value,
            "da39a3ee5e6b4b0d3255bfef95601890afd80709"
        );
    }
}

#[test]
fn a_note_covers_the_carrier_that_a_squash_took_along() {
    let mut scene = Scene::new(ObjectFormat::Sha1);
    scene.stale = vec![
        entry(scene.format, SBOM_PATH.as_bytes(), Mode::Regular, b"of another commit"),
        entry(scene.format, b".assay/signatures/bob.sshsig", Mode::Regular, b"old"),
    ];
    let evidence = scene.in_note();
    let facts = verify_replay(&evidence).unwrap();
    assert_eq!(facts.tree_digest, Scene::new(ObjectFormat::Sha1).tree().digest());
    assert!(verify_tree(&evidence.sbom, &scene.checked_out(&evidence), &commits_of(&evidence)).is_ok());
    let mut other = scene.clone();
    other.stale.pop();
    let error = verify_tree(&evidence.sbom, &other.checked_out(&evidence), &commits_of(&evidence)).unwrap_err();
    assert!(matches!(&error, SourceError::Files { differences, .. } if differences.len() == 1), "{error}");
}

#[test]
fn the_document_says_what_the_interfaces_page_fixes() {
    let scene = Scene::new(ObjectFormat::Sha1);
    let document = Document::parse(&scene.in_tree().sbom).unwrap();
    let root = document.package(SOURCE_ID).unwrap();
    assert_eq!(root.download_location, "git+https://example.com/team/app@refs/heads/main");
    assert_eq!(root.checksum("SHA256").unwrap(), scene.tree().digest().hex());
    assert_eq!(root.files_analyzed, Some(true));
    assert_eq!(document.creation_info.created, "2001-09-09T01:46:40Z");
    assert_eq!(document.packages[1].version_info.as_deref(), Some(scene.parent_ids()[0].to_string().as_str()));
    assert!(document.relationships.contains(&Relationship::new(SOURCE_ID, "DESCENDANT_OF", "SPDXRef-Parent-1")));
    let readme = document.files.iter().find(|file| file.file_name == "./README.md").unwrap();
    assert_eq!(readme.comment.as_deref(), Some("100644 gitoid:blob:sha1:ce013625030ba8dba906f756967f9e9ca394464a"));
    assert!(document.files.iter().any(|file| file.file_name == "./odd/%FF 100%25%0A"));
    let tree = scene.tree().digest().hex();
    assert!(document.document_namespace.starts_with(&format!("https://assay.dev/spdx/source/{tree}/")));
    let note = Document::parse(&scene.in_note().sbom).unwrap();
    let commit = commits_of(&scene.in_note()).head.id;
    assert!(note.document_namespace.ends_with(&format!("/{commit}")));
    assert_eq!(note.packages[0].download_location, format!("git+https://example.com/team/app@{commit}"));
}

#[test]
fn dependencies_and_merged_parts_do_not_disturb_the_tree() {
    let scene = Scene::new(ObjectFormat::Sha1);
    let mut document = Document::parse(&scene.in_tree().sbom).unwrap();
    document.packages.push(Package::new("SPDXRef-Package-x", "x", "NOASSERTION"));
    document.relationships.push(Relationship::new(SOURCE_ID, "DEPENDS_ON", "SPDXRef-Package-x"));
    document.relationships.push(Relationship::new(SOURCE_ID, "CONTAINS", "SPDXRef-Package-x"));
    let mut foreign = document.files[0].clone();
    foreign.spdx_id = "SPDXRef-foreign".to_owned();
    document.files.push(foreign);
    document.relationships.push(Relationship::new("SPDXRef-Package-x", "CONTAINS", "SPDXRef-foreign"));
    assert_eq!(read(&document).unwrap().tree, scene.tree());
}

#[test]
fn threat_an_old_signed_tree_on_top_of_main_is_refused() {
    let scene = Scene::new(ObjectFormat::Sha1);
    let mut evidence = scene.in_tree();
    // The same tree, with its SBOM and signature, committed again on another parent.
    let tree = commits_of(&evidence).head.commit.tree;
    let mut later = scene.clone();
    later.parents[0] = String::from_utf8(later.parents[0].clone()).unwrap().replace("root", "main").into_bytes();
    evidence.commits = later.commits(&later.commit(tree));
    assert_eq!(reason(&evidence), Reason::ParentsMismatch);
    let error = verify_replay(&evidence).unwrap_err().to_string();
    assert!(error.contains(&scene.parent_ids()[0].to_string()) && error.contains(&later.parent_ids()[0].to_string()), "{error}");
}

#[test]
fn threat_a_note_of_another_commit_is_refused() {
    let scene = Scene::new(ObjectFormat::Sha1);
    let mut evidence = scene.in_note();
    let head = scene.commit(scene.tree().root([], scene.format).unwrap());
    let other = String::from_utf8(head).unwrap().replace("second", "third").into_bytes();
    evidence.commits = scene.commits(&other);
    assert_eq!(reason(&evidence), Reason::CommitMismatch);
}

#[test]
fn parents_dropped_added_or_swapped_are_refused() {
    let mut scene = Scene::new(ObjectFormat::Sha1);
    let second = String::from_utf8(scene.parents[0].clone()).unwrap().replace("root", "side").into_bytes();
    scene.parents.push(second);
    let evidence = scene.in_tree();
    assert!(verify_replay(&evidence).is_ok());
    let tree = commits_of(&evidence).head.commit.tree;
    let changes: [fn(&mut Vec<Vec<u8>>); 3] = [|p| p.swap(0, 1), |p| drop(p.pop()), |p| p.clear()];
    for change in changes {
        let mut other = scene.clone();
        change(&mut other.parents);
        let changed = SourceEvidence { commits: other.commits(&other.commit(tree)), ..evidence.clone() };
        assert_eq!(reason(&changed), Reason::ParentsMismatch);
    }
}

#[test]
fn threat_files_extra_missing_renamed_or_changed_are_listed_with_both_digests() {
    let scene = Scene::new(ObjectFormat::Sha1);
    let evidence = scene.in_tree();
    let differences = |change: &dyn Fn(&mut Vec<Entry>)| {
        let mut other = scene.clone();
        change(&mut other.files);
        let mut found = other.checked_out(&evidence).entries().to_vec();
        found.extend(scene.checked_out(&evidence).evidence().iter().cloned());
        let found = SourceTree::new(found).unwrap();
        match verify_tree(&evidence.sbom, &found, &commits_of(&evidence)) {
            Err(SourceError::Files { differences, .. }) => differences
                .iter()
                .map(|d: &Difference| format!("{} {} {}", d.word(), d.expected(), d.found()))
                .collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    };
    let before = scene.files[0].summary();
    assert_eq!(differences(&|files| drop(files.remove(0))), [format!("missing {before} none")]);
    let changed = entry(scene.format, b"README.md", Mode::Regular, b"hullo\n");
    assert_eq!(differences(&|files| files[0] = changed.clone()), [format!("changed {before} {}", changed.summary())]);
    assert_eq!(differences(&|files| files[0].path = b"readme.md".to_vec()).len(), 2);
    let link = entry(scene.format, b"README.md", Mode::Symlink, b"hello\n");
    assert_eq!(differences(&|files| files[0] = link.clone()), [format!("changed {before} {}", link.summary())]);
    let extra = entry(scene.format, b"zzz", Mode::Regular, b"");
    assert_eq!(differences(&|files| files.push(extra.clone())), [format!("extra none {}", extra.summary())]);
}

#[test]
fn an_sbom_in_the_tree_that_is_not_the_one_given_is_refused() {
    let scene = Scene::new(ObjectFormat::Sha1);
    let evidence = scene.in_tree();
    let mut list = scene.checked_out(&evidence).entries().to_vec();
    for carried in [None, Some(entry(scene.format, SBOM_PATH.as_bytes(), Mode::Regular, b"{}"))] {
        list.extend(carried);
        let found = SourceTree::new(list.clone()).unwrap();
        let error = verify_tree(&evidence.sbom, &found, &commits_of(&evidence)).unwrap_err();
        assert!(matches!(error, SourceError::OtherSbom { .. }), "{error}");
    }
}

#[test]
fn signatures_carried_in_the_tree_are_part_of_it() {
    let evidence = Scene::new(ObjectFormat::Sha1).in_tree();
    let with = |change: &dyn Fn(&mut Vec<SignatureDocument>)| {
        let mut changed = evidence.clone();
        change(&mut changed.signatures);
        verify_replay(&changed)
    };
    assert_eq!(with(&|s| s.clear()).unwrap_err().reason(), Reason::TreeMismatch);
    assert_eq!(with(&|s| s[0].bytes.push(0)).unwrap_err().reason(), Reason::TreeMismatch);
    assert_eq!(with(&|s| s[0].file_name = "bob.sig".into()).unwrap_err().reason(), Reason::TreeMismatch);
    assert!(matches!(with(&|s| s[0].file_name = "../x.sig".into()), Err(SourceError::SignatureName { .. })));
    // One that came from elsewhere has no name and was not in the tree.
    let elsewhere = SignatureDocument { media_type: String::new(), file_name: String::new(), bytes: b"x".to_vec() };
    assert!(with(&|s| s.push(elsewhere.clone())).is_ok());
}

#[test]
fn lesson_l2_only_the_canonical_bytes_are_read() {
    let mut evidence = Scene::new(ObjectFormat::Sha1).in_tree();
    evidence.sbom.pop();
    assert!(matches!(verify_replay(&evidence), Err(SourceError::NotCanonical { .. })));
    evidence.sbom.extend_from_slice(b" \n");
    assert!(matches!(verify_replay(&evidence), Err(SourceError::NotCanonical { .. })));
}

#[test]
fn a_time_that_does_not_follow_from_the_commits_is_refused() {
    let scene = Scene::new(ObjectFormat::Sha1);
    let head = scene.commit(scene.tree().root([], scene.format).unwrap());
    let place = scene.place(Carrier::Note(scene.format.oid("commit", &head)), 1_200_000_001);
    let sbom = document(&place, &scene.tree(), Parts::default()).to_bytes().unwrap();
    let evidence = SourceEvidence { commits: scene.commits(&head), sbom, signatures: Vec::new() };
    assert!(matches!(verify_replay(&evidence), Err(SourceError::Created { .. })));
}

/// Documents that are canonical SPDX but lie about themselves.
#[test]
fn documents_that_contradict_themselves_are_refused() {
    let good = Document::parse(&Scene::new(ObjectFormat::Sha1).in_tree().sbom).unwrap();
    assert!(read(&good).is_ok());
    let changes: [&dyn Fn(&mut Document); 17] = [
        &|d| d.packages[0].checksums[0].checksum_value = "0".repeat(64),
        &|d| d.packages[0].checksums.clear(),
        &|d| d.packages[0].version_info = Some("refs/heads/other".into()),
        &|d| d.packages[0].version_info = None,
        &|d| d.packages[0].download_location = "git+https://example.com/team/app.git@refs/heads/main".into(),
        &|d| d.packages[0].download_location = "https://example.com/team/app@refs/heads/main".into(),
        &|d| d.packages[0].download_location = "git+https://example.com/team/other".into(),
        &|d| d.packages[0].package_verification_code = None,
        &|d| d.packages[1].version_info = Some("main".into()),
        &|d| d.packages[0].spdx_id = "SPDXRef-Other".into(),
        &|d| d.document_namespace.push('0'),
        &|d| d.files[0].file_name = "README.md".into(),
        &|d| d.files[0].file_name = "./a/../b".into(),
        &|d| d.files[0].comment = Some("100644 gitoid:tree:sha1:ce013625030ba8dba906f756967f9e9ca394464a".into()),
        &|d| d.files[0].comment = None,
        &|d| drop(d.files.pop()),
        &|d| d.relationships.push(Relationship::new("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Parent-1")),
    ];
    for (n, change) in changes.iter().enumerate() {
        let mut document = good.clone();
        change(&mut document);
        assert!(read(&document).is_err(), "change {n} was not noticed");
    }
    for verb in ["CONTAINS", "DESCENDANT_OF"] {
        let again = good.relationships.iter().find(|r| r.relationship_type == verb).unwrap().clone();
        let mut document = good.clone();
        document.relationships.push(again);
        assert!(read(&document).is_err(), "{verb} twice was not noticed");
    }
}

fn any_mode() -> impl Strategy<Value = Mode> {
    prop::sample::select(vec![Mode::Regular, Mode::Executable, Mode::Symlink])
}

prop_compose! {
    fn any_scene()(
        sha256 in any::<bool>(),
        files in prop::collection::btree_map("[a-c]{1,2}(/[d-f\u{e4}%.]{1,2}){0,2}", (any_mode(), prop::collection::vec(any::<u8>(), 0..8)), 1..8),
    ) -> Scene {
        let format = if sha256 { ObjectFormat::Sha256 } else { ObjectFormat::Sha1 };
        let files = files.iter().filter(|(path, _)| !path.split('/').any(|c| c == "." || c == ".."))
            .map(|(path, (mode, bytes))| entry(format, path.as_bytes(), *mode, bytes)).collect();
        Scene { files, ..Scene::new(format) }
    }
}

proptest! {
    /// Any change of one byte, mode, name or file breaks E1.
    #[test]
    fn any_change_of_the_tree_breaks_e1(scene in any_scene(), which in any::<prop::sample::Index>(), kind in 0..5, byte in any::<u8>()) {
        prop_assume!(!scene.files.is_empty());
        prop_assume!(scene.tree().root([], scene.format).is_ok());
        let evidence = scene.in_note();
        prop_assert!(verify_replay(&evidence).is_ok());
        let mut changed = scene.clone();
        let at = which.index(changed.files.len());
        let file = changed.files[at].clone();
        match kind {
            0 => changed.files[at] = entry(scene.format, &file.path, file.mode, &[file.oid.as_bytes(), &[byte]].concat()),
            1 => changed.files[at].mode = if file.mode == Mode::Regular { Mode::Executable } else { Mode::Regular },
            2 => changed.files[at].path.push(b'x'),
            3 => drop(changed.files.remove(at)),
            _ => changed.files.push(entry(scene.format, b"zz", Mode::Regular, &[byte])),
        }
        prop_assume!(changed.tree().root([], scene.format).is_ok());
        // The changed tree under the unchanged SBOM, with git and without.
        let head = changed.commit(changed.tree().root([], scene.format).unwrap());
        let replayed = SourceEvidence { commits: changed.commits(&head), ..evidence.clone() };
        prop_assert!(verify_replay(&replayed).is_err());
        prop_assert!(verify_tree(&evidence.sbom, &changed.tree(), &commits_of(&replayed)).is_err());
        prop_assert!(verify_tree(&evidence.sbom, &changed.tree(), &commits_of(&evidence)).is_err());
        // And the changed SBOM under the unchanged commit.
        let lying = SourceEvidence { sbom: changed.in_note().sbom, ..evidence };
        prop_assert!(verify_replay(&lying).is_err());
    }

    /// Any change of one byte of the SBOM or of the commit breaks E1, or changes what the facts say.
    #[test]
    fn any_changed_byte_is_noticed(at in any::<prop::sample::Index>(), flip in 1..=255u8, in_sbom in any::<bool>()) {
        let evidence = Scene::new(ObjectFormat::Sha1).in_tree();
        let facts = verify_replay(&evidence).unwrap();
        let mut changed = evidence;
        let bytes = if in_sbom { &mut changed.sbom } else { &mut changed.commits };
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        match verify_replay(&changed) {
            Ok(other) => prop_assert!(!in_sbom && other.commit != facts.commit, "{other:?}"),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn documents_are_a_function_of_their_input(scene in any_scene()) {
        let mut shuffled = scene.clone();
        shuffled.files.reverse();
        prop_assert_eq!(scene.tree().digest(), shuffled.tree().digest());
        if scene.tree().root([], scene.format).is_ok() {
            prop_assert_eq!(scene.in_tree().sbom, shuffled.in_tree().sbom);
        }
    }
}
