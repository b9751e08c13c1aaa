//! `assay hook`: keeps SBOM and signature current while people work with git as they always do.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use assay_adapters::git::Repository;
use assay_core::digest::GitOid;
use assay_core::signature::SignatureFormat;
use assay_core::spdx::source::{Carrier, Place};
use assay_core::tree::{SBOM_PATH, SIGNATURES_FOLDER};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Failure, OrFail as _};
use crate::output::{Report, Table};
use crate::signing::open_key;
use crate::source::{self, Carried, Destination, Refusal};

/// Install, remove or run the git hooks that keep SBOM and signature current
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Add the hooks to this repository; hooks that are there are kept and run first
    #[command(after_long_help = "Example:\n  assay hook install")]
    Install(Folder),
    /// Remove the hooks and put back what was there
    #[command(after_long_help = "Example:\n  assay hook uninstall")]
    Uninstall(Folder),
    /// What git calls
    #[command(after_long_help = "Example:\n  assay hook run pre-commit --key assay.key")]
    Run(Run),
}

#[derive(Debug, clap::Args)]
struct Folder {
    /// A folder of the repository
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    source: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Which hook
    #[arg(value_enum)]
    hook: Hook,
    /// What git hands to the hook
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    arguments: Vec<String>,
    /// Sign with this key; without one only the SBOM is kept current
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    destination: Destination,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Hook {
    /// Describe and sign what is staged
    PreCommit,
    /// Write a note where the tree's own SBOM is not for the commit that was made
    PostCommit,
    /// Write a note for a merge that git committed without asking pre-commit
    PostMerge,
    /// Refuse to push a commit that nobody vouches for
    PrePush,
}

impl Hook {
    const ALL: [Self; 4] = [Self::PreCommit, Self::PostCommit, Self::PostMerge, Self::PrePush];

    const fn name(self) -> &'static str {
        match self {
            Self::PreCommit => "pre-commit",
            Self::PostCommit => "post-commit",
            Self::PostMerge => "post-merge",
            Self::PrePush => "pre-push",
        }
    }
}

/// First and last line of what is added to a file that belongs to somebody else.
const BEGIN: &str = "# >>> assay hook >>>";
const END: &str = "# <<< assay hook <<<";
/// What the name of a hook that was there before ends in.
const KEPT: &str = ".before-assay";

#[derive(Debug, Serialize)]
struct Hooks {
    hooks: Vec<String>,
}

impl Report for Hooks {
    fn text(&self) -> String {
        let mut table = Table::untitled();
        for hook in &self.hooks {
            table.push([hook]);
        }
        table.to_string()
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    match &args.command {
        Command::Install(place) => each(place, context, install),
        Command::Uninstall(place) => each(place, context, uninstall),
        Command::Run(run) => match run.hook {
            Hook::PreCommit => pre_commit(run),
            Hook::PostCommit => post_commit(run),
            Hook::PostMerge => post_merge(run),
            Hook::PrePush => pre_push(),
        },
    }
}

/// Where hooks live: a folder of our own making, or one of husky's, whose files are the project's.
fn each(place: &Folder, context: &Context, act: fn(&Path, Hook, bool) -> std::io::Result<bool>) -> Result<(), Failure> {
    let repository = source::open(&place.source)?;
    let folder = repository.hooks_folder().or_configuration("HooksPath")?;
    let husky = if folder.ends_with(".husky/_") { folder.parent().map(Path::to_owned) } else { None };
    let shared = husky.is_some() || folder.ends_with(".husky");
    let folder = husky.unwrap_or(folder);
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display())).or_internal("UnwritableHooks")?;
    let mut hooks = Vec::new();
    for hook in Hook::ALL {
        let path = folder.join(hook.name());
        let done =
            act(&path, hook, shared).with_context(|| format!("change {}", path.display())).or_internal("UnwritableHooks")?;
        if done {
            hooks.push(path.display().to_string());
        }
    }
    context.print(&Hooks { hooks })
}

/// The lines that run a hook of ours. A pushed list of refs comes on stdin, which `run` of a kept hook may have read: it is kept.
fn block(hook: Hook) -> String {
    let name = hook.name();
    format!(
        "{BEGIN}\n{{ command -v assay >/dev/null || {{ echo 'assay is not installed; see `assay hook uninstall`' >&2; exit 1; }}; }}\nassay hook run {name} -- \"$@\" || exit $?\n{END}\n"
    )
}

fn script(hook: Hook) -> String {
    let name = hook.name();
    let (keep, feed) = if hook == Hook::PrePush { ("refs=$(cat)\n", "printf '%s\\n' \"$refs\" | ") } else { ("", "") };
    let ours = block(hook).replace("assay hook run", &format!("{feed}assay hook run"));
    format!(
        "#!/bin/sh\n# Written by `assay hook install`; `assay hook uninstall` removes it.\n{keep}before=\"$(dirname \"$0\")/{name}{KEPT}\"\n\
         if [ -x \"$before\" ]; then {feed}\"$before\" \"$@\" || exit $?; fi\n{ours}"
    )
}

fn is_ours(text: &str) -> bool {
    text.lines().any(|line| line == BEGIN)
}

fn read(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn kept(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(KEPT);
    PathBuf::from(name)
}

fn install(path: &Path, hook: Hook, shared: bool) -> std::io::Result<bool> {
    let before = read(path)?;
    if before.as_deref().is_some_and(|bytes| is_ours(&String::from_utf8_lossy(bytes))) {
        return Ok(false);
    }
    if shared {
        let mut text = String::from_utf8_lossy(&before.unwrap_or_default()).into_owned();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&block(hook));
        return write(path, &text);
    }
    if before.is_some() {
        std::fs::rename(path, kept(path))?;
    }
    write(path, &script(hook))
}

fn uninstall(path: &Path, _: Hook, shared: bool) -> std::io::Result<bool> {
    let Some(bytes) = read(path)? else { return Ok(false) };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if !is_ours(&text) {
        return Ok(false);
    }
    if shared {
        let (before, rest) = text.split_once(BEGIN).unwrap_or((&text, ""));
        let after = rest.split_once(&format!("{END}\n")).map_or("", |(_, after)| after);
        let left = format!("{before}{after}");
        return if left.trim().is_empty() { std::fs::remove_file(path).map(|()| true) } else { write(path, &left) };
    }
    if kept(path).exists() {
        std::fs::rename(kept(path), path)?
    } else {
        std::fs::remove_file(path)?
    }
    Ok(true)
}

fn write(path: &Path, text: &str) -> std::io::Result<bool> {
    std::fs::write(path, text)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(true)
}

/// Signs an SBOM with the key named, if one is: the path within the carrier, and the signature.
fn sign(run: &Run, sbom: &[u8]) -> Result<Option<(String, Vec<u8>)>, Failure> {
    let Some(path) = &run.key else { return Ok(None) };
    let key = open_key(path)?;
    let format = if key.is_from_ssh() { SignatureFormat::SshSig } else { SignatureFormat::Bundle };
    let signature = key.sign_document(sbom, format).or_internal("NotSigned")?;
    let name: String = key.public_key().id().chars().take(16).collect();
    Ok(Some((format!("{SIGNATURES_FOLDER}{name}.{}", format.extension()), signature)))
}

fn pre_commit(run: &Run) -> Result<(), Failure> {
    let repository = source::open(Path::new("."))?;
    let parents = repository.next_parents().or_internal("UnreadableRepository")?;
    let place = run.destination.place(&repository, parents, Carrier::Tree)?;
    let mut cache = source::cache(&repository);
    let tree = repository.index_tree(&mut cache).map_err(|error| Failure::broken_edge(1, "UnreadableTree", error))?;
    if let Err(error) = cache.save(tree.entries()) {
        tracing::debug!(%error, "the cache is not written");
    }
    let written = source::write(&repository, &place, &tree)?;
    let changed = repository.stage_evidence(&[(SBOM_PATH, &written.bytes)]).or_internal("NotStaged")?;
    let signed = repository
        .workdir()
        .is_some_and(|root| std::fs::read_dir(root.join(SIGNATURES_FOLDER)).is_ok_and(|mut entries| entries.next().is_some()));
    if (changed || !signed)
        && let Some((path, signature)) = sign(run, &written.bytes)?
    {
        repository.stage_evidence(&[(&path, &signature)]).or_internal("NotStaged")?;
    }
    Ok(())
}

fn post_commit(run: &Run) -> Result<(), Failure> {
    let mut repository = source::open(Path::new("."))?;
    let Some(commit) = repository.head().or_internal("UnreadableRepository")? else { return Ok(()) };
    if source::replay(&repository, &commit)?.is_ok() {
        return Ok(());
    }
    let object = repository.commit(&commit).or_internal("UnreadableRepository")?.commit;
    let place: Place = run.destination.place(&repository, object.parents, Carrier::Note(commit))?;
    let mut cache = source::cache(&repository);
    let tree = repository
        .commit_tree_cached(&object.tree, &mut cache)
        .map_err(|error| Failure::broken_edge(1, "UnreadableTree", error))?;
    let written = source::write(&repository, &place, &tree)?;
    let signature = sign(run, &written.bytes)?;
    let files: Carried = std::iter::once((SBOM_PATH.to_owned(), written.bytes)).chain(signature).collect();
    source::write_note(&mut repository, commit, files)?;
    tracing::warn!(%commit, "the SBOM in the tree is not for this commit: wrote a note, push refs/notes/assay with it");
    Ok(())
}

/// Git asks no hook that could still change a merge without conflicts, and runs this one after fast-forwards too. What others made and was
/// only fetched is not vouched for: HEAD must be a merge that was made here and now.
fn post_merge(run: &Run) -> Result<(), Failure> {
    let repository = source::open(Path::new("."))?;
    if repository.head_was_merged_here().or_internal("UnreadableRepository")? { post_commit(run) } else { Ok(()) }
}

/// Lines of `LOCAL-REF LOCAL-ID REMOTE-REF REMOTE-ID` on stdin.
fn pre_push() -> Result<(), Failure> {
    let mut text = String::new();
    std::io::stdin().lock().take(1024 * 1024).read_to_string(&mut text).context("read the refs to push")?;
    let repository = source::open(Path::new("."))?;
    for line in text.lines() {
        let mut fields = line.split(' ');
        let (Some(name), Some(id)) = (fields.next(), fields.next()) else { continue };
        if id.bytes().all(|byte| byte == b'0') || name.starts_with("refs/notes/") {
            continue;
        }
        check_pushed(&repository, name, id)?;
    }
    Ok(())
}

fn check_pushed(repository: &Repository, name: &str, id: &str) -> Result<(), Failure> {
    let commit: GitOid = repository.resolve(id).or_usage("InvalidRevision")?;
    match source::replay(repository, &commit)? {
        Ok(_) => Ok(()),
        Err(Refusal::NoSbom) => {
            let error = anyhow!("{name} ({commit}) carries no source SBOM: run `assay sbom --commit {commit} --note`");
            Err(Failure::broken_edge(1, "SourceMissing", error))
        }
        Err(Refusal::Source(error)) => {
            let reason = error.reason().as_str();
            let error = anyhow::Error::new(error)
                .context(format!("{name} ({commit}) must be signed again: run `assay sbom --commit {commit} --note`"));
            Err(Failure::broken_edge(1, reason, error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_that_is_there_is_kept_and_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pre-commit");
        std::fs::write(&path, "#!/usr/bin/env python3\nprint(1)\n").unwrap();
        assert!(install(&path, Hook::PreCommit, false).unwrap());
        assert!(!install(&path, Hook::PreCommit, false).unwrap(), "a second time changes nothing");
        assert!(kept(&path).exists());
        assert!(uninstall(&path, Hook::PreCommit, false).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "#!/usr/bin/env python3\nprint(1)\n");
        assert!(!uninstall(&path, Hook::PreCommit, false).unwrap(), "what is not ours stays");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_left_where_nothing_was() {
        let folder = tempfile::tempdir().unwrap();
        for shared in [false, true] {
            for hook in Hook::ALL {
                let path = folder.path().join(hook.name());
                assert!(install(&path, hook, shared).unwrap());
                assert!(uninstall(&path, hook, shared).unwrap());
            }
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn lines_in_a_file_of_husky_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pre-commit");
        std::fs::write(&path, "npx lint-staged").unwrap();
        assert!(install(&path, Hook::PreCommit, true).unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("npx lint-staged\n") && text.contains("assay hook run pre-commit"), "{text}");
        assert!(uninstall(&path, Hook::PreCommit, true).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "npx lint-staged\n");
    }
}
