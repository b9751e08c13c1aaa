//! `docs/troubleshoot.md`: every reason of a verdict, what it means and what to do.

use std::fmt::Write as _;

use assay_core::reason::Reason;

use super::cell;

pub(super) fn page() -> String {
    let mut text = String::from(
        "# Reasons, and what to do about them\n\nGenerated from the program by `hack/update`; do not edit.\n\n\
         A verdict names for each edge its state and one of these words.\n\
         An undecided reason makes the verdict `Unknown`: trying again may give another answer, and until then nothing is admitted.\n\n\
         | reason | means | do |\n|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let undecided = if reason.is_undecided() { " (undecided)" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `{reason}`{undecided} | {} | {} |", cell(reason.meaning()), cell(reason.remedy()));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_reason_has_its_row() {
        let page = super::page();
        for reason in assay_core::reason::Reason::ALL {
            assert!(page.contains(&format!("| `{reason}`")), "{reason}");
        }
    }
}
