//! The reference manuals and schemas that are written by the program itself, so that they cannot say anything else than it does.
//!
//! `hack/update` writes them below `docs/`, and CI fails when they differ.

mod commands;
mod reasons;
mod schema;

use std::path::Path;

use anyhow::Context as _;

/// Writes all of them below `folder`, which stands for `docs/`.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write(folder: &Path) -> anyhow::Result<()> {
    commands::write(&folder.join("cli"))?;
    save(&folder.join("troubleshoot.md"), &reasons::page())?;
    let (policy, recipe) = (schema::policy()?, schema::recipe()?);
    save(&folder.join("policy-reference.md"), &schema::policy_page(&policy))?;
    save(&folder.join("recipe-reference.md"), &schema::recipe_page(&recipe))?;
    save(&folder.join("schema/trust-policy.json"), &pretty(&policy)?)?;
    save(&folder.join("schema/recipe.json"), &pretty(&recipe)?)
}

fn pretty(value: &serde_json::Value) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string_pretty(value)?))
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
