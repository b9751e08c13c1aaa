//! The repository keeps its own rules: sizes, prose, links, nothing of anybody's machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::Path;

use assay_tests::repository::texts;
use assay_tests::root;

/// A file near 500 lines can be read at once. What is longer stands in `tests/data/long-files.txt`, with a reason.
const LINES: usize = 550;

#[test]
fn source_files_stay_near_500_lines() {
    let list = std::fs::read_to_string(root().join("tests/data/long-files.txt")).unwrap();
    let mut excused: BTreeMap<&str, usize> = BTreeMap::new();
    for row in list.lines().filter(|row| !row.starts_with('#') && !row.is_empty()) {
        let mut parts = row.splitn(3, ' ');
        let (path, most) = (parts.next().unwrap(), parts.next().unwrap().parse().unwrap());
        assert!(parts.next().is_some_and(|why| why.len() > 10), "{path}: say why it is long");
        excused.insert(path, most);
    }
    let mut problems = Vec::new();
    for (path, text) in texts("", &["rs"]) {
        let lines = text.lines().count();
        match excused.remove(path.as_str()) {
            Some(most) if lines > most => {
                problems.push(format!("{path} has {lines} lines, more than the {most} it is excused for"))
            }
            Some(_) if lines <= LINES => problems.push(format!("{path} has {lines} lines and needs no excuse any more")),
            None if lines > LINES => problems.push(format!("{path} has {lines} lines: split it by meaning")),
            _ => {}
        }
    }
    problems.extend(excused.keys().map(|path| format!("{path} is excused but does not exist")));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn files_are_named_by_meaning() {
    for (path, _) in texts("", &["rs"]) {
        let stem = Path::new(&path).file_stem().unwrap().to_str().unwrap();
        assert!(
            !["utils", "util", "common", "helpers", "helper", "manager", "misc"].contains(&stem),
            "{path} is named after nothing"
        );
    }
}

/// Markdown that people write: generated pages are text blocks of the program's own help.
fn prose() -> Vec<(String, String)> {
    texts("", &["md"])
        .into_iter()
        .filter(|(path, _)| !path.starts_with("docs/cli/") && !path.contains("/testdata/") && !path.contains("/data/"))
        .collect()
}

/// The lines of a Markdown text outside fenced blocks, with their numbers.
fn outside_blocks(text: &str) -> Vec<(usize, &str)> {
    let mut inside = false;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside && !line.trim_start().starts_with('|') {
            lines.push((number + 1, line));
        }
    }
    lines
}

/// A sentence ends in the middle of the line: full stop, space, capital. Code spans and abbreviations do not count.
fn second_sentence(line: &str) -> Option<String> {
    let without_code: String = line.split('`').enumerate().map(|(index, part)| if index % 2 == 0 { part } else { "x" }).collect();
    let words: Vec<&str> = without_code.split(' ').collect();
    words.windows(2).find_map(|pair| {
        let (before, after) = (pair[0], pair[1]);
        let ends = before.len() > 3
            && before.ends_with(['.', '?', '!'])
            && !before.trim_start_matches('(').starts_with("e.g.")
            && !before.ends_with("etc.")
            && !before.trim_end_matches('.').chars().all(|character| character.is_ascii_digit());
        let begins = after.chars().next().is_some_and(char::is_uppercase);
        (ends && begins).then(|| format!("{before} {after}"))
    })
}

#[test]
fn markdown_has_one_sentence_per_line() {
    let mut problems = Vec::new();
    for (path, text) in prose() {
        for (number, line) in outside_blocks(&text) {
            if let Some(found) = second_sentence(line) {
                problems.push(format!("{path}:{number}: a new sentence begins at {found:?}"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_sentence_check_sees_what_it_should() {
    assert!(second_sentence("It works. It is fast.").is_some());
    assert!(second_sentence("Does it work? Yes.").is_some());
    for fine in ["It works.", "Use `a. B` here.", "1. First", "See e.g. Tekton.", "version 1.2 Alpha"] {
        assert!(second_sentence(fine).is_none(), "{fine}");
    }
}

#[test]
fn relative_links_lead_somewhere() {
    let mut problems = Vec::new();
    for (path, text) in texts("", &["md"]) {
        let folder = root().join(&path).parent().unwrap().to_path_buf();
        for (number, line) in outside_blocks(&text) {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let file = target.split('#').next().unwrap();
                if !file.is_empty() && !file.contains("://") && !file.starts_with("mailto:") && !folder.join(file).exists() {
                    problems.push(format!("{path}:{number}: {target} does not exist"));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn nothing_of_anybodys_machine_is_committed() {
    // Put together here, so that this file does not find itself.
    let machine =
        [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/ho", "me/runner"), concat!("BEGIN OPENSSH ", "PRIVATE KEY")];
    let mut problems = Vec::new();
    for (path, text) in texts("", &[]) {
        for (number, line) in text.lines().enumerate() {
            for word in machine {
                // A container's home and a test key are wanted in places: data says so with a marker in the same line.
                if line.contains(word)
                    && !line.contains("machine-path-ok")
                    && !path.contains("fixtures/")
                    && !path.contains("testdata/")
                {
                    problems.push(format!("{path}:{}: {word}", number + 1));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn root_files_exist_and_say_something() {
    for name in ["README.md", "ARCHITECTURE.md", "DECISIONS.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"] {
        let text = std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(text.lines().count() > 5, "{name} is empty");
    }
}

#[test]
fn decisions_are_dated_and_in_order() {
    let text = std::fs::read_to_string(root().join("DECISIONS.md")).unwrap();
    let dates: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("## ")).map(|title| title.get(..10).unwrap_or(title)).collect();
    assert!(!dates.is_empty());
    for date in &dates {
        let shape: String = date.chars().map(|character| if character.is_ascii_digit() { '0' } else { character }).collect();
        assert_eq!(shape, "0000-00-00", "a decision begins with `## YYYY-MM-DD — title`");
    }
    assert!(dates.is_sorted(), "decisions are appended, newest last: {dates:?}");
}
