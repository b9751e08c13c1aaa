//! A Keylime of its own for a test: `hack/keylime`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use assay_cluster_tests::Test;
use tokio::process::Command;

use crate::world::{free_ports, root};

/// How long a start of everything may take on a loaded machine; installing it is done before, by `hack/test`.
const START: Duration = Duration::from_secs(180);
/// The value of a PCR that nothing was put into.
pub(crate) const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Verifier, registrar, TPM and agent. Stopped when dropped.
pub(crate) struct Keylime {
    folder: PathBuf,
    pub(crate) agent: String,
}

impl Keylime {
    /// Ports for one that is started later.
    pub(crate) fn port() -> Result<u16> {
        free_ports(6)
    }

    /// Starts it on this port and the five above, with a webhook at `hint` whose certificate `authority` issued.
    pub(crate) async fn up(test: &Test, port: u16, hint: u16, authority: &Path) -> Result<Self> {
        let folder = test.folder().join("keylime");
        let mut started = Self { folder, agent: String::new() };
        let mut command = started.command("up");
        command.arg("--port").arg(port.to_string()).arg("--webhook").arg(hint.to_string()).arg("--webhook-ca").arg(authority);
        let said = test.output(START, &mut command).await?;
        started.agent = said.lines().last().context("no agent was named")?.trim().to_owned();
        Ok(started)
    }

    fn command(&self, what: &str) -> Command {
        let mut command = Command::new(root().join("hack/keylime"));
        command.arg(what).arg(&self.folder);
        command
    }

    async fn run(&self, test: &Test, what: &str, arguments: &[&str]) -> Result<String> {
        test.output(START, self.command(what).args(arguments)).await
    }

    /// The files a client of the verifier needs, as a Secret's volume has them.
    pub(crate) fn credentials(&self, folder: &Path) -> Result<()> {
        let from = self.folder.join("keylime/cv_ca");
        // The authority last: a client that reads in between has no use of half of them.
        for (file, name) in [("client-cert.crt", "tls.crt"), ("client-private.pem", "tls.key"), ("cacert.crt", "ca.crt")] {
            std::fs::copy(from.join(file), folder.join(name)).with_context(|| format!("copy {file}"))?;
        }
        Ok(())
    }

    /// Enrols the agent for this node, with the usual policy or another.
    pub(crate) async fn enrol(&self, test: &Test, node: &str, policy: Option<&str>) -> Result<()> {
        let arguments: Vec<&str> = [node].into_iter().chain(policy).collect();
        self.run(test, "enrol", &arguments).await.map(drop)
    }

    /// Changes PCR 23 (`extend`) or puts it back (`reset`).
    pub(crate) async fn pcr(&self, test: &Test, what: &str) -> Result<()> {
        self.run(test, "pcr", &[what]).await.map(drop)
    }

    pub(crate) async fn reactivate(&self, test: &Test) -> Result<()> {
        self.run(test, "call", &["PUT", &format!("/agents/{}/reactivate", self.agent)]).await.map(drop)
    }

    pub(crate) async fn stop(&self, test: &Test, part: &str) -> Result<()> {
        self.run(test, "stop", &[part, "KILL"]).await.map(drop)
    }

    pub(crate) async fn start(&self, test: &Test, part: &str) -> Result<()> {
        self.run(test, "start", &[part]).await.map(drop)
    }
}

impl Drop for Keylime {
    fn drop(&mut self) {
        // Also when the test failed, or its time was over.
        let _ = std::process::Command::new(root().join("hack/keylime"))
            .arg("down")
            .arg(&self.folder)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status();
    }
}
