//! What an author does all day, with the program and with git itself: notes for commits that exist, hooks in worktrees and beside other
//! tools, and everything that makes a commit nobody signed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests, outside #[test]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use assay_tests::program;

/// A working copy with keys beside it, and an environment of its own.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(desk.at()).unwrap();
        desk.git(&["init", "--quiet", "--initial-branch=main", "."]);
        desk.git(&["remote", "add", "origin", "https://example.com/team/app.git"]);
        for name in ["alice", "bob"] {
            desk.succeeds(&["keygen", "--output-key-prefix", &desk.key(name, "")]);
        }
        desk
    }

    fn at(&self) -> PathBuf {
        self.folder.path().join("app")
    }

    fn key(&self, name: &str, extension: &str) -> String {
        self.folder.path().join(format!("{name}{extension}")).display().to_string()
    }

    fn set_up<'a>(&self, command: &'a mut Command, at: &Path) -> &'a mut Command {
        // Hooks find `assay` by name.
        let mut path = std::ffi::OsString::from(program::assay().parent().unwrap());
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        command
            .current_dir(at)
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.folder.path())
            .env("ASSAY_CONFIG", "/dev/null")
            .env("ASSAY_PASSWORD", "correct horse")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_EDITOR", "true")
            .envs([("GIT_AUTHOR_NAME", "A"), ("GIT_AUTHOR_EMAIL", "a@example.com")])
            .envs([("GIT_COMMITTER_NAME", "C"), ("GIT_COMMITTER_EMAIL", "c@example.com")])
    }

    /// Git as a person runs it: hooks run, and sign with alice's key.
    fn try_git(&self, at: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new("git");
        self.set_up(&mut command, at).env("ASSAY_KEY", self.key("alice", ".key"));
        command.args(arguments).output().expect("git must be installed: apt-get install git")
    }

    fn git_in(&self, at: &Path, arguments: &[&str]) -> String {
        let output = self.try_git(at, arguments);
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    fn git(&self, arguments: &[&str]) -> String {
        self.git_in(&self.at(), arguments)
    }

    fn assay(&self, at: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new(program::assay());
        self.set_up(&mut command, at).args(["--output", "json"]).args(arguments).output().unwrap()
    }

    fn succeeds(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.assay(&self.at(), arguments);
        assert!(output.status.success(), "assay {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// The exit code and the reason of a failure.
    fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.assay(&self.at(), arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let failure: serde_json::Value = text
            .lines()
            .rev()
            .find_map(|line| serde_json::from_str(line).ok())
            .or_else(|| serde_json::from_str(&text).ok())
            .unwrap_or_else(|| panic!("assay {arguments:?}: {text}"));
        (output.status.code().unwrap(), failure["reason"].as_str().unwrap().to_owned())
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A commit that nobody signed.
    fn commit(&self, path: &str, text: &str) -> String {
        self.write(path, text);
        self.git(&["add", path]);
        self.git(&["commit", "--quiet", "-m", path]);
        self.head()
    }

    fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    fn sign_note(&self, who: &str, commit: &str) -> serde_json::Value {
        self.succeeds(&["sign", "--note", "--commit", commit, "--key", &self.key(who, ".key"), "--name", who])
    }

    /// Names of those who signed a commit for `refs/heads/main`.
    fn signed_by(&self, commit: &str) -> Vec<String> {
        let keys = [self.key("alice", ".pub"), self.key("bob", ".pub")];
        let seen = self.succeeds(&["verify", "--commit", commit, "--key", &keys[0], "--key", &keys[1]]);
        let names = seen["signedBy"].as_array().unwrap().iter();
        names.map(|name| Path::new(name.as_str().unwrap()).file_stem().unwrap().to_string_lossy().into_owned()).collect()
    }

    fn refused(&self, commit: &str) -> (i32, String) {
        self.fails(&["verify", "--commit", commit, "--key", &self.key("alice", ".pub")])
    }

    fn hook(&self, at: &Path, what: &str) {
        let output = self.assay(at, &["hook", what]);
        assert!(output.status.success(), "assay hook {what}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Every file below a folder with its mode and bytes.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(at) = open.pop() {
        let Ok(entries) = fs::read_dir(&at) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.clone(), (fs::metadata(&path).unwrap().permissions().mode(), fs::read(&path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn a_commit_that_exists_is_signed_in_its_note_by_one_after_the_other() {
    let desk = Desk::new();
    let commit = desk.commit("code", "one\n");
    assert_eq!(desk.refused(&commit), (11, "SourceMissing".to_owned()));
    let signed = desk.sign_note("alice", &commit);
    assert!(signed["signature"].as_str().unwrap().contains(&commit), "{signed}");
    assert_eq!(desk.signed_by(&commit), ["alice"]);
    let two = ["--threshold", "2"];
    let keys = [desk.key("alice", ".pub"), desk.key("bob", ".pub")];
    let both = ["verify", "--commit", &commit, "--key", &keys[0], "--key", &keys[1], two[0], two[1]];
    assert_eq!(desk.fails(&both), (12, "TooFewSignatures".to_owned()));
    desk.sign_note("bob", &commit);
    let seen = desk.succeeds(&both);
    assert_eq!((&seen["carrier"], seen["commit"].as_str()), (&"note".into(), Some(commit.as_str())));
    // Making the same SBOM again throws no signature away; one for another ref does.
    desk.succeeds(&["sbom", "--commit", &commit, "--note"]);
    assert_eq!(desk.signed_by(&commit).len(), 2);
    desk.succeeds(&["sbom", "--commit", &commit, "--note", "--ref", "refs/heads/release"]);
    assert_eq!(desk.refused(&commit), (12, "TooFewSignatures".to_owned()));
    // Nothing in the working tree was touched.
    assert_eq!(desk.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_note_is_signed_only_for_the_place_that_was_asked_for() {
    let desk = Desk::new();
    let commit = desk.commit("code", "one\n");
    desk.sign_note("alice", &commit);
    let key = desk.key("bob", ".key");
    let sign = |more: &[&str]| desk.fails(&[&["sign", "--note", "--key", &key], more].concat());
    assert_eq!(sign(&["--ref", "refs/heads/release"]), (2, "OtherPlace".to_owned()));
    assert_eq!(sign(&["--url", "https://example.com/other/app"]), (2, "OtherPlace".to_owned()));
    assert_eq!(sign(&["--commit", "no-such-thing"]), (2, "InvalidRevision".to_owned()));
    assert_eq!(sign(&["--name", "../bob"]), (2, "InvalidName".to_owned()));
    assert_eq!(desk.signed_by(&commit), ["alice"]);
    desk.succeeds(&["sign", "--note", "--key", &key, "--ref", "refs/heads/main", "--url", "https://example.com/team/app/"]);
    assert_eq!(desk.signed_by(&commit).len(), 2);
}

#[test]
fn threat_a_note_that_somebody_else_wrote_is_not_signed_unseen() {
    let desk = Desk::new();
    let first = desk.commit("code", "one\n");
    let second = desk.commit("code", "two\n");
    desk.sign_note("alice", &first);
    let key = desk.key("bob", ".key");
    // The note of one commit, moved to another: it says itself that it is not for this one.
    desk.git(&["notes", "--ref=assay", "copy", &first, &second]);
    assert_eq!(desk.fails(&["sign", "--note", "--key", &key]), (11, "SourceSbomInvalid".to_owned()));
    // Rewritten so that only the SBOM inside tells.
    let note = desk.git(&["notes", "--ref=assay", "show", &first]).replacen(&first, &second, 1);
    desk.write("note.json", &format!("{note}\n"));
    desk.git(&["notes", "--ref=assay", "add", "-f", "-F", "note.json", &second]);
    let (code, reason) = desk.fails(&["sign", "--note", "--key", &key]);
    assert_eq!(code, 11, "{reason}");
    assert_eq!(desk.refused(&second).0, 11);
}

#[test]
fn threat_an_old_signed_tree_on_top_of_main_is_refused_with_its_note_too() {
    let desk = Desk::new();
    let old = desk.commit("code", "with a hole\n");
    desk.sign_note("alice", &old);
    let mended = desk.commit("code", "mended\n");
    desk.sign_note("alice", &mended);
    let tree = desk.git(&["rev-parse", &format!("{old}^{{tree}}")]);
    let again = desk.git(&["commit-tree", &tree, "-p", &mended, "-m", "the old tree again"]);
    assert_eq!(desk.refused(&again), (11, "SourceMissing".to_owned()));
    let note = desk.git(&["notes", "--ref=assay", "show", &old]).replacen(&old, &again, 1);
    desk.write("note.json", &format!("{note}\n"));
    desk.git(&["notes", "--ref=assay", "add", "-F", "note.json", &again]);
    assert_eq!(desk.refused(&again).0, 11);
}

/// A server with a bare repository, and a desk that cloned it: both branches signed, then merged by the server itself.
#[test]
fn whoever_merges_on_a_server_signs_the_merge_afterwards() {
    let desk = Desk::new();
    let server = desk.folder.path().join("server.git");
    desk.git(&["init", "--quiet", "--bare", "--initial-branch=main", &server.display().to_string()]);
    desk.git(&["remote", "add", "server", &server.display().to_string()]);
    let base = desk.commit("base", "base\n");
    desk.git(&["switch", "--quiet", "-c", "topic"]);
    let topic = desk.commit("topic", "topic\n");
    desk.succeeds(&["sign", "--note", "--key", &desk.key("alice", ".key"), "--ref", "refs/heads/main"]);
    desk.git(&["switch", "--quiet", "main"]);
    let main = desk.commit("main", "main\n");
    desk.git(&["push", "--quiet", "server", "main", "topic"]);
    // What a forge does: three kinds of merge, without any working copy and without anybody's key.
    let tree = desk.git_in(&server, &["merge-tree", "--write-tree", "main", "topic"]);
    let merge = desk.git_in(&server, &["commit-tree", &tree, "-p", &main, "-p", &topic, "-m", "merge"]);
    let squash = desk.git_in(&server, &["commit-tree", &tree, "-p", &main, "-m", "squash"]);
    let rebase = desk.git_in(&server, &["commit-tree", &tree, "-p", &main, "-m", "rebase"]);
    for made in [merge, squash, rebase] {
        desk.git_in(&server, &["update-ref", "refs/heads/main", &made]);
        desk.git(&["fetch", "--quiet", "server", "+refs/heads/main:refs/remotes/server/main"]);
        assert_eq!(desk.refused(&made), (11, "SourceMissing".to_owned()));
        let key = desk.key("bob", ".key");
        let merged = ["sign", "--note", "--commit", "server/main", "--ref", "refs/heads/main", "--key", &key];
        desk.succeeds(&merged);
        assert_eq!(desk.signed_by(&made), ["bob"], "{base}");
        desk.git(&["push", "--quiet", "server", "refs/notes/assay"]);
    }
    // Another clone gets the notes when it asks for them.
    let clone = desk.folder.path().join("clone");
    desk.git(&["clone", "--quiet", &server.display().to_string(), &clone.display().to_string()]);
    desk.git_in(&clone, &["fetch", "--quiet", "origin", "refs/notes/assay:refs/notes/assay"]);
    let output = desk.assay(&clone, &["verify", "--key", &desk.key("bob", ".pub")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn hooks_keep_signatures_current_through_commits_merges_and_reverts() {
    let desk = Desk::new();
    desk.hook(&desk.at(), "install");
    let first = desk.commit("code", "one\n");
    assert_eq!(desk.signed_by(&first), ["alice"]);
    desk.git(&["switch", "--quiet", "-c", "topic"]);
    let topic = desk.commit("topic", "topic\n");
    desk.git(&["switch", "--quiet", "main"]);
    desk.commit("main", "main\n");
    assert_eq!(desk.git(&["status", "--porcelain"]), "");
    let check = |what: &str| {
        let head = desk.head();
        assert_eq!(desk.signed_by(&head), ["alice"], "{what}");
        assert_eq!(desk.git(&["status", "--porcelain"]), "", "{what}");
    };
    desk.git(&["cherry-pick", "-X", "theirs", &topic]);
    check("cherry-pick");
    desk.git(&["commit", "--quiet", "--amend", "-m", "amended"]);
    check("amend");
    desk.git(&["revert", "--no-edit", "-X", "ours", "HEAD"]);
    check("revert");
    desk.git(&["merge", "--quiet", "--no-edit", "-X", "ours", "topic"]);
    check("merge");
}

#[test]
fn threat_a_pulled_merge_of_somebody_else_is_not_signed_by_the_hook() {
    let desk = Desk::new();
    let main = desk.commit("code", "one\n");
    let tree = desk.git(&["rev-parse", "HEAD^{tree}"]);
    let side = desk.git(&["commit-tree", &tree, "-p", &main, "-m", "side"]);
    let theirs = desk.git(&["commit-tree", &tree, "-p", &main, "-p", &side, "-m", "merged by somebody else"]);
    desk.hook(&desk.at(), "install");
    desk.git(&["merge", "--quiet", "--ff-only", &theirs]);
    assert_eq!(desk.head(), theirs);
    assert_eq!(desk.refused(&theirs), (11, "SourceMissing".to_owned()));
}

#[test]
fn a_rebase_signs_every_commit_it_makes() {
    let desk = Desk::new();
    desk.hook(&desk.at(), "install");
    desk.commit("base", "base\n");
    desk.git(&["switch", "--quiet", "-c", "topic"]);
    desk.commit("topic", "one\n");
    desk.commit("topic", "two\n");
    desk.git(&["switch", "--quiet", "main"]);
    desk.commit("main", "main\n");
    desk.git(&["switch", "--quiet", "topic"]);
    desk.git(&["rebase", "--quiet", "-X", "theirs", "main"]);
    for commit in ["topic", "topic~1", "main"] {
        assert_eq!(desk.signed_by(commit), ["alice"], "{commit}");
    }
    assert_eq!(desk.git(&["symbolic-ref", "HEAD"]), "refs/heads/topic");
}

#[test]
fn pushing_what_nobody_vouches_for_is_refused() {
    let desk = Desk::new();
    let server = desk.folder.path().join("server.git");
    desk.git(&["init", "--quiet", "--bare", &server.display().to_string()]);
    desk.git(&["remote", "add", "server", &server.display().to_string()]);
    let unsigned = desk.commit("code", "one\n");
    desk.hook(&desk.at(), "install");
    let output = desk.try_git(&desk.at(), &["push", "server", "main"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("carries no source SBOM"), "{output:?}");
    desk.sign_note("alice", &unsigned);
    desk.git(&["push", "--quiet", "server", "main"]);
    desk.git(&["push", "--quiet", "server", "refs/notes/assay"]);
}

#[test]
fn all_worktrees_share_the_hooks_and_each_signs_what_it_has_staged() {
    let desk = Desk::new();
    desk.commit("code", "one\n");
    let hooks = desk.at().join(".git").join("hooks");
    let before = snapshot(&hooks);
    let other = desk.folder.path().join("other");
    desk.git(&["worktree", "add", "--quiet", "-b", "topic", &other.display().to_string()]);
    desk.hook(&other, "install");
    fs::write(other.join("topic"), "topic\n").unwrap();
    desk.git_in(&other, &["add", "topic"]);
    desk.git_in(&other, &["commit", "--quiet", "-m", "topic"]);
    assert_eq!(desk.signed_by("topic"), ["alice"]);
    assert_eq!(desk.git_in(&other, &["status", "--porcelain"]), "");
    assert!(!desk.at().join(".assay").exists(), "the first worktree is left alone");
    let main = desk.commit("more", "more\n");
    assert_eq!(desk.signed_by(&main), ["alice"]);
    desk.hook(&desk.at(), "uninstall");
    assert_eq!(snapshot(&hooks), before);
}

#[test]
fn husky_and_pre_commit_go_on_working_and_get_their_files_back() {
    // What `husky` 9 sets up: core.hooksPath is .husky/_, whose programs run the project's own files in .husky.
    let desk = Desk::new();
    let shim = "#!/usr/bin/env sh\nn=$(basename \"$0\")\ns=$(dirname \"$(dirname \"$0\")\")/$n\n[ ! -f \"$s\" ] && exit 0\nsh -e \"$s\" \"$@\"\n";
    for hook in ["pre-commit", "post-commit", "pre-push"] {
        desk.write(&format!(".husky/_/{hook}"), shim);
        let path = desk.at().join(".husky/_").join(hook);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    desk.write(".husky/_/.gitignore", "*\n");
    desk.write(".husky/pre-commit", "touch .git/husky-ran\n");
    desk.git(&["config", "core.hooksPath", ".husky/_"]);
    let husky = desk.at().join(".husky");
    let before = snapshot(&husky);
    desk.hook(&desk.at(), "install");
    desk.hook(&desk.at(), "install");
    desk.git(&["add", ".husky"]);
    let commit = desk.commit("code", "one\n");
    assert_eq!(desk.signed_by(&commit), ["alice"]);
    assert!(desk.at().join(".git/husky-ran").exists());
    desk.hook(&desk.at(), "uninstall");
    let without_modes = |files: BTreeMap<PathBuf, (u32, Vec<u8>)>| -> Vec<_> {
        files.into_iter().map(|(path, (_, bytes))| (path, bytes)).collect()
    };
    assert_eq!(without_modes(snapshot(&husky)), without_modes(before));

    // What pre-commit writes: a program of its own as .git/hooks/pre-commit, which runs first and can refuse.
    let desk = Desk::new();
    let hooks = desk.at().join(".git").join("hooks");
    let theirs = "#!/usr/bin/env bash\n# File generated by pre-commit: https://pre-commit.com\n! test -e refuse\n";
    fs::create_dir_all(&hooks).unwrap();
    fs::write(hooks.join("pre-commit"), theirs).unwrap();
    fs::set_permissions(hooks.join("pre-commit"), fs::Permissions::from_mode(0o755)).unwrap();
    let before = snapshot(&hooks);
    desk.hook(&desk.at(), "install");
    let commit = desk.commit("code", "one\n");
    assert_eq!(desk.signed_by(&commit), ["alice"]);
    desk.write("refuse", "");
    assert!(!desk.try_git(&desk.at(), &["commit", "--allow-empty", "-m", "refused"]).status.success());
    desk.hook(&desk.at(), "uninstall");
    assert_eq!(snapshot(&hooks), before);
}
