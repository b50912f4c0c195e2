//! The file of a Unix socket: made where there is none or a dead one, removed when nobody is to connect any more. Called
//! by `listener` for clients, by `handover` for a successor.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fs, io};

use socket2::Socket;

use crate::rt::Listener;

/// A socket file of this process.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode; `None` once it is removed or somebody else's.
    made: Mutex<Option<(u64, u64)>>,
}

impl SocketFile {
    /// Makes the file and listens on it.
    ///
    /// # Errors
    /// Another process listens there, or something else than a socket is in the way.
    pub(crate) fn bind(path: &Path, mode: u32) -> io::Result<(SocketFile, Socket)> {
        make_way(path)?;
        let socket = Listener::bind_unix(path, mode)?;
        let file = SocketFile {
            made: Mutex::new(Some(identity(path)?)),
            path: path.to_owned(),
        };
        Ok((file, socket))
    }

    /// A file whose socket was handed over; it is the other process's until `own`.
    pub(crate) fn of_another(path: &Path) -> SocketFile {
        SocketFile {
            made: Mutex::default(),
            path: path.to_owned(),
        }
    }

    /// From now on it is ours to remove, and has `mode`.
    pub(crate) fn own(&self, mode: u32) -> io::Result<()> {
        fs::set_permissions(&self.path, fs::Permissions::from_mode(mode))?;
        *self.lock() = Some(identity(&self.path)?);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<(u64, u64)>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the file to another process.
    pub(crate) fn forget(&self) -> Option<(u64, u64)> {
        self.lock().take()
    }

    /// Removes the file, unless somebody has put another one in its place.
    pub(crate) fn remove(&self) {
        let made = self.forget();
        if made.is_some() && identity(&self.path).ok() == made {
            // Whoever removed it meanwhile has done what was to be done.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Removes what a process left behind that has ended. No two can do this to each other: who is here has the TCP port.
fn make_way(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::other(
            "something else than a socket is in the way",
        ));
    }
    match UnixStream::connect(path) {
        Err(err) if err.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        // Also one that only lets others in.
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}
