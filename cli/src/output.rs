//! What commands print: a table for people, JSON for programs.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;
use serde::Serialize;

use crate::exit::Failure;

/// How results and failures are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    /// Text in columns, for people
    #[default]
    Table,
    /// JSON: RFC 8785 when piped, indented on a terminal
    Json,
}

/// A result that a command prints: serializable, and readable as text.
pub(crate) trait Report: Serialize {
    /// The text for people. [`printable`] or [`Table`] must carry whatever comes from outside.
    fn text(&self) -> String;
}

/// Prints `report` to stdout in the form asked for.
///
/// # Errors
/// When stdout cannot be written; a reader that went away is none.
pub(crate) fn print<R: Report>(format: Format, report: &R) -> Result<(), Failure> {
    let stdout = io::stdout();
    let mut bytes = match format {
        Format::Table => report.text().into_bytes(),
        Format::Json if stdout.is_terminal() => serde_json::to_vec_pretty(report).context("write JSON")?,
        Format::Json => assay_core::json::canonical(report).context("write JSON")?,
    };
    if bytes.last() != Some(&b'\n') {
        bytes.push(b'\n');
    }
    write(&bytes)
}

/// Writes bytes to stdout as they are.
///
/// # Errors
/// As [`print`].
pub(crate) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other.context("write to stdout")?),
    }
}

/// `text` with control characters escaped: names from a repository or a registry must not steer a terminal.
/// Bidirectional overrides count as control characters; line feed and tab stay.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        let steers = character.is_control() && !matches!(character, '\n' | '\t')
            || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if steers { out.extend(character.escape_unicode()) } else { out.push(character) }
    }
    out
}

/// Text in columns. Cells are made [`printable`], line feeds included.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

#[allow(dead_code)]
impl Table {
    /// A table with a first row of column titles.
    pub(crate) fn new<const N: usize>(titles: [&str; N]) -> Self {
        Self { rows: vec![titles.iter().map(ToString::to_string).collect()] }
    }

    /// A table of rows alone: `name  value`.
    pub(crate) const fn untitled() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a row.
    #[must_use]
    pub(crate) fn row<const N: usize>(mut self, cells: [&str; N]) -> Self {
        self.push(cells);
        self
    }

    /// Adds a row in place.
    pub(crate) fn push<const N: usize>(&mut self, cells: [&str; N]) {
        self.rows.push(cells.iter().map(|cell| printable(cell).replace('\n', "\\n").replace('\t', " ")).collect());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
            .collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_have_no_trailing_space() {
        let table = Table::new(["EDGE", "STATE"]).row(["E1", "ok"]).row(["E10", "not required"]);
        assert_eq!(table.to_string(), "EDGE  STATE\nE1    ok\nE10   not required\n");
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        let table = Table::untitled().row(["name", "a\u{1b}[2Jb\r\nE1 ok\u{202e}"]);
        assert_eq!(table.to_string(), "name  a\\u{1b}[2Jb\\u{d}\\nE1 ok\\u{202e}\n");
        assert_eq!(printable("plain ü\n"), "plain ü\n");
    }
}
