//! Files named on the command line, read with a cap.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;

use crate::exit::{Failure, OrFail as _};

/// Reads the file at `path`, `-` being stdin, up to `limit` bytes.
///
/// # Errors
/// Exit 4 with reason `UnreadableInput` or `InputTooLarge`.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let ceiling = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let outcome = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(ceiling).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(ceiling).read_to_end(&mut bytes))
    };
    outcome.with_context(|| format!("read {}", path.display())).or_configuration("UnreadableInput")?;
    if bytes.len() > limit {
        return Err(Failure::configuration("InputTooLarge", anyhow::anyhow!("{} has more than {limit} bytes", path.display())));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_up_to_the_limit_and_not_a_byte_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(read(&path, 4).unwrap_err().reason(), "InputTooLarge");
        assert_eq!(read(&folder.path().join("absent"), 4).unwrap_err().code().number(), 4);
        assert_eq!(read(folder.path(), 4).unwrap_err().reason(), "UnreadableInput");
    }
}
