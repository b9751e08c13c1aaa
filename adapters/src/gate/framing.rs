//! Git's framing: lines of at most 64 KiB that say their length, out of an answer that is capped in bytes and time.

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use tokio::time::Instant;

use super::wire::WireError;

/// Longest message of a server that is repeated.
const MESSAGE: usize = 300;

/// One line of git's framing.
pub(super) enum Line {
    Data(Bytes),
    Delimiter,
    Flush,
}

/// The lines of an answer, capped in bytes and time.
pub(super) struct Lines {
    what: String,
    response: Response,
    buffer: BytesMut,
    left: u64,
    cap: u64,
    deadline: Instant,
}

impl Lines {
    pub(super) fn new(what: String, response: Response, cap: u64, deadline: Instant) -> Self {
        Self { what, response, buffer: BytesMut::new(), left: cap, cap, deadline }
    }

    /// Makes sure that so many bytes are there; `false` if the answer ends before the first of them.
    async fn fill(&mut self, wanted: usize) -> Result<bool, WireError> {
        while self.buffer.len() < wanted {
            let chunk = match tokio::time::timeout_at(self.deadline, self.response.chunk()).await {
                Ok(chunk) => {
                    chunk.map_err(|source| WireError::Connect { what: self.what.clone(), source: source.without_url() })?
                }
                Err(_) => return Err(WireError::Deadline { what: self.what.clone() }),
            };
            let Some(chunk) = chunk else {
                if self.buffer.is_empty() {
                    return Ok(false);
                }
                return Err(WireError::Protocol { what: self.what.clone(), why: "the answer ends within a line".to_owned() });
            };
            self.left = self.left.checked_sub(chunk.len() as u64).ok_or_else(|| WireError::Quota {
                what: self.what.clone(),
                limit: self.cap,
                unit: "bytes",
            })?;
            self.buffer.extend_from_slice(&chunk);
        }
        Ok(true)
    }

    pub(super) async fn next(&mut self) -> Result<Option<Line>, WireError> {
        if !self.fill(4).await? {
            return Ok(None);
        }
        let wrong = || WireError::Protocol { what: self.what.clone(), why: "a line without length".to_owned() };
        let head = self.buffer.split_to(4);
        let length = std::str::from_utf8(&head)
            .ok()
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| usize::from_str_radix(digits, 16).ok())
            .ok_or_else(wrong)?;
        match length {
            0 | 2 => Ok(Some(Line::Flush)),
            1 => Ok(Some(Line::Delimiter)),
            3 => Err(wrong()),
            length => {
                if !self.fill(length - 4).await? && length > 4 {
                    return Err(WireError::Protocol { what: self.what.clone(), why: "the answer ends within a line".to_owned() });
                }
                let data = self.buffer.split_to(length - 4).freeze();
                if let Some(message) = data.strip_prefix(b"ERR ") {
                    return Err(WireError::Remote { what: self.what.clone(), message: cut_text(message) });
                }
                Ok(Some(Line::Data(data)))
            }
        }
    }

    /// The next line as text without its newline; `None` at a flush, a delimiter or the end.
    pub(super) async fn next_text(&mut self) -> Result<Option<String>, WireError> {
        Ok(match self.next().await? {
            Some(Line::Data(data)) => Some(String::from_utf8_lossy(&data).trim_end_matches('\n').to_owned()),
            Some(Line::Flush | Line::Delimiter) | None => None,
        })
    }
}

pub(super) fn text_of(data: &[u8]) -> &str {
    std::str::from_utf8(data).unwrap_or_default().trim_end_matches('\n')
}

pub(super) fn cut_text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).trim().chars().filter(|c| !c.is_control()).take(MESSAGE).collect()
}

/// Appends a line in git's framing.
pub(super) fn line(request: &mut Vec<u8>, text: &str) {
    request.extend_from_slice(format!("{:04x}{text}\n", text.len() + 5).as_bytes());
}
