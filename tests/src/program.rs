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

/// A step's program, `assay-NAME`: beside `assay` where the whole workspace was built, else built now.
///
/// # Panics
/// When it cannot be built.
#[must_use]
#[allow(clippy::panic, clippy::expect_used)]
pub fn step(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let beside = assay().parent().map(PathBuf::from).unwrap_or_default();
        if std::env::var_os("ASSAY_BIN").is_none() {
            let steps = ["fetch", "pack", "build", "sbom", "push", "rebuild"].map(|step| format!("--bin=assay-{step}"));
            let status = Command::new(env!("CARGO"))
                .args(["build", "--quiet", "--workspace"])
                .args(steps)
                .current_dir(crate::root())
                .status();
            assert!(status.is_ok_and(|status| status.success()), "the steps must build");
        }
        beside
    });
    let path = folder.join(format!("assay-{name}"));
    assert!(path.is_file(), "{} is no file: build it with cargo build --workspace", path.display());
    path
}
