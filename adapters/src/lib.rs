//! All contact with the outside: registries and layouts, repositories, files, networks. Bytes come in here, are checked against the
//! digest they were asked for by, and go to `assay-core`, which judges them.

pub mod build;
pub mod checkout;
pub mod compare;
pub mod evidence;
pub mod gate;
pub mod git;
pub mod githost;
pub mod http;
pub mod image;
pub mod keylime;
pub mod keys;
pub mod rebuild;
pub mod store;
