//! Edge E1 on repositories made by git itself: the tree digest by the documented pipeline, tree ids rebuilt from SBOMs, both object
//! formats, and what merges, rebases, squashes and reverts do to a signed tree.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests, outside #[test]

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use assay_adapters::git::{ContentCache, Depth, Repository, export};
use assay_core::digest::GitOid;
use assay_core::evidence::SourceEvidence;
use assay_core::git::Note;
use assay_core::reason::Reason;
use assay_core::spdx::Document;
use assay_core::spdx::source::{Carrier, Parts, Place, document, read, verify_replay, verify_tree};
use assay_core::tree::{SBOM_PATH, SourceTree};

/// A working copy made by git, with an environment of its own.
struct Workshop {
    folder: tempfile::TempDir,
}

impl Workshop {
    fn new(format: &str) -> Self {
        let shop = Self { folder: tempfile::tempdir().unwrap() };
        shop.git(&["init", "--quiet", &format!("--object-format={format}"), "--initial-branch=main", "."]);
        shop.git(&["remote", "add", "origin", "https://someone:secret@example.com/team/app.git"]);
        shop
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command
            .current_dir(self.path())
            .args(["-c", "commit.gpgsign=false", "-c", "protocol.file.allow=always"])
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path().join(".git"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_EDITOR", "true")
            .envs([("GIT_AUTHOR_NAME", "A"), ("GIT_AUTHOR_EMAIL", "a@example.com"), ("GIT_AUTHOR_DATE", "1700000000 +0100")])
            .envs([
                ("GIT_COMMITTER_NAME", "C"),
                ("GIT_COMMITTER_EMAIL", "c@example.com"),
                ("GIT_COMMITTER_DATE", "1700000100 +0000"),
            ]);
        let output = command.output().expect("git must be installed: apt-get install git");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    fn write(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn repository(&self) -> Repository {
        Repository::open(self.path()).unwrap()
    }

    fn head(&self) -> GitOid {
        self.git(&["rev-parse", "HEAD"]).parse().unwrap()
    }

    /// Everything odd that a tree can hold.
    fn fill(&self) {
        self.write("README.md", b"hello\n");
        self.write("empty", b"");
        self.write("a.b", b"sorts before a/");
        self.write("a/c", b"in a");
        self.write("a0", b"sorts after a/");
        self.write("crlf.txt", b"one\r\ntwo\r\n");
        self.write(".gitattributes", b"*.txt text eol=crlf\n*.id ident\n");
        self.write("x.id", b"$Id$\n");
        self.write("100% \t\"quoted\"\nname", b"x");
        self.write(Path::new(std::ffi::OsStr::from_bytes(b"latin1-\xe4\xf6\xfc")), b"x");
        self.write("big.bin", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n");
        self.write("run.sh", b"#!/bin/sh\n");
        std::fs::set_permissions(self.path().join("run.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("../../etc/passwd", self.path().join("link")).unwrap();
        self.git(&["add", "-A"]);
        std::fs::create_dir_all(self.path().join("vendor/lib")).unwrap();
        let elsewhere = "1".repeat(self.git(&["hash-object", "README.md"]).len());
        self.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{elsewhere},vendor/lib")]);
    }

    /// Commits the index with an SBOM in the tree, as the hook does. Signatures are not this test's subject.
    fn commit(&self, message: &str) -> GitOid {
        self.stage_sbom();
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.head()
    }

    fn stage_sbom(&self) {
        let repository = self.repository();
        let parents = repository.next_parents().unwrap();
        let place = Place {
            url: repository.remote_url().unwrap(),
            reference: repository.branch().unwrap(),
            created: repository.newest_time(&parents).unwrap(),
            parents,
            carrier: Carrier::Tree,
        };
        let tree = repository.index_tree(&mut ContentCache::in_memory()).unwrap();
        self.write(SBOM_PATH, &document(&place, &tree, Parts::default()).to_bytes().unwrap());
        self.git(&["add", "-f", SBOM_PATH]);
    }

    fn tree(&self, commit: &GitOid) -> SourceTree {
        let repository = self.repository();
        let tree = repository.commit(commit).unwrap().commit.tree;
        repository.commit_tree(&tree).unwrap()
    }

    /// The SBOM that the commit carries in its tree, as source evidence.
    fn evidence(&self, commit: &GitOid) -> SourceEvidence {
        let repository = self.repository();
        let tree = self.tree(commit);
        let sbom = tree.evidence().iter().find(|entry| entry.path == SBOM_PATH.as_bytes()).expect("the tree must carry an SBOM");
        SourceEvidence {
            sbom: repository.object(&sbom.oid, "blob").unwrap(),
            commits: repository.raw_history(commit).unwrap(),
            signatures: Vec::new(),
        }
    }

    /// E1 with git and without: both must say the same.
    fn judge(&self, commit: &GitOid) -> Result<(), Reason> {
        let evidence = self.evidence(commit);
        let replayed = verify_replay(&evidence);
        let at_gate = verify_tree(&evidence.sbom, &self.tree(commit), &self.repository().history(commit).unwrap());
        match (replayed, at_gate) {
            (Ok(a), Ok(b)) => {
                assert_eq!(a, b);
                assert_eq!(a.commit, *commit);
                assert_eq!(a.tree.to_string(), self.git(&["rev-parse", &format!("{commit}^{{tree}}")]));
                Ok(())
            }
            (Err(a), Err(_)) => Err(a.reason()),
            (a, b) => panic!("replay says {a:?}, the gate says {b:?}"),
        }
    }

    /// Writes a note for a commit that exists, and judges it.
    fn note(&self, commit: &GitOid) -> Result<(), Reason> {
        let mut repository = self.repository();
        let object = repository.commit(commit).unwrap().commit;
        let place = Place {
            url: repository.remote_url().unwrap(),
            reference: "refs/heads/main".parse().unwrap(),
            parents: object.parents.clone(),
            carrier: Carrier::Note(*commit),
            created: object.committer_time,
        };
        let sbom = document(&place, &self.tree(commit), Parts::default()).to_bytes().unwrap();
        let note = Note { commit: *commit, files: [(SBOM_PATH.to_owned(), sbom)].into() };
        repository.write_note(&note).unwrap();
        let found = self.repository().note(commit).unwrap().expect("the note must be there");
        assert_eq!(found, note);
        let evidence = SourceEvidence {
            sbom: found.files[SBOM_PATH].clone(),
            commits: repository.raw_history(commit).unwrap(),
            signatures: Vec::new(),
        };
        verify_replay(&evidence).map(drop).map_err(|error| error.reason())
    }
}

/// The pipeline of docs/source-sbom.md, as it stands there.
fn documented_pipeline() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/source-sbom.md");
    let text = std::fs::read_to_string(page).unwrap();
    let (_, rest) = text.split_once("```bash\n").expect("docs/source-sbom.md must show the pipeline");
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_documented_pipeline_computes_the_tree_digest() {
    for format in ["sha1", "sha256"] {
        let shop = Workshop::new(format);
        shop.fill();
        let commit = shop.commit("first");
        let script = shop.path().join(".git").join("pipeline.sh");
        std::fs::write(&script, documented_pipeline()).unwrap();
        let output = Command::new("bash").arg(&script).arg(commit.to_string()).current_dir(shop.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), shop.tree(&commit).digest().hex());
    }
}

#[test]
fn trees_rebuilt_from_sboms_are_gits_in_both_formats() {
    for format in ["sha1", "sha256"] {
        let shop = Workshop::new(format);
        shop.fill();
        let first = shop.commit("first");
        assert_eq!(shop.judge(&first), Ok(()), "{format}");
        shop.write("README.md", b"changed\n");
        shop.git(&["add", "README.md"]);
        let second = shop.commit("second");
        assert_eq!(shop.judge(&second), Ok(()), "{format}");
        assert_eq!(shop.note(&second), Ok(()), "{format}");
        let description = read(&Document::parse(&shop.evidence(&second).sbom).unwrap()).unwrap();
        assert_eq!(description.place.url.as_str(), "https://example.com/team/app");
        assert_eq!(description.place.parents, [first]);
        assert_eq!(shop.git(&["status", "--porcelain"]), "");
    }
}

#[test]
fn the_index_gives_what_the_commit_gives() {
    let shop = Workshop::new("sha1");
    shop.fill();
    let cache_file = shop.path().join(".git").join("assay").join("contents");
    let mut cache = ContentCache::open(&cache_file, shop.repository().format());
    let staged = shop.repository().index_tree(&mut cache).unwrap();
    cache.save(staged.entries()).unwrap();
    let cached = shop.repository().index_tree(&mut ContentCache::open(&cache_file, shop.repository().format())).unwrap();
    assert_eq!(staged, cached);
    // What lies in the working tree unstaged is not what would be committed.
    shop.write("README.md", b"unstaged\n");
    shop.write("untracked", b"x");
    let again = shop.repository().index_tree(&mut ContentCache::in_memory()).unwrap();
    assert_eq!(staged, again);
    let commit = shop.commit("first");
    assert_eq!(shop.tree(&commit).entries(), staged.entries());
}

#[test]
fn empty_commits_and_root_commits_verify() {
    let shop = Workshop::new("sha1");
    let root = shop.commit("nothing at all");
    assert_eq!(shop.judge(&root), Ok(()));
    shop.git(&["rm", "--quiet", "--cached", "-r", ".assay"]);
    shop.git(&["commit", "--quiet", "-m", "an empty tree"]);
    assert_eq!(shop.git(&["rev-parse", "HEAD^{tree}"]), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
    assert_eq!(shop.note(&shop.head()), Ok(()));
}

#[test]
fn threat_an_old_signed_tree_on_top_of_main_is_refused() {
    let shop = Workshop::new("sha1");
    shop.write("code", b"with a hole\n");
    shop.git(&["add", "-A"]);
    let old = shop.commit("old");
    shop.write("code", b"mended\n");
    shop.git(&["add", "-A"]);
    let mended = shop.commit("mended");
    assert_eq!(shop.judge(&mended), Ok(()));
    let tree = shop.git(&["rev-parse", &format!("{old}^{{tree}}")]);
    let replayed = shop.git(&["commit-tree", &tree, "-p", &mended.to_string(), "-m", "the old tree again"]).parse().unwrap();
    assert_eq!(shop.judge(&replayed), Err(Reason::ParentsMismatch));
}

/// A main branch and a topic branch that have parted, both signed.
fn parted() -> Workshop {
    let shop = Workshop::new("sha1");
    shop.write("base", b"base\n");
    shop.git(&["add", "-A"]);
    shop.commit("base");
    shop.git(&["switch", "--quiet", "-c", "topic"]);
    shop.write("topic", b"topic\n");
    shop.git(&["add", "-A"]);
    shop.commit("topic");
    shop.git(&["switch", "--quiet", "main"]);
    shop.write("main", b"main\n");
    shop.git(&["add", "-A"]);
    shop.commit("main");
    shop
}

#[test]
fn a_fast_forward_needs_no_new_signature() {
    let shop = Workshop::new("sha1");
    shop.commit("base");
    shop.git(&["switch", "--quiet", "-c", "topic"]);
    let topic = shop.commit("topic");
    shop.git(&["switch", "--quiet", "main"]);
    shop.git(&["merge", "--quiet", "--ff-only", "topic"]);
    assert_eq!(shop.head(), topic);
    assert_eq!(shop.judge(&topic), Ok(()));
}

#[test]
fn a_merge_is_signed_by_whoever_merges() {
    let shop = parted();
    let sides = [shop.head(), shop.git(&["rev-parse", "topic"]).parse().unwrap()];
    // Both sides changed the SBOM; whoever merges makes it anew.
    shop.git(&["merge", "--quiet", "--no-commit", "-X", "ours", "topic"]);
    assert_eq!(shop.repository().next_parents().unwrap(), sides);
    let merge = shop.commit("merge");
    assert_eq!(shop.repository().commit(&merge).unwrap().commit.parents, sides);
    assert_eq!(shop.judge(&merge), Ok(()));
}

#[test]
fn a_merge_made_on_a_server_needs_a_note() {
    let shop = parted();
    shop.git(&["merge", "--quiet", "-X", "ours", "-m", "merge", "topic"]);
    assert_eq!(shop.judge(&shop.head()), Err(Reason::ParentsMismatch));
    assert_eq!(shop.note(&shop.head()), Ok(()));
}

#[test]
fn squash_rebase_cherry_pick_revert_and_amend_need_a_new_signature() {
    let operations: [(&str, &[&[&str]]); 5] = [
        ("squash", &[&["merge", "--quiet", "--squash", "-X", "theirs", "topic"], &["commit", "--quiet", "-m", "squash"]]),
        ("rebase", &[&["switch", "--quiet", "topic"], &["rebase", "--quiet", "-X", "theirs", "main"]]),
        ("cherry-pick", &[&["cherry-pick", "-X", "theirs", "topic"]]),
        ("revert", &[&["revert", "--no-edit", "-X", "ours", "HEAD"]]),
        ("amend", &[&["commit", "--quiet", "--amend", "-m", "amended"]]),
    ];
    for (name, steps) in operations {
        let shop = parted();
        for step in steps {
            shop.git(step);
        }
        let head = shop.head();
        if name == "amend" {
            // Amending the message alone keeps tree and parents: what was signed still holds.
            assert_eq!(shop.judge(&head), Ok(()), "{name}");
        } else {
            let carries = shop.git(&["ls-tree", "-r", "--name-only", "HEAD"]).lines().any(|path| path == SBOM_PATH);
            assert!(carries, "{name}");
            assert!(matches!(shop.judge(&head), Err(Reason::ParentsMismatch | Reason::TreeMismatch)), "{name}");
        }
        assert_eq!(shop.note(&head), Ok(()), "{name}");
    }
}

#[test]
fn an_exported_tree_is_the_tree_and_stays_inside() {
    let shop = Workshop::new("sha1");
    shop.fill();
    let commit = shop.commit("first");
    let target = tempfile::tempdir().unwrap();
    export(&shop.repository(), &shop.tree(&commit), target.path()).unwrap();
    assert_eq!(std::fs::read(target.path().join("crlf.txt")).unwrap(), shop.git_bytes(&["cat-file", "blob", "HEAD:crlf.txt"]));
    assert_eq!(std::fs::read_link(target.path().join("link")).unwrap(), PathBuf::from("../../etc/passwd"));
    assert!(target.path().join("vendor/lib").is_dir());
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(target.path().join(name)).unwrap().permissions().mode() & 0o7777
    };
    assert_eq!((mode("run.sh"), mode("README.md")), (0o755, 0o644));
    // A second export finds files in its way and does not open them.
    assert!(export(&shop.repository(), &shop.tree(&commit), target.path()).is_err());
}

#[test]
fn threat_an_export_does_not_follow_a_symlink_that_waits_for_it() {
    let shop = Workshop::new("sha1");
    shop.fill();
    let commit = shop.commit("first");
    let (target, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(outside.path(), target.path().join("a")).unwrap();
    assert!(export(&shop.repository(), &shop.tree(&commit), target.path()).is_err());
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_fetched_commit_is_the_one_that_was_signed() {
    let shop = Workshop::new("sha1");
    shop.fill();
    let first = shop.commit("first");
    shop.write("more", b"x");
    shop.git(&["add", "-A"]);
    let second = shop.commit("second");
    assert_eq!(shop.note(&second), Ok(()));
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", shop.path().display());
    let never = AtomicBool::new(false);
    let fetched = Repository::fetch(&url, &second.to_string(), Depth::Full, &folder.path().join("full"), &never).unwrap();
    assert_eq!(fetched.raw_history(&second).unwrap(), shop.repository().raw_history(&second).unwrap());
    assert_eq!(fetched.first_parent_count(&second).unwrap(), Some(2));
    assert!(fetched.fetch_notes(&url, &never).unwrap());
    assert!(fetched.note(&second).unwrap().is_some());
    let one = Depth::Commits(1.try_into().unwrap());
    let shallow = Repository::fetch(&url, &first.to_string(), one, &folder.path().join("shallow"), &never).unwrap();
    assert_eq!(shallow.commit(&first).unwrap().id, first);
}

#[test]
fn conflicts_and_foreign_files_in_the_carrier_are_refused() {
    let shop = parted();
    shop.write(".assay/notes.txt", b"x");
    shop.git(&["add", "-f", ".assay/notes.txt"]);
    let error = shop.repository().index_tree(&mut ContentCache::in_memory()).unwrap_err().to_string();
    assert!(error.contains(".assay/notes.txt"), "{error}");
    shop.git(&["rm", "--quiet", "--cached", ".assay/notes.txt"]);
    shop.write("base", b"on main\n");
    shop.git(&["add", "base"]);
    shop.commit("main changes base");
    shop.git(&["switch", "--quiet", "topic"]);
    shop.write("base", b"on topic\n");
    shop.git(&["add", "base"]);
    shop.commit("topic changes base");
    let outcome = Command::new("git").args(["merge", "--quiet", "main"]).current_dir(shop.path()).status().unwrap();
    assert!(!outcome.success(), "both sides changed base");
    let error = shop.repository().index_tree(&mut ContentCache::in_memory()).unwrap_err().to_string();
    assert!(error.contains("\"base\" has an unresolved merge conflict"), "{error}");
    // Once it is resolved, the SBOM that both sides changed is no obstacle.
    shop.write("base", b"on both\n");
    shop.git(&["add", "base"]);
    let repository = shop.repository();
    repository.index_tree(&mut ContentCache::in_memory()).unwrap();
    assert!(repository.stage_evidence(&[(SBOM_PATH, b"{}\n")]).unwrap());
    assert!(!repository.stage_evidence(&[(SBOM_PATH, b"{}\n")]).unwrap(), "nothing left to do");
    assert_eq!(shop.git(&["ls-files", "--unmerged"]), "");
    assert_eq!(shop.git(&["cat-file", "blob", &format!(":{SBOM_PATH}")]), "{}");
}

impl Workshop {
    fn git_bytes(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("git").args(arguments).current_dir(self.path()).output().unwrap();
        assert!(output.status.success());
        output.stdout
    }
}
