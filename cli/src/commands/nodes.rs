//! `assay nodes`: which nodes are attested, how old their evidence is, under which policy, and why not.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use assay_core::keylime::report::{LIST_BYTES, Row, rows};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Failure, OrFail as _};
use crate::output::{Report, Table};

/// Show which nodes Keylime attests, how old their evidence is, under which policy, and why not
///
/// Reads the NodeVerdicts of the cluster with kubectl. They are display: what is admitted is decided by the controller's own questions to
/// the verifiers.
///
/// Exit code 0 if every node that is shown is trusted or exempt, 22 (E12) if one is not.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  assay nodes
  assay nodes worker-1 --output json
  kubectl get nodeverdicts --output json | assay nodes --file -")]
pub(crate) struct Args {
    /// Nodes that are shown; all without it
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// Read NodeVerdicts as JSON from a file, or from standard input (-), and ask no cluster
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// kubectl's context
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// kubectl's configuration file
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The kubectl that is run
    #[arg(long, value_name = "PROGRAM", default_value = "kubectl")]
    kubectl: PathBuf,
}

#[derive(Debug, Serialize)]
struct Shown {
    nodes: Vec<Row>,
}

/// Seconds as people say them.
fn age(seconds: Option<i64>) -> String {
    match seconds {
        None => "never".to_owned(),
        Some(seconds) if seconds < 120 => format!("{seconds}s"),
        Some(seconds) if seconds < 7_200 => format!("{}m", seconds / 60),
        Some(seconds) if seconds < 172_800 => format!("{}h", seconds / 3_600),
        Some(seconds) => format!("{}d", seconds / 86_400),
    }
}

impl Report for Shown {
    fn text(&self) -> String {
        let mut table = Table::new(["NODE", "TRUSTED", "REASON", "LAST QUOTE", "CHECKED", "POLICY", "TAINTS", "WHY"]);
        for row in &self.nodes {
            let digest = row.policy_digest.as_deref().unwrap_or("-");
            let digest: String = digest.strip_prefix("sha256:").unwrap_or(digest).chars().take(12).collect();
            let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
            let mut why = row.message.clone();
            if row.trusted != "True" && !row.remedy.is_empty() {
                why = format!("{why}; {}", row.remedy);
            }
            if let Some(failed) = row.failed {
                why = format!("{why} (failed: {failed})");
            }
            table.push([
                &row.node,
                &row.trusted,
                &row.reason,
                &age(row.age),
                &dash(&row.checked),
                &digest,
                &dash(&row.taints),
                &dash(&why),
            ]);
        }
        table.to_string()
    }
}

fn ask(args: &Args) -> Result<Vec<u8>, Failure> {
    let mut command = Command::new(&args.kubectl);
    command.args(["get", "nodeverdicts.assay.dev", "--output", "json"]);
    if let Some(context) = &args.context {
        command.arg("--context").arg(context);
    }
    if let Some(file) = &args.kubeconfig {
        command.arg("--kubeconfig").arg(file);
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("run {}", args.kubectl.display())).or_unknown("ClusterUnreachable")?;
    if !output.status.success() {
        return Err(Failure::unknown("ClusterUnreachable", anyhow::anyhow!("kubectl gave no NodeVerdicts: {}", output.status)));
    }
    Ok(output.stdout)
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let bytes = match &args.file {
        Some(path) => crate::input::read(path, LIST_BYTES)?,
        None => ask(args)?,
    };
    let mut nodes = rows(&bytes, context.now()?).or_configuration("NodeVerdictsUnreadable")?;
    if let Some(missing) = args.nodes.iter().find(|name| !nodes.iter().any(|row| row.node == **name)) {
        return Err(Failure::unknown("NodeNotKnown", anyhow::anyhow!("there is no NodeVerdict of node {missing:?}")));
    }
    nodes.retain(|row| args.nodes.is_empty() || args.nodes.contains(&row.node));
    let bad = nodes.iter().find(|row| !matches!(row.trusted.as_str(), "True" | "Exempt")).map(|row| row.node.clone());
    let count = nodes.len();
    context.print(&Shown { nodes })?;
    match bad {
        Some(node) => Err(Failure::broken_edge(12, "NodeNotAttested", anyhow::anyhow!("node {node:?} is not trusted"))),
        // An empty set never means that all is well.
        None if count == 0 => Err(Failure::unknown("NodeNotKnown", anyhow::anyhow!("there are no NodeVerdicts"))),
        None => Ok(()),
    }
}
