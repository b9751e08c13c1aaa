//! CloudEvents 1.0 in binary mode over HTTP, for whoever wants to hear of builds without a git host's API.

use reqwest::header::CONTENT_TYPE;

use super::{Persistence, TellError, address, attempt};
use crate::http::Http;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudEvent {
    /// Unique within the source; a repetition of the same event has the same id.
    pub id: String,
    /// Who says it, a URI reference.
    pub source: String,
    /// What happened, such as `dev.assay.build.failure.v1`.
    pub kind: &'static str,
    /// What it is about.
    pub subject: String,
    /// When, RFC 3339.
    pub time: String,
    /// JSON.
    pub data: Vec<u8>,
}

/// Posts an event to a sink.
///
/// # Errors
/// [`TellError`], after the last attempt.
pub async fn send_event(http: &Http, sink: &str, event: &CloudEvent, persistence: Persistence) -> Result<(), TellError> {
    let url = address(http, sink, "")?;
    let header = |text: &str| encode(text);
    let send = || {
        http.client(&url)
            .post(url.clone())
            .header("ce-specversion", "1.0")
            .header("ce-id", header(&event.id))
            .header("ce-source", header(&event.source))
            .header("ce-type", event.kind)
            .header("ce-subject", header(&event.subject))
            .header("ce-time", header(&event.time))
            .header(CONTENT_TYPE, "application/json")
            .body(event.data.clone())
    };
    attempt(&url, persistence, send).await
}

/// Header values as the HTTP binding asks (3.1.3.2): printable ASCII but space, `"` and `%`; others percent-encoded as UTF-8.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    #[test]
    fn header_values_are_encoded_as_the_binding_asks() {
        assert_eq!(super::encode("a b\"c%é/x"), "a%20b%22c%25%C3%A9/x");
    }
}
