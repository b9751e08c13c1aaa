//! The reference manuals and schemas that are written by the program itself, so that they cannot say anything else than it does.
//!
//! `hack/update` writes them below `docs/`, and CI fails when they differ.

mod commands;
mod policy;
mod reasons;

use std::path::Path;

use anyhow::Context as _;

/// Writes all of them below `folder`, which stands for `docs/`.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write(folder: &Path) -> anyhow::Result<()> {
    commands::write(&folder.join("cli"))?;
    save(&folder.join("troubleshoot.md"), &reasons::page())?;
    let schema = policy::schema()?;
    save(&folder.join("policy-reference.md"), &policy::page(&schema))?;
    save(&folder.join("schema/trust-policy.json"), &format!("{}\n", serde_json::to_string_pretty(&schema)?))
}

fn save(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// `text` as a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
