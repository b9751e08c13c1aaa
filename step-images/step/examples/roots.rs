//! Prints the CA roots that the step images carry, as PEM: those of the crate `webpki-root-certs`, which Cargo.lock pins.

use std::io::Write as _;

use base64::Engine as _;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        let body = base64::engine::general_purpose::STANDARD.encode(root);
        writeln!(out, "-----BEGIN CERTIFICATE-----")?;
        for line in body.as_bytes().chunks(64) {
            out.write_all(line)?;
            writeln!(out)?;
        }
        writeln!(out, "-----END CERTIFICATE-----")?;
    }
    Ok(())
}
