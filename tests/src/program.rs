//! The `assay` program, for tests that start it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The program: `$ASSAY_BIN` when set (`hack/test` builds it once), else built now.
///
/// # Panics
/// When it cannot be built.
#[must_use]
#[allow(clippy::panic, clippy::expect_used)]
pub fn assay() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            if let Some(path) = std::env::var_os("ASSAY_BIN") {
                let path = PathBuf::from(path);
                assert!(
                    path.is_file(),
                    "ASSAY_BIN names {}, which is no file: build it with cargo build -p assay-cli",
                    path.display()
                );
                return path;
            }
            build()
        })
        .clone()
}

#[allow(clippy::panic, clippy::expect_used)]
fn build() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "-p", "assay-cli", "--bin", "assay", "--message-format", "json"])
        .current_dir(crate::root())
        .output()
        .expect("cargo must start");
    assert!(output.status.success(), "cargo build -p assay-cli failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
        .unwrap_or_else(|| panic!("cargo named no executable"))
}

/// The program, cut off from the configuration and the environment of whoever runs the test.
#[must_use]
pub fn command() -> Command {
    let mut command = Command::new(assay());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ASSAY_") {
            command.env_remove(name);
        }
    }
    command.env("ASSAY_CONFIG", "/dev/null");
    command
}
