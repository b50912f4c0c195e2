//! The file of a Unix socket that clients connect to: made where there is none or a dead one, removed when no more
//! clients are wanted. Called by `listener`.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::{fs, sync::Mutex, sync::PoisonError};

use socket2::Socket;

use crate::rt::Listener;

/// A socket file of this process.
#[derive(Debug)]
pub(crate) struct SocketFile {
    pub(crate) folder: String,
    pub(crate) port: u16,
    path: PathBuf,
    /// Device and inode; `None` once it is removed.
    made: Mutex<Option<(u64, u64)>>,
}

impl SocketFile {
    /// Makes the file and listens on it.
    ///
    /// # Errors
    /// Another process listens there, or something else than a socket is in the way.
    pub(crate) fn bind(folder: &str, port: u16, mode: u32) -> io::Result<(SocketFile, Socket)> {
        let path = crate::rt::socket_path(folder, port);
        make_way(&path)?;
        let socket = Listener::bind_unix(&path, mode)?;
        let file = SocketFile {
            folder: folder.to_owned(),
            port,
            made: Mutex::new(Some(identity(&path)?)),
            path,
        };
        Ok((file, socket))
    }

    /// Removes the file, unless somebody has put another one in its place.
    pub(crate) fn remove(&self) {
        let made = self
            .made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
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
