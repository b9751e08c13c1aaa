//! The log: to stderr, where Tekton takes it from, as text or as JSON lines.

use tracing_subscriber::EnvFilter;

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// One readable line per event; Kubernetes keeps the time
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// Starts the log. What is no level is read as tracing's directives; what is neither is left out.
pub(crate) fn start(format: LogFormat, level: &str) {
    let filter = match level {
        "error" | "warn" | "off" => EnvFilter::new(level),
        // Of the libraries, only what matters for the step's own user.
        "info" => EnvFilter::new(
            "warn,assay_step=info,assay_fetch=info,assay_pack=info,assay_build=info,assay_sbom=info,assay_push=info,assay_rebuild=info,assay_gate=info",
        ),
        other => EnvFilter::new(other),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    // Only a second call could fail, and each step makes one.
    let _ = match format {
        LogFormat::Text => builder.without_time().with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
