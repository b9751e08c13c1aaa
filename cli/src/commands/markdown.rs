//! `assay markdown`: docs/cli, one page per command, from the same text as `--help`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cli;
use crate::exit::Failure;

/// Write the command reference into a folder, as Markdown
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// The folder; it is made if missing
    folder: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    std::fs::create_dir_all(&args.folder).with_context(|| format!("make {}", args.folder.display()))?;
    // `build` gives every command its full name ("assay sbom image") and the global flags.
    let mut tree = cli::tree().term_width(110);
    tree.build();
    let mut index = String::from("# Commands\n\nGenerated from the program by `hack/update`; do not edit.\n\n");
    page(&tree, "assay", &args.folder, &mut index)?;
    save(&args.folder.join("README.md"), &index)
}

fn page(command: &clap::Command, name: &str, folder: &Path, index: &mut String) -> Result<(), Failure> {
    let file = format!("{}.md", name.replace(' ', "-"));
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    index.push_str(&format!("- [`{name}`]({file}): {about}\n"));
    let help = command.clone().term_width(110).render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    save(&folder.join(file), &format!("# {name}\n\n```text\n{}\n```\n", help.join("\n").trim_end()))?;
    for child in command.get_subcommands().filter(|child| !child.is_hide_set() && child.get_name() != "help") {
        page(child, &format!("{name} {}", child.get_name()), folder, index)?;
    }
    Ok(())
}

fn save(path: &Path, text: &str) -> Result<(), Failure> {
    Ok(std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?)
}
