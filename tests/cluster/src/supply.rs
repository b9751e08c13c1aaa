//! Images, bundles and git repositories on the cluster's servers, and the programs that judge signatures.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::test::Test;

/// How long a program that signs, pushes or verifies may take.
const PROGRAM: Duration = Duration::from_secs(60);

/// How long cargo may take for a program.
const BUILD: Duration = Duration::from_secs(900);

/// A git repository on the cluster's git server, with a working copy.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Where pods and controllers fetch it from.
    pub url: String,
    /// The working copy, branch `main`.
    pub folder: PathBuf,
}

/// Who must have signed.
#[derive(Debug, Clone, Copy)]
pub enum Signer<'a> {
    /// The holder of the private half of this PEM file.
    Key(&'a Path),
}

impl Test {
    /// A program of the workspace: the one beside `ASSAY_BIN`, or built now.
    ///
    /// # Errors
    /// When it cannot be built.
    pub async fn workspace_program(&self, name: &str) -> Result<PathBuf> {
        // Building it alone would choose other features, and so compile the dependencies once more.
        if let Some(beside) = self.env().optional("ASSAY_BIN").map(|assay| Path::new(assay).with_file_name(name))
            && beside.is_file()
        {
            return Ok(beside);
        }
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let arguments = ["build", "--quiet", "--locked", "--workspace", "--bin", name, "--message-format", "json"];
        let output = self.output(BUILD, Command::new(env!("CARGO")).args(arguments).current_dir(root)).await?;
        output
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|message| message.pointer("/target/name").and_then(Value::as_str) == Some(name))
            .find_map(|message| Some(message.get("executable")?.as_str()?.into()))
            .with_context(|| format!("cargo named no executable {name}"))
    }

    /// Pushes the cluster's busybox image to `repository` (`HOST:PORT/PATH`) and gives back its digest.
    ///
    /// # Errors
    /// When the push fails.
    pub async fn push_busybox(&self, repository: &str) -> Result<String> {
        let output = self
            .output(
                PROGRAM,
                Command::new(self.env().toolbox()?).arg("push").arg("-layout").arg(self.env().images()?).args([
                    "-name",
                    self.env().busybox()?,
                    &format!("{repository}:1"),
                ]),
            )
            .await?;
        digest_of(&output)
    }

    /// Pushes a Tekton bundle with one Task, Pipeline or StepAction and gives back its reference by digest.
    ///
    /// # Errors
    /// When the push fails.
    pub async fn push_bundle(&self, repository: &str, kind: &str, name: &str, manifest: &str) -> Result<String> {
        let file = self.folder().join(format!("{kind}-{name}.yaml"));
        fs::write(&file, manifest).context("write the manifest")?;
        let output = self
            .output(
                PROGRAM,
                Command::new(self.env().toolbox()?).args([
                    "bundle",
                    &format!("{repository}:1"),
                    &format!("{kind}/{name}={}", file.display()),
                ]),
            )
            .await?;
        Ok(output.trim().to_owned())
    }

    /// A new, empty repository on the cluster's git server, named after the test's namespace and `name`.
    ///
    /// # Errors
    /// When git fails.
    pub async fn repository(&self, name: &str) -> Result<Repository> {
        let served = self.env().git_folder()?.join(format!("{}-{name}.git", self.namespace()));
        let folder = self.folder().join(name);
        let url = format!("{}/{}-{name}.git", self.env().git_url()?, self.namespace());
        self.output(PROGRAM, Command::new("git").args(["init", "-q", "-b", "main", "--bare"]).arg(&served)).await?;
        self.remove_folder_at_end(served);
        self.output(PROGRAM, Command::new("git").args(["init", "-q", "-b", "main"]).arg(&folder)).await?;
        let repository = Repository { url, folder };
        self.git(&repository, &["remote", "add", "origin", &repository.url]).await?;
        Ok(repository)
    }

    /// Runs git in the working copy, cut off from this machine's configuration, and gives back what it printed.
    ///
    /// # Errors
    /// When git fails.
    pub async fn git(&self, repository: &Repository, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("git");
        command
            .current_dir(&repository.folder)
            .args(["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgSign=false"])
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        Ok(self.output(PROGRAM, &mut command).await?.trim().to_owned())
    }

    /// Writes files into the working copy, commits and pushes them to `main`, and gives back the commit's id.
    ///
    /// # Errors
    /// When a file cannot be written or git fails.
    pub async fn commit(&self, repository: &Repository, files: &[(&str, &str)], message: &str) -> Result<String> {
        for (path, content) in files {
            let file = repository.folder.join(path);
            if let Some(parent) = file.parent() {
                fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
            }
            fs::write(&file, content).with_context(|| format!("write {path}"))?;
        }
        self.git(repository, &["add", "--all"]).await?;
        self.git(repository, &["commit", "-q", "-m", message]).await?;
        self.git(repository, &["push", "-q", "origin", "HEAD:main"]).await?;
        self.git(repository, &["rev-parse", "HEAD"]).await
    }

    /// The statements of all attestations of `image` (by digest) that real cosign verifies, with that predicate type of
    /// cosign's (`slsaprovenance1`).
    ///
    /// # Errors
    /// When cosign does not verify any, or runs into something else.
    pub async fn verified_attestations(&self, image: &str, predicate: &str, signer: Signer<'_>) -> Result<Vec<Value>> {
        let Signer::Key(key) = signer;
        let mut command = Command::new(self.env().cosign()?);
        command
            .args(["verify-attestation", "--type", predicate, "--insecure-ignore-tlog", "--allow-http-registry"])
            .args(["--new-bundle-format=false", "--key"])
            .arg(key)
            .arg(image);
        let output = self.output(PROGRAM, &mut command).await?;
        let statements: Vec<_> = output.lines().filter(|line| line.starts_with('{')).map(statement).collect::<Result<_>>()?;
        ensure!(!statements.is_empty(), "cosign printed no envelope");
        Ok(statements)
    }
}

/// The statement inside a DSSE envelope.
fn statement(envelope: &str) -> Result<Value> {
    use base64::Engine as _;
    let envelope: Value = serde_json::from_str(envelope).context("read the envelope")?;
    let payload = envelope.get("payload").and_then(Value::as_str).context("the envelope has no payload")?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(payload).context("decode the payload")?;
    serde_json::from_slice(&bytes).context("read the statement")
}

/// The digest at the end of `REPOSITORY@DIGEST`.
fn digest_of(reference: &str) -> Result<String> {
    let (_, digest) = reference.trim().rsplit_once('@').context("the reference has no digest")?;
    Ok(digest.to_owned())
}
