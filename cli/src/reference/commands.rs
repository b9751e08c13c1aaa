//! `docs/cli`: one page per command, the same text as `--help`.

use std::fmt::Write as _;
use std::path::Path;

use super::save;
use crate::cli;

/// Columns of the help text: the reference does not depend on anybody's terminal.
const WIDTH: usize = 110;

pub(super) fn write(folder: &Path) -> anyhow::Result<()> {
    let mut tree = cli::tree().term_width(WIDTH);
    // Gives every command its full name ("assay sbom image") and the options of every command.
    tree.build();
    let mut index = String::from("# Commands\n\nGenerated from the program by `hack/update`; do not edit.\n\n");
    page(&tree, "assay", folder, &mut index)?;
    save(&folder.join("README.md"), &index)
}

fn page(command: &clap::Command, name: &str, folder: &Path, index: &mut String) -> anyhow::Result<()> {
    let file = format!("{}.md", name.replace(' ', "-"));
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    writeln!(index, "- [`{name}`]({file}): {}", about.lines().next().unwrap_or_default())?;
    let help = command.clone().term_width(WIDTH).render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    save(&folder.join(file), &format!("# {name}\n\n```text\n{}\n```\n", help.join("\n").trim_end()))?;
    for child in command.get_subcommands().filter(|child| !child.is_hide_set() && child.get_name() != "help") {
        page(child, &format!("{name} {}", child.get_name()), folder, index)?;
    }
    Ok(())
}
