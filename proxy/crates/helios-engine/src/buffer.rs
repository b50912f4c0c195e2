//! Clients that wait because their cluster has no primary: how many they are and how much they have sent, pool by pool.
//! A failover lasts seconds; what comes meanwhile is kept within bounds, and refused beyond.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The pool that a client waits for, wherever its primary will be: entry of `databases`, database, role.
pub(crate) type Room = (String, String, String);

/// What one room may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) clients: usize,
    pub(crate) bytes: usize,
}

/// Which of the bounds was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    Clients,
    Bytes,
}

#[derive(Debug, Default, Clone, Copy)]
struct Held {
    clients: usize,
    bytes: usize,
}

/// Of the whole process.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    rooms: Mutex<HashMap<Room, Held>>,
    entered: AtomicU64,
    refused: AtomicU64,
}

/// A client's place in it; given up when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    buffer: Arc<Buffer>,
    room: Room,
    bytes: usize,
}

impl Buffer {
    /// A place for one more client.
    pub(crate) fn enter(self: &Arc<Self>, room: Room, bounds: Bounds) -> Result<Place, Full> {
        let mut rooms = self.rooms();
        let held = rooms.get(&room).map_or(0, |held| held.clients);
        if held >= bounds.clients {
            self.count_refused();
            return Err(Full::Clients);
        }
        rooms.entry(room.clone()).or_default().clients += 1;
        self.entered.fetch_add(1, Ordering::Relaxed);
        Ok(Place {
            buffer: Arc::clone(self),
            room,
            bytes: 0,
        })
    }

    /// Clients and bytes now; and since the start, clients that waited and those that were refused, also for the time.
    pub(crate) fn counts(&self) -> (usize, usize, u64, u64) {
        let rooms = self.rooms();
        (
            rooms.values().map(|held| held.clients).sum(),
            rooms.values().map(|held| held.bytes).sum(),
            self.entered.load(Ordering::Relaxed),
            self.refused.load(Ordering::Relaxed),
        )
    }

    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<Room, Held>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Notes that the client has sent so much by now.
    pub(crate) fn hold(&mut self, bytes: usize, bounds: Bounds) -> Result<(), Full> {
        if bytes == self.bytes {
            return Ok(());
        }
        let mut rooms = self.buffer.rooms();
        let held = rooms.entry(self.room.clone()).or_default();
        let others = held.bytes.saturating_sub(self.bytes);
        if others + bytes > bounds.bytes {
            self.buffer.count_refused();
            return Err(Full::Bytes);
        }
        held.bytes = others + bytes;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut rooms = self.buffer.rooms();
        if let Some(held) = rooms.get_mut(&self.room) {
            held.clients = held.clients.saturating_sub(1);
            held.bytes = held.bytes.saturating_sub(self.bytes);
            if held.clients == 0 {
                rooms.remove(&self.room);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        clients: 2,
        bytes: 100,
    };

    fn room(name: &str) -> Room {
        (name.to_owned(), name.to_owned(), "app".to_owned())
    }

    #[test]
    fn a_room_takes_so_many_clients_and_another_is_not_concerned() {
        let buffer = Arc::new(Buffer::default());

        let first = buffer.enter(room("a"), BOUNDS);
        let second = buffer.enter(room("a"), BOUNDS);

        assert!(first.is_ok() && second.is_ok());
        assert_eq!(buffer.enter(room("a"), BOUNDS).err(), Some(Full::Clients));
        assert!(buffer.enter(room("b"), BOUNDS).is_ok());
        drop(first);
        assert!(buffer.enter(room("a"), BOUNDS).is_ok());
        assert_eq!(buffer.counts().3, 1);
    }

    #[test]
    fn bytes_are_those_of_all_who_wait_and_go_with_them() {
        let buffer = Arc::new(Buffer::default());
        let mut first = buffer.enter(room("a"), BOUNDS).unwrap();
        let mut second = buffer.enter(room("a"), BOUNDS).unwrap();

        assert!(first.hold(60, BOUNDS).is_ok());
        assert_eq!(second.hold(41, BOUNDS), Err(Full::Bytes));
        assert!(second.hold(40, BOUNDS).is_ok());
        assert!(first.hold(50, BOUNDS).is_ok());
        assert_eq!(buffer.counts().1, 90);
        drop(first);
        assert!(second.hold(100, BOUNDS).is_ok());
        drop(second);
        assert_eq!(buffer.counts().1, 0);
    }
}
