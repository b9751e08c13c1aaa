//! Logs: to stderr, quiet by default, as text or JSON lines.

use tracing_subscriber::EnvFilter;

/// Shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// One readable line per event
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// Starts logging. `directives` (from `ASSAY_LOG`) win over `verbosity`; directives that do not parse are ignored by name.
pub(crate) fn start(format: LogFormat, verbosity: u8, directives: Option<&str>) {
    let default = match verbosity {
        0 => "warn",
        1 => "warn,assay=info,assay_core=info,assay_adapters=info",
        2 => "info,assay=debug,assay_core=debug,assay_adapters=debug",
        _ => "debug,assay=trace,assay_core=trace,assay_adapters=trace",
    };
    let filter = EnvFilter::new(directives.filter(|text| !text.is_empty()).unwrap_or(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Only a second call could fail, and main makes one.
    let _ = match format {
        LogFormat::Text => builder.without_time().try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
