//! A repository on the cluster's git server, whose commits somebody vouches for, or nobody.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use assay_cluster_tests::{Repository, Test};
use tokio::process::Command;

use crate::world::{MAIN, PROGRAM, Tool};

const RECIPE: &str = r#"version = 1
base = "scratch"
platforms = ["linux/amd64"]

[config]
entrypoint = ["/bin/hello"]

[[layer]]
name = "app"
artifacts = [{ name = "output" }]
"#;

/// The repository and its working copy.
pub(crate) struct Project<'t> {
    test: &'t Test,
    /// The working copy, and the address with owner and name, as git hosts have them.
    pub(crate) repository: Repository,
    /// The bare repository on the server.
    pub(crate) served: PathBuf,
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        if let Some(owner) = self.served.parent() {
            let _ = std::fs::remove_dir_all(owner);
        }
    }
}

impl<'t> Project<'t> {
    /// An empty one.
    pub(crate) async fn new(test: &'t Test) -> Result<Project<'t>> {
        let served = test.env().git_folder()?.join(test.namespace()).join("app.git");
        let folder = test.folder().join("app");
        let url = format!("{}/{}/app", test.env().git_url()?, test.namespace());
        test.output(PROGRAM, Command::new("git").args(["init", "-q", "-b", "main", "--bare"]).arg(&served)).await?;
        let project = Self { test, repository: Repository { url, folder }, served };
        let allow = ["config", "uploadpack.allowFilter", "true"];
        test.output(PROGRAM, Command::new("git").arg("-C").arg(&project.served).args(allow)).await?;
        test.output(PROGRAM, Command::new("git").args(["init", "-q", "-b", "main"]).arg(&project.repository.folder)).await?;
        project.git(&["remote", "add", "origin", &project.repository.url]).await?;
        Ok(project)
    }

    /// Runs git in the working copy.
    pub(crate) async fn git(&self, arguments: &[&str]) -> Result<String> {
        self.test.git(&self.repository, arguments).await
    }

    /// Commits a change, with an SBOM that `signer` signed if there is one. Nothing is pushed.
    pub(crate) async fn commit(&self, tool: &Tool<'_>, signer: Option<&str>, content: &str) -> Result<String> {
        let folder = &self.repository.folder;
        std::fs::create_dir_all(folder.join("src")).context("make a folder")?;
        std::fs::write(folder.join("assay.toml"), RECIPE).context("write the recipe")?;
        std::fs::write(folder.join("src/hello"), format!("#!/bin/sh\necho {content}\n")).context("write the source")?;
        let _ = std::fs::remove_dir_all(folder.join(".assay"));
        self.git(&["add", "--all"]).await?;
        if let Some(signer) = signer {
            tool.assay(folder, &["sbom", "--url", &self.repository.url, "--ref", MAIN]).await?;
            let key = tool.key(signer).to_string_lossy().into_owned();
            tool.assay(folder, &["sign", "--key", &key, "--name", signer]).await?;
            self.git(&["add", "--all"]).await?;
        }
        self.git(&["commit", "-q", "-m", content]).await?;
        self.git(&["rev-parse", "HEAD"]).await
    }

    /// `git push`.
    pub(crate) async fn push(&self) -> Result<()> {
        self.git(&["push", "-q", "--force", "origin", "HEAD:main"]).await.map(drop)
    }
}
