//! `platen enroll`: the request for a certificate, and the answer to it.

use std::path::Path;

use super::{Failure, print};
use crate::enroll::IdentityFolder;

/// Largest PEM file that is read, in bytes.
const FILE_MAX_BYTES: usize = 64 * 1024;

pub(super) fn request(data: &Path) -> Result<(), Failure> {
    let request = IdentityFolder::in_data_dir(data).request().map_err(Failure::failed)?;
    print(request.trim_end())
}

pub(super) fn install(data: &Path, box_id: &str, certificate: &Path, roots: &Path) -> Result<(), Failure> {
    let read = |path: &Path| {
        crate::store::read_bounded(path, FILE_MAX_BYTES)
            .and_then(|bytes| String::from_utf8(bytes).map_err(std::io::Error::other))
            .map_err(|e| Failure::usage(format!("{} cannot be read: {e}", path.display())))
    };
    IdentityFolder::in_data_dir(data).install(box_id, &read(certificate)?, &read(roots)?).map_err(Failure::failed)?;
    print(&format!("This box is {box_id}. Start it with: platen run --config FILE"))
}
