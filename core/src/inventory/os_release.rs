//! The distribution, from `etc/os-release` or `usr/lib/os-release` (os-release(5)).

use super::{InventoryError, field};

/// The distribution a root filesystem says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsRelease {
    /// `ID`, lower case; `linux` if missing, as os-release(5) says.
    pub id: String,
    /// `VERSION_ID`, empty if missing (rolling releases).
    pub version_id: String,
    /// `PRETTY_NAME`, else `NAME`, else the id.
    pub name: String,
}

/// Reads an os-release file: `KEY=value` lines, values in single or double quotes or bare, backslash escapes.
///
/// # Errors
/// [`InventoryError::Malformed`] if no line is an assignment.
pub fn parse(bytes: &[u8]) -> Result<OsRelease, InventoryError> {
    let mut id = None;
    let mut version_id = None;
    let mut pretty = None;
    let mut name = None;
    let mut any = false;
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let Some(equals) = line.iter().position(|byte| *byte == b'=') else { continue };
        any = true;
        let value = field(&unquote(line.get(equals + 1..).unwrap_or_default()));
        match line.get(..equals).unwrap_or_default() {
            b"ID" => id = value,
            b"VERSION_ID" => version_id = value,
            b"PRETTY_NAME" => pretty = value,
            b"NAME" => name = value,
            _ => {}
        }
    }
    if !any {
        return Err(InventoryError::Malformed { what: "os-release", detail: "no assignment in it" });
    }
    let id = id.map_or_else(|| "linux".to_owned(), |id| id.to_lowercase());
    Ok(OsRelease { version_id: version_id.unwrap_or_default(), name: pretty.or(name).unwrap_or_else(|| id.clone()), id })
}

fn unquote(value: &[u8]) -> Vec<u8> {
    let inner = match (value.first(), value.last()) {
        (Some(b'"'), Some(b'"')) | (Some(b'\''), Some(b'\'')) if value.len() >= 2 => {
            value.get(1..value.len() - 1).unwrap_or_default()
        }
        _ => value,
    };
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => out.extend(bytes.next()),
            _ => out.push(*byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_missing_fields() {
        let os = parse(b"# c\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID='12'\n").unwrap();
        assert_eq!((os.id.as_str(), os.version_id.as_str()), ("debian", "12"));
        assert_eq!(os.name, "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(parse(b"NAME=x\n").unwrap().id, "linux");
        assert!(parse(b"\x00\x01").is_err());
        assert_eq!(parse(b"ID=\"").unwrap().id, "\"");
    }
}
